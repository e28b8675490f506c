//! The records that a domain has to publish, in the forms that people publish them in.

use postrider_core::publish::{Data, Facts, Hidden, Wanted, print, wanted};
use postrider_smtp::Domain;
use serde::Serialize;

use crate::shown::{json, say};

/// How the records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines of a zone file.
    Zone,
    /// Field by field.
    Table,
    /// For programs.
    Json,
}

/// A record for programs.
#[derive(Debug, Serialize)]
pub(super) struct RecordView {
    record: String,
    r#type: &'static str,
    name: String,
    relative_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u16>,
    value: String,
    ttl: u32,
    zone_line: String,
}

#[derive(Debug, Serialize)]
struct DomainView {
    domain: String,
    records: Vec<RecordView>,
}

/// Prints what a domain has to publish.
pub fn tell(facts: &Facts, form: Form) -> anyhow::Result<()> {
    let records = wanted(facts);
    match form {
        Form::Zone => {
            if is_stand_in(&facts.relay) {
                say(format_args!("; {}", careful(facts)))?;
            }
            say(print::zone(&records).trim_end())?;
        }
        Form::Table => {
            say(print::table(&facts.domain, &records))?;
            say(in_words(facts))?;
        }
        Form::Json => {
            let records = records.iter().map(|record| view(facts, record)).collect();
            say(json(&DomainView { domain: facts.domain.to_ascii().into_owned(), records })?)?;
        }
    }
    Ok(())
}

pub(super) fn view(facts: &Facts, record: &Wanted) -> RecordView {
    let (kind, priority, value) = match &record.data {
        Data::Text(text) => ("TXT", None, text.clone()),
        Data::Mx(preference, host) => ("MX", Some(*preference), host.to_ascii().into_owned()),
    };
    RecordView {
        record: record.what.word(),
        r#type: kind,
        name: record.name.to_ascii().into_owned(),
        relative_name: print::relative(&facts.domain, &record.name),
        priority,
        value,
        ttl: print::TTL_SECONDS,
        zone_line: print::zone_line(record),
    }
}

/// What the person in front of a form has to know.
fn in_words(facts: &Facts) -> String {
    let domain = &facts.domain;
    let mut words = format!(
        "A form that adds {domain} by itself wants the short name, another one the full name. Where {domain} has an SPF or a DMARC record already, it stays the only one:
`postrider domain check {domain}` says what to change in it, and whether all is there."
    );
    if is_stand_in(&facts.relay) {
        words += &format!("\n{}", careful(facts));
    }
    for face in &facts.faces {
        if let Err(hidden) = face.address {
            let why = match hidden {
                Hidden::Unnamed => "has no address in the configuration",
                Hidden::Private(_) => "has an address that receivers do not see",
                Hidden::Proxied => "sends through a proxy",
            };
            words += &format!(
                "\nThe Source {} {why}, so the SPF records name {}, which has to lead to the address that receivers see.",
                face.source, face.hello
            );
        }
    }
    words
}

fn careful(facts: &Facts) -> String {
    format!(
        "CAREFUL: the relay has no name of its own yet, and these records would lead to {}. Set host_name under [relay] to the name that its address has in the DNS, and print them again.",
        facts.relay
    )
}

/// A name that leads nowhere but to the machine that says it.
fn is_stand_in(relay: &Domain) -> bool {
    let name = relay.to_ascii();
    !name.contains('.') || name.ends_with(".localdomain") || name.ends_with(".localhost")
}
