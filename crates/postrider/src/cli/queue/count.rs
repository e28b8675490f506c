//! `queue count`: how old the queue is, as qshape(1) of Postfix draws it.

use std::path::Path;

use postrider_http::wire;
use serde::Serialize;

use super::arguments::CountArguments;
use super::{parameters, path_of};
use crate::cli::client::Client;
use crate::shown::{Clean, json, say};

/// What is counted, for programs.
#[derive(Debug, Serialize)]
struct Counted<'a> {
    #[serde(flatten)]
    count: &'a wire::Count,
    shape: &'a wire::Shape,
}

/// `queue count`
pub async fn run(data: &Path, arguments: &CountArguments) -> anyhow::Result<()> {
    let mut client = Client::connect(data).await?;
    let count: wire::Count = client.get("/v1/queue/count").await?;
    let mut asked = parameters(&arguments.which.wire(&[], arguments.state));
    asked.extend([("by", Some(arguments.by.word().to_owned())), ("max", Some(arguments.max.to_string()))]);
    let shape: wire::Shape = client.get(&path_of("/v1/queue/shape", &asked)).await?;
    if arguments.json {
        return Ok(say(json(&Counted { count: &count, shape: &shape })?)?);
    }
    say(format_args!(
        "{} messages, {} deliveries, {} of them under way, {} held",
        count.messages, count.deliveries, count.lent, count.held
    ))?;
    if let Some(oldest) = &shape.oldest {
        say(format_args!("the oldest of those below came {oldest}; columns are minutes\n"))?;
        lines(&shape, arguments.by.word()).into_iter().try_for_each(say)?;
    }
    Ok(())
}

/// The table.
pub(super) fn lines(shape: &wire::Shape, rows: &str) -> Vec<String> {
    let mut head: Vec<String> = vec!["T".to_owned()];
    head.extend(shape.minutes.iter().map(u64::to_string));
    head.extend(shape.minutes.last().map(|last| format!("{last}+")));
    let cells = |row: &wire::ShapeRow| [row.deliveries].iter().chain(&row.ages).map(u64::to_string).collect::<Vec<_>>();
    let total = cells(&shape.total);
    let widths: Vec<usize> = head.iter().zip(&total).map(|(head, total)| head.len().max(total.len())).collect();
    let names: Vec<String> = shape.rows.iter().map(|row| short(&Clean(&row.name).to_string())).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(rows.len()).max("TOTAL".len());
    let line = |name: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:>width$}"));
        format!("{name:>wide$}{}", cells.collect::<String>())
    };
    let mut lines = vec![line(&rows.to_uppercase(), &head), line("TOTAL", &total)];
    lines.extend(names.iter().zip(&shape.rows).map(|(name, row)| line(name, &cells(row))));
    if shape.rows_in_all > shape.rows.len() {
        lines.push(format!("({} of {} rows)", shape.rows.len(), shape.rows_in_all));
    }
    lines
}

/// A Site's name by its first host: a name of thirty hosts helps nobody.
pub(super) fn short(name: &str) -> String {
    let mut hosts = name.split(',');
    let first = hosts.next().unwrap_or_default();
    match hosts.count() {
        0 => first.to_owned(),
        more => format!("{first} +{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_straight() {
        let row = |name: &str, ages: &[u64]| wire::ShapeRow { name: name.to_owned(), deliveries: ages.iter().sum(), ages: ages.to_vec() };
        let shape = wire::Shape {
            minutes: vec![5, 10],
            total: row("TOTAL", &[1_000, 20, 3]),
            rows: vec![row("a.mx,b.mx", &[900, 0, 0]), row("two.example\u{1b}", &[100, 20, 3])],
            rows_in_all: 3,
            oldest: None,
        };
        let expected = "             SITE    T    5 10 10+\n            TOTAL 1023 1000 20   3\n          a.mx +1  900  900  0   0\n\
                        two.example\\u{1b}  123  100 20   3\n(2 of 3 rows)";
        assert_eq!(lines(&shape, "site").join("\n"), expected);
    }
}
