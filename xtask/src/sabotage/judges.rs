//! The list's part about what is made of mail on its way: milters, holds that it comes with, archives, signatures.

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
    Mutation {
        name: "mail: a signature does not name a field once more than it is there",
        file: "crates/mail/src/dkim/sign.rs",
        find: "            Named::Always => 1,",
        replace: "            Named::Always => usize::from(there == 0),",
        test: &["-p", "postrider-mail"],
        check: "dkim::tests::what_is_signed_verifies_and_what_is_changed_does_not",
        says: "",
    },
    Mutation {
        name: "registry: a tenant's domain signs mail of another",
        file: "crates/postrider/src/registry/file.rs",
        find: "domain.tenant.as_ref().is_none_or(|owner| owner == tenant)",
        replace: "domain.tenant.as_ref().is_none_or(|owner| owner.as_str() != tenant.as_str() || owner == tenant)",
        test: &["-p", "postrider", "--bin", "postrider"],
        check: "registry::tests::the_closest_domain_of_the_tenant_signs_and_the_operator_beside_it",
        says: "",
    },
    Mutation {
        name: "core: relayed mail is signed as if it were ours",
        file: "crates/core/src/plan.rs",
        find: "        Role::Relay => false,",
        replace: "        Role::Relay => true,",
        test: RELAY,
        check: "signing::mail_is_signed_for_its_domain_and_for_the_operator_and_relayed_mail_is_not",
        says: "",
    },
    Mutation {
        name: "core: a tenant speaks for a domain that is not its own",
        file: "crates/core/src/ownership.rs",
        find: "        Voice::Foreign => Err(Denial::Foreign { place, domain: domain.clone(), tenant: tenant.clone() }),",
        replace: "        Voice::Foreign => Ok(None),",
        test: RELAY,
        check: "ownership::no_tenant_speaks_for_another",
        says: "",
    },
    Mutation {
        name: "mail: an address in a person's name is not looked at",
        file: "crates/mail/src/claims.rs",
        find: "    for reading in [unfolded.as_str(), shown.as_str()] {",
        replace: "    for reading in [\"\"; 0] {",
        test: &["-p", "postrider-mail", "--lib"],
        check: "claims::tests::every_reading_counts",
        says: "",
    },
];
