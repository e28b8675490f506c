//! The judge: what must hold of every run, found out from outside the relay.
//!
//! | check | what it demands | by whose word |
//! |---|---|---|
//! | C1 | every 250 to an end of data ends in a copy at a provider or a told bounce, for each recipient, with the content as it was handed in; nothing else is sent | clients, ledgers, mail log |
//! | C1 | whatever custody began of has one end for each recipient; each due date lies before the give-up time, no attempt long behind it; a bounce has a cause that is for ever, or is late; mail goes where its domain or its rule says, from the addresses of its stream's pool; `explain` knows all that waits | journal, mail log, ledgers, insight |
//! | C1 | what is told of a stranger's mail is the truth, or that the DNS did not tell; what he forged is gone; nobody is refused for good but whom his domain disowns, where that is followed, and he always | ledgers, clients, the scenario |
//! | C2 | a further copy follows only a crash near the first one's reply, or a reply the relay never read whole; nothing durably ended is sent again | ledgers, wires, journal |
//! | C3 | no provider saw more connections, messages per connection, recipients or messages in a time than the policy allows, reloaded ones included, and no client's protocol error; no smart host more recipients in an hour or 24 hours than its limits, whatever crashed | wires, ledgers |
//! | C4 | Accepted before Deferred before one terminal event; sequences grow, by one where all history is kept; nothing is attempted before it is due | journal, mail log |
//! | C5 | no report for a null reverse-path, none about a report, each to the reverse-path it is for | ledgers, mail log |
//! | C6 | connections stay within the window; a small tenant is served beside a flood | insight, ledgers |
//! | C7 | in fine weather the spool drains, and its disk is given back | the spool's count, the disk |
//! | C9 | who asked a stream for silence and heard that it has it is written to no more; whoever was not, asked; each such word stands in the journal, once, and once more for a crash at most | who asked, ledgers, mail log, journal |
//! | C10 | whatever the registry does, nothing is sent unsigned that is to be signed, nothing is taken from a tenant in a name that is not its own, and no right secret is called wrong | clients, ledgers |
//! | C8 | the same seed twice gives the same book | two runs |

mod copies;
mod custody;
mod ends;
mod evidence;
mod limits;
mod order;
mod registry;
mod returns;
mod silence;
mod sources;
pub(crate) mod told;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::world::Fact;

pub use evidence::{Copy, Evidence, Policy, Told};
pub use told::Strangers;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which check.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// What one check found.
#[derive(Default)]
pub(crate) struct Found(Vec<Violation>);

impl Found {
    pub(crate) fn say(&mut self, check: &'static str, what: String) {
        self.0.push(Violation { check, what });
    }
}

/// All checks but C8, which needs two runs.
pub fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Found::default();
    custody::check(evidence, &mut found);
    ends::check(evidence, &mut found);
    copies::check(evidence, &mut found);
    limits::check(evidence, &mut found);
    order::check(evidence, &mut found);
    returns::check(evidence, &mut found);
    sources::check(evidence, &mut found);
    silence::check(evidence, &mut found);
    registry::check(evidence, &mut found);
    drains(evidence, &mut found);
    found.0
}

/// How many reports providers took.
pub(crate) fn reports_taken(evidence: &Evidence) -> usize {
    returns::reports(evidence).len()
}

/// How many reports of success or delay providers took.
pub(crate) fn successes_told(evidence: &Evidence) -> usize {
    returns::reports(evidence).iter().filter(|report| !report.other_news.is_empty()).count()
}

/// C7.
fn drains(evidence: &Evidence, found: &mut Found) {
    if let Some(why) = &evidence.refused_to_open {
        found.say("C7", format!("the spool did not open again: {why}"));
        return;
    }
    match &evidence.left {
        None => found.say("C7", "the relay died again and again".into()),
        Some(left) if !left.is_empty() => found.say("C7", format!("after the weather cleared this is left: {left:?}")),
        Some(_) => {}
    }
    // The segment that is written, and the one that was just sealed.
    const SEGMENTS_LEFT: u64 = 2;
    for (_, fact) in &evidence.facts {
        if let Fact::Rest { contents, segments } = fact
            && (*contents > 0 || *segments > SEGMENTS_LEFT)
        {
            found.say("C7", format!("nothing waits any more, and the disk still holds {contents} contents and {segments} segments"));
        }
    }
}
