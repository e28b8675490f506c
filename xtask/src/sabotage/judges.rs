//! The list's part about judges of mail: milters, holds that mail comes with, archives.

use super::Mutation;

const RELAY: &[&str] = &["-p", "postrider", "--test", "relay"];

/// In the order of the mail's way.
pub const ALL: &[Mutation] = &[
    Mutation {
        name: "flow: mail passes a milter that is away",
        file: "crates/flow/src/checking/mod.rs",
        find: "OnFailure::TempFail => Some(Word::Refuse(reply(451, (4, 7, 1), \"service unavailable, try again later\"))),",
        replace: "OnFailure::TempFail => None,",
        test: RELAY,
        check: "milter::one_that_is_away_fails_closed_unless_a_stream_says_otherwise",
        says: "",
    },
    Mutation {
        name: "flow: the 250 does not wait for a milter's last word",
        file: "crates/flow/src/checking/content.rs",
        find: "        if !matches!(verdict, Verdict::Continue | Verdict::Accept) {",
        replace: "        if !matches!(verdict, Verdict::Continue | Verdict::Accept) && changes.len() == usize::MAX {",
        test: RELAY,
        check: "milter::verdicts_are_said_where_they_are_given",
        says: "",
    },
    Mutation {
        name: "flow: a large content passes without its judges' changes",
        file: "crates/flow/src/checking/draft.rs",
        find: "        if !self.is_changed() {",
        replace: "        if !self.is_changed() || self.staged.octets > 1_000_000 {",
        test: RELAY,
        check: "milter::a_large_body_streams_to_it_and_back",
        says: "",
    },
    Mutation {
        name: "flow: senders hear of their archive",
        file: "crates/flow/src/receive/judge.rs",
        find: "                let never = Some(Notify { success: false, failure: false, delay: false });",
        replace: "                let never = Some(Notify { success: false, failure: true, delay: false });",
        test: RELAY,
        check: "checking::an_archive_gets_a_copy_that_nobody_hears_of",
        says: "",
    },
    Mutation {
        name: "spool: mail that comes with a hold is sent after a restart",
        file: "crates/spool/src/footer.rs",
        find: "    let Some(hold) = &message.held else { return (None, Vec::new()) };",
        replace: "    let Some(hold) = message.held.as_ref().filter(|hold| hold.reason.len() > 1_000) else { return (None, Vec::new()) };",
        test: &["-p", "postrider-spool", "--test", "contract"],
        check: "a_disk_in_memory_keeps_every_law",
        says: "",
    },
];
