use super::*;

use std::sync::Arc;
use std::time::Duration;

use postrider_smtp::EnhancedStatus;
use proptest::prelude::*;

use Blame::{Connection, Host, Message, Recipient, Site};
use Fate::{Bounce, Defer, Delivered};

const PHASES: [Phase; 12] = [
    Phase::Route,
    Phase::Connect,
    Phase::Greeting,
    Phase::Hello,
    Phase::StartTls,
    Phase::Auth,
    Phase::Mail,
    Phase::Recipient,
    Phase::Data,
    Phase::Content,
    Phase::EndOfData,
    Phase::Local,
];

fn judge(phase: Phase, code: u16) -> (Fate, Blame) {
    let judgement = classify_reply(&Provider::fallback(), phase, &Reply::new(code, None, "text"));
    assert_eq!(judgement.advice, None);
    (judgement.fate, judgement.blame)
}

#[test]
fn replies_without_rules() {
    for (phase, code, expected) in [
        (Phase::Greeting, 220, (Defer, Connection)),
        (Phase::Greeting, 421, (Defer, Host)),
        (Phase::Greeting, 450, (Defer, Host)),
        (Phase::Greeting, 554, (Defer, Host)),
        (Phase::Hello, 421, (Defer, Host)),
        (Phase::Hello, 504, (Defer, Host)),
        (Phase::StartTls, 454, (Defer, Host)),
        (Phase::StartTls, 501, (Defer, Host)),
        (Phase::Auth, 535, (Defer, Host)),
        (Phase::Mail, 421, (Defer, Connection)),
        (Phase::Mail, 451, (Defer, Message)),
        (Phase::Mail, 452, (Defer, Message)),
        (Phase::Mail, 530, (Bounce, Message)),
        (Phase::Mail, 550, (Bounce, Message)),
        (Phase::Mail, 552, (Bounce, Message)),
        (Phase::Mail, 354, (Defer, Connection)),
        (Phase::Recipient, 250, (Defer, Connection)),
        (Phase::Recipient, 421, (Defer, Connection)),
        (Phase::Recipient, 450, (Defer, Recipient)),
        (Phase::Recipient, 451, (Defer, Recipient)),
        (Phase::Recipient, 452, (Defer, Recipient)),
        (Phase::Recipient, 550, (Bounce, Recipient)),
        (Phase::Recipient, 551, (Bounce, Recipient)),
        (Phase::Recipient, 552, (Defer, Recipient)),
        (Phase::Recipient, 553, (Bounce, Recipient)),
        (Phase::Data, 354, (Defer, Connection)),
        (Phase::Data, 421, (Defer, Connection)),
        (Phase::Data, 451, (Defer, Message)),
        (Phase::Data, 554, (Bounce, Message)),
        (Phase::Content, 552, (Bounce, Message)),
        (Phase::EndOfData, 250, (Delivered, Recipient)),
        (Phase::EndOfData, 299, (Delivered, Recipient)),
        (Phase::EndOfData, 354, (Defer, Connection)),
        (Phase::EndOfData, 421, (Defer, Connection)),
        (Phase::EndOfData, 452, (Defer, Message)),
        (Phase::EndOfData, 550, (Bounce, Message)),
        (Phase::EndOfData, 552, (Bounce, Message)),
        (Phase::Local, 550, (Defer, Connection)),
    ] {
        assert_eq!(judge(phase, code), expected, "{phase:?} {code}");
    }
}

#[test]
fn trouble_bounces_only_by_name() {
    let name = || Arc::<str>::from("a.example");
    for (trouble, expected) in [
        (Trouble::NoSuchDomain(name()), (Bounce, Site)),
        (Trouble::NullMx(name()), (Bounce, Site)),
        (Trouble::NoMailHost(name()), (Bounce, Site)),
        (Trouble::DnsFailed(name(), name()), (Defer, Site)),
        (Trouble::ConnectFailed(name()), (Defer, Host)),
        (Trouble::Dropped(name()), (Defer, Connection)),
        (Trouble::Silent(300), (Defer, Connection)),
        (Trouble::Protocol(name()), (Defer, Connection)),
        (Trouble::Tls(name()), (Defer, Host)),
        (Trouble::Ambiguous(name()), (Defer, Connection)),
        (Trouble::Loop(name()), (Bounce, Site)),
        (Trouble::Expired, (Bounce, Message)),
        (Trouble::Unsupported(name()), (Bounce, Message)),
        (Trouble::Internal(name()), (Defer, Message)),
        (Trouble::Operator(name()), (Bounce, Message)),
        (Trouble::TooLarge(name()), (Bounce, Message)),
        (Trouble::Binary(name()), (Bounce, Message)),
        (Trouble::Unsignable(name()), (Bounce, Message)),
        (Trouble::Suppressed(name()), (Bounce, Message)),
    ] {
        let judgement = classify_trouble(&trouble);
        assert_eq!((judgement.fate, judgement.blame, judgement.advice), (expected.0, expected.1, None), "{trouble}");
        // What the report will say must be of the same class as what is done.
        assert_eq!(judgement.fate == Bounce, trouble.status().class == 5, "{trouble}");
    }
}

fn with_rules(rules: Vec<ReplyRule>) -> Provider {
    Provider { rules, ..Provider::fallback() }
}

fn rule(code: u16, status: Option<&str>, contains: &str, action: RuleAction) -> ReplyRule {
    ReplyRule { code, status: status.map(str::to_owned), contains: contains.to_owned(), action }
}

const REST: RuleAction = RuleAction::Rest(Duration::from_secs(60));

#[test]
fn a_rule_matches_by_code_status_and_text() {
    let said = Reply::new(421, Some(EnhancedStatus::new(4, 7, 28)), "Unusual\nRate of mail");
    for (code, status, contains, matched) in [
        (0, None, "", true),
        (4, None, "", true),
        (42, None, "", true),
        (421, None, "", true),
        (5, None, "", false),
        (43, None, "", false),
        (422, None, "", false),
        (421, Some("4.7.28"), "", true),
        (421, Some("4.7.2"), "", false),
        (421, Some("4.7"), "", false),
        (421, None, "unusual rate", true),
        (421, Some("4.7.28"), "usual rate of", true),
        (421, None, "dkim", false),
    ] {
        let provider = with_rules(vec![rule(code, status, contains, REST)]);
        assert_eq!(classify_reply(&provider, Phase::Mail, &said).advice.is_some(), matched, "{code} {status:?} {contains:?}");
    }
    let bare = Reply::new(421, None, "4.7.28 later");
    let provider = with_rules(vec![rule(421, Some("4.7.28"), "", REST)]);
    assert_eq!(classify_reply(&provider, Phase::Mail, &bare).advice, None, "a status is not a word in the text");
}

#[test]
fn the_first_rule_that_matches_decides_over_code_and_phase() {
    let provider = with_rules(vec![
        rule(550, None, "too fast", REST),
        rule(550, None, "slow down", RuleAction::Defer),
        rule(450, None, "gone", RuleAction::Bounce),
        rule(0, None, "too", RuleAction::Bounce),
    ]);
    for (phase, code, text, expected) in [
        (Phase::Recipient, 550, "too fast, slow down", (Defer, Site, Some(REST))),
        (Phase::Recipient, 550, "please slow down", (Defer, Recipient, Some(RuleAction::Defer))),
        (Phase::EndOfData, 550, "please slow down", (Defer, Message, Some(RuleAction::Defer))),
        (Phase::Recipient, 450, "user is gone", (Bounce, Recipient, Some(RuleAction::Bounce))),
        (Phase::Recipient, 550, "nobody", (Bounce, Recipient, None)),
        (Phase::EndOfData, 250, "taken; not too fast, please", (Delivered, Recipient, None)),
        (Phase::Data, 354, "not too fast", (Defer, Connection, None)),
    ] {
        let judgement = classify_reply(&provider, phase, &Reply::new(code, None, text));
        assert_eq!((judgement.fate, judgement.blame, judgement.advice), expected, "{phase:?} {code} {text}");
    }
}

proptest! {
    /// Whatever a peer says: no rule, no bounce without a 5yz to MAIL or later, and no delivery without a 2yz to the end of data.
    #[test]
    fn nothing_is_final_by_accident(code in 200u16..600, phase in 0usize..12, text in ".{0,40}") {
        let phase = PHASES[phase];
        let judgement = classify_reply(&Provider::fallback(), phase, &Reply::new(code, None, text));
        match judgement.fate {
            Delivered => prop_assert!(code < 300 && phase == Phase::EndOfData),
            Bounce => prop_assert!(code >= 500 && phase >= Phase::Mail && phase <= Phase::EndOfData),
            Defer => {}
        }
    }
}
