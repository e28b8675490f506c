//! What was found out, for people and for programs.

use postrider_core::publish::check::{Finding, State};
use postrider_core::publish::print;
use serde::Serialize;

use super::Look;
use crate::shown::{json, say};

#[derive(Debug, Serialize)]
struct LookView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    findings: Vec<FindingView<'a>>,
}

#[derive(Debug, Serialize)]
struct FindingView<'a> {
    record: String,
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    said: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    served: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    look_ups: &'a [String],
}

/// Prints all of it.
pub(super) fn tell(looks: &[Look], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        for look in looks {
            let findings = look.findings.iter().map(view).collect();
            say(json(&LookView { domain: look.domain.as_deref(), tenant: look.tenant.as_deref(), findings })?)?;
        }
        return Ok(());
    }
    for look in looks {
        let of = look.tenant.as_ref().map(|tenant| format!(" (of {tenant})")).unwrap_or_default();
        say(format_args!("{}{of}", look.domain.as_deref().unwrap_or("Sources")))?;
        for finding in &look.findings {
            lines(finding).iter().try_for_each(say)?;
        }
        say("")?;
    }
    let all = || looks.iter().flat_map(|look| &look.findings);
    let count = |holds: fn(State) -> bool| all().filter(|finding| holds(finding.state)).count();
    let (wrong, unknown) = (count(State::is_wrong), count(|state| state == State::Unknown));
    say(match (wrong, unknown) {
        (0, 0) => "All is well.".to_owned(),
        (0, unknown) => format!("Nothing is wrong, as far as the DNS answered; {unknown} records are unknown."),
        (wrong, 0) => format!("{wrong} of {} are wrong.", all().count()),
        (wrong, unknown) => format!("{wrong} of {} are wrong, {unknown} unknown.", all().count()),
    })?;
    Ok(())
}

fn view(finding: &Finding) -> FindingView<'_> {
    FindingView {
        record: finding.what.word(),
        name: &finding.name,
        state: finding.state.word(),
        said: &finding.said,
        wanted: finding.wanted.as_ref().map(print::zone_line),
        served: &finding.served,
        remedy: finding.remedy.as_deref(),
        look_ups: &finding.tree,
    }
}

fn lines(finding: &Finding) -> Vec<String> {
    let word = match finding.state {
        State::Fine => "ok",
        State::Missing => "MISSING",
        State::Differs => "DIFFERS",
        State::Conflict => "CONFLICT",
        State::Unknown => "unknown",
    };
    let title = finding.what.title();
    let title = title.split(": ").next().unwrap_or_default();
    let mut lines = vec![format!("  {word:<9} {title:<28} {}", finding.name)];
    let mut more = |label: &str, text: &str| lines.push(format!("            {label:<7} {text}"));
    finding.said.iter().for_each(|said| more("-", said));
    let tells = finding.state != State::Fine;
    if let Some(wanted) = finding.wanted.as_ref().filter(|_| tells) {
        more("wanted", &print::zone_line(wanted));
    }
    finding.served.iter().filter(|_| tells).for_each(|served| more("served", served));
    finding.tree.iter().for_each(|term| more("look-up", term));
    if let Some(remedy) = &finding.remedy {
        more("do", remedy);
    }
    lines
}

/// A finding in one line, for the log.
pub fn sentence(finding: &Finding) -> String {
    let mut parts = vec![format!("{} at {}: {}", finding.what.word(), finding.name, finding.state.word())];
    parts.extend(finding.said.iter().cloned());
    parts.extend(finding.remedy.iter().map(|remedy| format!("what to do: {remedy}")));
    if let Some(wanted) = finding.wanted.as_ref().filter(|_| finding.state != State::Fine) {
        parts.push(format!("wanted: {}", print::zone_line(wanted)));
    }
    parts.join("; ")
}
