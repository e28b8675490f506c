//! The list's part about what domains publish, and about the rules of mailbox providers.

use super::Mutation;

const CORE: &[&str] = &["-p", "postrider-core", "--lib"];
const RELAY: &[&str] = &["-p", "postrider", "--test", "relay"];

/// In the order of the mail's way.
pub const ALL: &[Mutation] = &[
    Mutation {
        name: "core: a DNS that does not answer is a record that is missing",
        file: "crates/core/src/publish/asking.rs",
        find: "            Some(Err(DnsTrouble::Failed(why))) => Served::Unknown(why.as_str().into()),",
        replace: "            Some(Err(DnsTrouble::Failed(_))) => Served::Absent,",
        test: CORE,
        check: "publish::tests::each_difference_is_told_with_its_remedy",
        says: "",
    },
    Mutation {
        name: "core: SPF is counted without an end",
        file: "crates/mail/src/spf/mod.rs",
        find: "        if self.lookups > LOOKUPS_MAX {",
        replace: "        if self.lookups > 40 {",
        test: CORE,
        check: "publish::spf::tests::addresses_are_judged_as_receivers_do",
        says: "",
    },
    Mutation {
        name: "core: a look that nobody answered is a change",
        file: "crates/core/src/publish/drift.rs",
        find: "            if finding.state == State::Unknown {",
        replace: "            if finding.state == State::Unknown && was.is_none() {",
        test: CORE,
        check: "publish::drift::tests::a_change_is_told_once_and_silence_is_no_change",
        says: "",
    },
    Mutation {
        name: "core: what is only advised refuses",
        file: "crates/core/src/preflight/mod.rs",
        find: "        let refuses = strictness == Strictness::Refuse && rule.is_demanded(facts.class);",
        replace: "        let refuses = strictness == Strictness::Refuse;",
        test: CORE,
        check: "preflight::tests::transactional_mail_is_asked_less",
        says: "",
    },
    Mutation {
        name: "flow: what the control socket hands over is not judged",
        file: "crates/flow/src/relay.rs",
        find: "        self.preflight.judge(&self.doors, &snapshot, candidate).await.map_err(SubmitTrouble::Refused)?;",
        replace: "        let _ = self.preflight.judge(&self.doors, &snapshot, candidate).await;",
        test: RELAY,
        check: "rules::mail_that_breaks_a_rule_is_refused_with_the_record_to_paste",
        says: "",
    },
];
