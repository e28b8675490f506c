//! SPF and DMARC records, compared with what the relay needs. Others may have written them for senders of their own, so what is proposed keeps their words.

use postrider_mail::records::{DmarcPolicy, DmarcRecord, is_dmarc};
use postrider_mail::spf::{LOOKUPS_MAX, Outcome, is_record, read};
use postrider_mail::suffix;
use postrider_smtp::Domain;

use super::asking::{Asking, Served};
use super::check::{Finding, State, missing, plain, shown, spf_among};
use super::{Data, Facts, Wanted, below, spf, spf_terms};

/// An SPF record. One that is not `needed` is judged all the same, and nothing is wrong without it.
pub(super) fn spf(facts: &Facts, record: &Wanted, needed: bool, asking: &mut Asking<'_>) -> Finding {
    let (what, name) = (record.what.clone(), record.name.to_string());
    let not_needed = "not needed for mail whose return path is ours, which has a record of its own";
    let texts = match asking.text(&record.name) {
        Served::Unknown(why) => return Finding::unknown(what, name, &why),
        Served::Absent => &[][..],
        Served::Here(texts) => texts,
    };
    let served = spf_among(texts);
    let finding = |state| Finding::new(what.clone(), name.clone(), state).served(served.clone());
    match served.len() {
        0 if needed => return missing(record, asking).says("receivers cannot know that the relay may send for it"),
        0 => return finding(State::Fine).says(format!("there is no SPF record; {not_needed}")),
        1 => {}
        many => {
            return finding(State::Conflict)
                .says(format!("there are {many} SPF records, and receivers then follow none (RFC 7208 §4.5)"))
                .do_this(format!("leave one, with the terms of all: {}", merged(texts, facts)));
        }
    }
    let cost = spf::cost(asking, &record.name);
    let mut faults = cost.faults();
    let mut unknown = cost.unknown.then(|| "a part of the record's look-ups failed".to_owned());
    let mut refused = false;
    for (source, address, hello) in faces(facts, asking, &mut unknown) {
        let verdict = spf::judge(asking, &record.name, address, &hello);
        let why = verdict.reason.unwrap_or_default();
        let said = match verdict.outcome {
            Outcome::Pass => continue,
            Outcome::TempError => {
                unknown = unknown.or(Some(why));
                continue;
            }
            Outcome::None => "there is no record".to_owned(),
            Outcome::PermError => format!("receivers answer permerror: {why}"),
            Outcome::Fail => "the record says that it must not send (fail)".to_owned(),
            Outcome::SoftFail => "the record says that it should not send (softfail)".to_owned(),
            Outcome::Neutral => "the record says nothing of it (neutral)".to_owned(),
        };
        refused = true;
        faults.push(format!("Source {source} ({address}): {said}"));
    }
    let mut found = match (faults.is_empty(), unknown) {
        (true, Some(why)) => Finding::unknown(what.clone(), name.clone(), &why).served(served.clone()),
        (true, None) => finding(State::Fine).says(format!("it costs receivers {} of {} look-ups", cost.lookups, LOOKUPS_MAX)),
        (false, _) if needed => finding(State::Differs),
        (false, _) => finding(State::Fine).says(not_needed),
    };
    found.tree = cost.tree;
    if !faults.is_empty() {
        found.remedy = needed.then(|| remedy(texts, facts, refused));
        found.said.extend(faults);
    }
    found
}

/// What receivers see of each Source: its address, or those of the name it says.
fn faces(facts: &Facts, asking: &mut Asking<'_>, unknown: &mut Option<String>) -> Vec<(String, std::net::IpAddr, String)> {
    let mut seen = Vec::new();
    for face in &facts.faces {
        let (source, hello) = (face.source.to_string(), face.hello.to_string());
        match (face.address, Domain::parse(&face.hello)) {
            (Ok(address), _) => seen.push((source, address, hello)),
            (Err(_), Err(_)) => {}
            (Err(_), Ok(name)) => match asking.addresses(&name) {
                Served::Here(found) => seen.extend(found.iter().map(|address| (source.clone(), *address, hello.clone()))),
                // Told where the Source's own names are checked.
                Served::Absent => {}
                Served::Unknown(why) => *unknown = Some(why.into()),
            },
        }
    }
    seen
}

fn remedy(texts: &[Box<[u8]>], facts: &Facts, refused: bool) -> String {
    match refused {
        true => format!("change the record so that it reads: {}", merged(texts, facts)),
        false => "replace includes by the networks they stand for, and remove senders that no longer send".to_owned(),
    }
}

/// One record with the terms of all that are there, and ours in front of what decides about the rest.
fn merged(texts: &[Box<[u8]>], facts: &Facts) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut last: Option<String> = None;
    for record in texts.iter().filter(|text| is_record(text)).filter_map(|text| read(text).ok()) {
        for term in record.senders().map(|term| plain(term.as_bytes())) {
            if !words.contains(&term) {
                words.push(term);
            }
        }
        last = last.or(record.rest().map(|term| plain(term.as_bytes())));
    }
    words.splice(0..0, spf_terms(&facts.faces).into_iter().filter(|term| !words.contains(term)).collect::<Vec<_>>());
    let words = std::iter::once("v=spf1".to_owned()).chain(words).chain(std::iter::once(last.unwrap_or_else(|| "~all".to_owned())));
    words.collect::<Vec<_>>().join(" ")
}

/// The policy that holds for a domain: its own, or its organisation's (RFC 7489 §6.6.3). Domains between the two are asked by nobody who keeps to that, so a policy
/// that stands there only is none.
pub(super) fn dmarc(facts: &Facts, record: &Wanted, asking: &mut Asking<'_>) -> Finding {
    let (what, name) = (record.what.clone(), record.name.to_string());
    let mut served = match policies(&record.name, asking) {
        Ok(served) => served,
        Err(why) => return Finding::unknown(what, name, &why),
    };
    let mut inherited = None;
    if served.is_empty()
        && let Some((above, place)) = organisation_above(&facts.domain)
    {
        served = match policies(&place, asking) {
            Ok(served) => served,
            Err(why) => return Finding::unknown(what, name, &why),
        };
        inherited = Some(above).filter(|_| !served.is_empty());
    }
    let finding = |state| Finding::new(what.clone(), name.clone(), state).served(shown(&served));
    let [policy] = &served[..] else {
        if served.is_empty() {
            return missing(record, asking).says("Gmail, Yahoo, Outlook, Apple and others refuse bulk mail of domains without one");
        }
        return finding(State::Conflict)
            .says(format!("there are {} DMARC records, and receivers then follow none (RFC 7489 §6.6.3)", served.len()))
            .do_this("leave one, and remove the others");
    };
    let read = match DmarcRecord::parse(policy) {
        Ok(read) => read,
        Err(trouble) => {
            let wanted = if let Data::Text(text) = &record.data { text.as_str() } else { "" };
            return finding(State::Differs)
                .says(format!("receivers cannot follow it: {trouble}"))
                .do_this(format!("correct it; the least that counts is: {wanted}"));
        }
    };
    let mut found = finding(State::Fine);
    found.said = worth_knowing(facts, &read, inherited.as_ref(), asking);
    found
}

/// The domain of a domain's organisation, where it is another one, and where its policy stands.
fn organisation_above(domain: &Domain) -> Option<(Domain, Domain)> {
    let ascii = domain.to_ascii();
    let above = Some(suffix::organisation(&ascii)).filter(|above| *above != &*ascii)?;
    let above = Domain::parse(above).ok()?;
    let place = below("_dmarc", &above)?;
    Some((above, place))
}

fn policies(name: &Domain, asking: &mut Asking<'_>) -> Result<Vec<Box<[u8]>>, Box<str>> {
    match asking.text(name) {
        Served::Here(texts) => Ok(texts.iter().filter(|text| is_dmarc(text)).cloned().collect()),
        Served::Absent => Ok(Vec::new()),
        Served::Unknown(why) => Err(why),
    }
}

/// Nothing of this is wrong; all of it is asked for sooner or later.
fn worth_knowing(facts: &Facts, read: &DmarcRecord, inherited: Option<&Domain>, asking: &mut Asking<'_>) -> Vec<String> {
    let mut said = Vec::new();
    let policy = if inherited.is_some() { read.below } else { read.policy };
    said.push(match inherited {
        Some(above) => format!("the policy is {}, as {above} says for the domains below it", policy.word()),
        None => format!("the policy is {}", policy.word()),
    });
    if policy != DmarcPolicy::None && read.percent < 100 {
        said.push(format!("pct={} lets the rest of the mail off", read.percent));
    }
    if read.strict_dkim {
        said.push(format!("adkim=s: only mail from {} itself counts as signed, not mail from domains below it", facts.domain));
    }
    if let Some(return_path) = facts.return_path.as_ref().filter(|_| read.strict_spf) {
        said.push(format!("aspf=s: SPF of the return path {return_path} does not count; the signature alone has to hold"));
    }
    if read.reports.is_empty() {
        said.push("rua= is not there: nobody tells you who sends as this domain; Yahoo and La Poste ask for it".to_owned());
    }
    for report in &read.reports {
        let Some(to) = report.rsplit_once('@').and_then(|(_, host)| Domain::parse(host).ok()) else { continue };
        let owner = inherited.unwrap_or(&facts.domain);
        if suffix::are_of_one(&to.to_ascii(), &owner.to_ascii()) {
            continue;
        }
        // RFC 7489 §7.1: who gets the reports of another domain has to agree.
        let Some(place) = below(&format!("{}._report._dmarc", owner.to_ascii()), &to) else { continue };
        match asking.text(&place) {
            Served::Here(texts) if texts.iter().any(|text| is_dmarc(text)) => {}
            Served::Unknown(_) => said.push(format!("whether {to} agrees to take the reports could not be found out")),
            Served::Here(_) | Served::Absent => {
                said.push(format!(
                    "{to} has not agreed to take the reports, so most receivers send none: {place}. IN TXT \"v=DMARC1\" says that it does"
                ));
            }
        }
    }
    said
}
