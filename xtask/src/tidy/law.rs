//! The law of dependency: ARCHITECTURE.md states it, `cargo metadata` says what is, and this compares.
//!
//! Development dependencies count too: a test that needs a sibling room is a test of the wrong room.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Complaint;
use crate::steps::{cargo, output, root};

/// Rooms that must also do without some crates of others: their purity is said in ARCHITECTURE.md's list of rooms.
const WITHOUT: &[(&str, &[&str])] =
    &[("smtp", &["tokio", "serde", "serde_json"]), ("mail", &["tokio", "serde", "serde_json"]), ("core", &["tokio"])];

/// What one room may use.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Clause {
    rooms: BTreeSet<String>,
    tokio_without: BTreeSet<String>,
}

type Law = BTreeMap<String, Clause>;

/// One dependency of one room, as cargo tells it.
struct Use {
    room: String,
    package: String,
    features: Vec<String>,
    for_tests: bool,
}

/// Judges this workspace.
pub fn judge_house() -> Result<Vec<Complaint>> {
    let law = parse(&std::fs::read_to_string(root().join("ARCHITECTURE.md"))?)?;
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let (rooms, uses) = read_metadata(&metadata)?;
    Ok(judge(&law, &rooms, &uses))
}

/// Reads the fenced block under the heading of the law.
fn parse(page: &str) -> Result<Law> {
    let section = page.split("## The law of dependency").nth(1).context("ARCHITECTURE.md has no law of dependency")?;
    let block = section.split("```").nth(1).context("the law has no block")?;
    let mut law = Law::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let (who, may) = line.split_once('→').with_context(|| format!("no arrow: {line}"))?;
        let (rooms, note) = may.split_once('(').unwrap_or((may, ""));
        let mut clause = Clause::default();
        if let Some(names) = note.strip_prefix("tokio without ") {
            clause.tokio_without = names.trim_end_matches([')', ' ']).split(',').map(|name| name.trim().into()).collect();
        }
        match rooms.trim() {
            "nothing of ours" => {}
            all if all.starts_with("all but ") => {
                clause.rooms.extend(all["all but ".len()..].split_whitespace().map(|name| format!("!{name}")))
            }
            some => clause.rooms.extend(some.split_whitespace().map(str::to_owned)),
        }
        for room in who.split(',') {
            law.insert(room.trim().to_owned(), clause.clone());
        }
    }
    if law.len() < 5 {
        bail!("the law names only {} rooms; was its form changed?", law.len());
    }
    Ok(law)
}

fn room_of(package: &str) -> &str {
    package.strip_prefix("postrider-").unwrap_or(package)
}

fn read_metadata(json: &str) -> Result<(Vec<String>, Vec<Use>)> {
    let metadata: Value = serde_json::from_str(json)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let (mut rooms, mut uses) = (Vec::new(), Vec::new());
    for package in packages {
        let room = room_of(package["name"].as_str().context("no name")?).to_owned();
        for dependency in package["dependencies"].as_array().context("no dependencies")? {
            let features = dependency["features"].as_array().into_iter().flatten();
            uses.push(Use {
                room: room.clone(),
                package: dependency["name"].as_str().context("no name")?.to_owned(),
                features: features.filter_map(Value::as_str).map(str::to_owned).collect(),
                for_tests: dependency["kind"] == "dev",
            });
        }
        rooms.push(room);
    }
    Ok((rooms, uses))
}

fn judge(law: &Law, rooms: &[String], uses: &[Use]) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut complain = |room: &str, what: String| found.push(Complaint { place: format!("crates/{room}/Cargo.toml"), what });
    for room in rooms.iter().filter(|room| *room != "xtask" && !law.contains_key(*room)) {
        complain(room, "the law of dependency does not name this room".into());
    }
    for used in uses {
        let clause = law.get(&used.room).cloned().unwrap_or_default();
        let other = room_of(&used.package);
        if rooms.iter().any(|room| room == other) && !allows(&clause, other) {
            complain(&used.room, format!("{} must not depend on {other} (ARCHITECTURE.md, the law of dependency)", used.room));
        }
        if WITHOUT.iter().any(|(room, names)| *room == used.room && names.contains(&other)) && !used.for_tests {
            complain(&used.room, format!("{} does without {other}", used.room));
        }
        if used.package == "tokio" {
            let barred = used
                .features
                .iter()
                .filter(|name| clause.tokio_without.contains(*name) || (*name == "full" && !clause.tokio_without.is_empty()));
            for feature in barred {
                complain(&used.room, format!("tokio's feature `{feature}` is not for this room"));
            }
        }
    }
    found
}

fn allows(clause: &Clause, other: &str) -> bool {
    let all_but = clause.rooms.iter().any(|name| name.starts_with('!'));
    if all_but { !clause.rooms.contains(&format!("!{other}")) } else { clause.rooms.contains(other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "## The law of dependency (a test)\n\n```\nsmtp, mail → nothing of ours\nmodel → smtp mail\ncore → model\n\
        flow → core model smtp     (tokio without net, fs)\nsim → flow core\npostrider → all but sim\n```\n";

    fn check(room: &str, package: &str, features: &[&str]) -> usize {
        let law = parse(PAGE).unwrap();
        let rooms: Vec<String> = law.keys().cloned().collect();
        let features = features.iter().map(|name| (*name).to_owned()).collect();
        judge(&law, &rooms, &[Use { room: room.into(), package: package.into(), features, for_tests: false }]).len()
    }

    #[test]
    fn arrows_that_point_up_or_sideways_trip() {
        assert_eq!(check("flow", "postrider-core", &[]), 0);
        assert_eq!(check("core", "postrider-flow", &[]), 1, "up");
        assert_eq!(check("smtp", "postrider-mail", &[]), 1, "sideways");
        assert_eq!(check("core", "postrider-smtp", &[]), 1, "not said");
        assert_eq!(check("postrider", "postrider-flow", &[]), 0);
        assert_eq!(check("postrider", "postrider-sim", &[]), 1);
    }

    #[test]
    fn flow_with_sockets_trips() {
        assert_eq!(check("flow", "tokio", &["rt", "sync"]), 0);
        assert_eq!(check("flow", "tokio", &["rt", "net", "fs"]), 2);
        assert_eq!(check("flow", "tokio", &["full"]), 1);
        assert_eq!(check("postrider", "tokio", &["full"]), 0);
        assert_eq!(check("core", "tokio", &[]), 1);
    }

    #[test]
    fn a_room_the_law_does_not_name_trips() {
        let law = parse(PAGE).unwrap();
        assert_eq!(judge(&law, &["attic".into()], &[]).len(), 1);
        assert_eq!(judge(&law, &["xtask".into()], &[]).len(), 0);
    }

    #[test]
    fn the_page_is_read_whole() {
        let law = parse(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()).unwrap();
        assert_eq!(law.len(), 12);
        assert_eq!(law["flow"].tokio_without.len(), 3);
        assert!(law["smtp"].rooms.is_empty());
    }
}
