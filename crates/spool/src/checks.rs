//! What must hold for any octets: the checks behind the fuzz targets, also run over the corpora as ordinary tests. Not an interface.

use postrider_model::Outcome;

use crate::alteration::put_alteration;
use crate::codec::Encode;
use crate::events::{put_event, take_event};
use crate::footer::{FooterBuilder, Summary, Trailer, replay_footer};
use crate::forms::{Body, Form, SettlementParts, put_settlement, put_states, put_stored_message};
use crate::index::Index;
use crate::journal;
use crate::notice::put_notice;
use crate::record::{Binding, Header, Kind, Scan};

const BINDING: Binding = Binding { log: 7, life: 1 };

/// A record's meta part: the first octet chooses the kind. What decodes must encode to what decodes alike, and its footer entry must replay.
pub fn record(input: &[u8]) {
    let Some((choice, meta)) = input.split_first() else { return };
    let (kind, _) = Kind::ALL[usize::from(*choice) % Kind::ALL.len()];
    let Ok(form) = Form::decode(kind, meta) else { return };
    let mut again = Vec::new();
    put_form(&mut again, &form);
    assert_eq!(Form::decode(kind, &again).as_ref(), Ok(&form));
    let mut footer = FooterBuilder::default();
    for summary in Summary::of(form) {
        let mark = footer.mark();
        footer.add(8192, 64, &summary);
        let (first, octets) = (footer.finish(), footer.octets());
        footer.back_to(mark);
        footer.add(8192, 64, &summary);
        assert!(footer.finish() == first && first.len() <= octets);
    }
    let mut index = Index::default();
    index.begin_replay();
    let replayed = replay_footer(&mut index, 1, &footer.finish(), &mut |_, _| {});
    assert!(replayed.is_ok(), "a footer that we wrote does not replay");
    index.end_replay();
}

/// A footer, a segment's records, a record header, a trailer, an event: any octets.
pub fn file(input: &[u8]) {
    let mut index = Index::default();
    index.begin_replay();
    let _ = replay_footer(&mut index, 1, input, &mut |_, _| {});
    index.end_replay();
    let mut scan = Scan::new(input, BINDING, 0);
    while scan.next().is_some() {}
    let _ = (scan.proof_of_damage(), Header::read(input), Trailer::decode(input, BINDING));
    if let Ok(event) = take_event(1, input) {
        let mut again = Vec::new();
        put_event(&mut again, &event);
        assert!(take_event(1, &again).is_ok());
    }
}

/// The kinds of records that stand one behind the other in what is written to a segment, by name; empty when these are no records. For the simulator,
/// which counts in the midst of what its crashes fall.
pub fn kinds_written(octets: &[u8]) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    let mut rest = octets;
    while let Some(header) = Header::read(rest) {
        kinds.push(match Kind::from_tag(header.tag) {
            Some(Kind::Acceptance) => "acceptance",
            Some(Kind::Settlement) => "settlement",
            Some(Kind::Checkpoint | Kind::Standing) => "copy",
            Some(Kind::Footer) => "footer",
            Some(Kind::Transferred) => "mark",
            Some(Kind::Alteration | Kind::Change) => "change",
            Some(Kind::Notice) => "notice",
            None => break,
        });
        rest = usize::try_from(header.record_octets()).ok().and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    kinds
}

/// A journal file: any octets behind any header; the first octets choose the sequence it says it begins with.
pub fn journal(input: &[u8]) {
    let file = journal::whole_file(input);
    for octets in [input, &file] {
        let events = journal::events_of_file(octets, BINDING.log);
        for event in &events {
            let mut again = Vec::new();
            put_event(&mut again, event);
            let mut third = Vec::new();
            put_event(&mut third, &take_event(event.sequence, &again).expect("what was written reads back"));
            assert_eq!(again, third);
        }
        assert!(events.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence), "events of a file follow each other");
    }
}

fn put_form(out: &mut Vec<u8>, form: &Form) {
    match form {
        Form::Acceptance(stored) => put_stored_message(out, &stored.message, stored.body),
        Form::Checkpoint(stored, states) => {
            put_stored_message(out, &stored.message, stored.body);
            put_states(out, states);
        }
        Form::Standing(id, states) => {
            out.fixed128(id.0);
            put_states(out, states);
        }
        Form::Transferred(life) => out.number((*life).into()),
        Form::Alteration(alteration) => put_alteration(out, alteration),
        Form::Notice(notice) => put_notice(out, notice),
        Form::Settlement(settlement) => {
            let outcomes: Vec<(u32, Outcome)> = settlement.outcomes.iter().map(|told| (told.index, told.outcome.clone())).collect();
            let attempts: Vec<u32> = settlement.outcomes.iter().map(|told| told.attempts).collect();
            let parts = SettlementParts {
                message: settlement.message,
                at: settlement.at,
                attempt: settlement.attempt.as_ref(),
                outcomes: &outcomes,
                attempts: &attempts,
                report: settlement.report.as_ref().map(|report| &report.message),
            };
            debug_assert!(settlement.report.as_ref().is_none_or(|report| report.body == Body::Inline));
            put_settlement(out, &parts);
        }
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
