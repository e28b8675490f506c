use super::*;

fn verdicts(author: Author, outcome: dmarc::Outcome, policy: Option<Policy>) -> Verdicts {
    Verdicts {
        spf: spf::Verdict { outcome: spf::Outcome::SoftFail, reason: None, explanation: None },
        sender: Sender::MailFrom("a@c.example".into()),
        dkim: vec![dkim::Verdict {
            outcome: dkim::Outcome::Fail,
            reason: Some("the body is another one"),
            domain: Some("b.example".into()),
            selector: Some("s".into()),
            beginning: Some("AbCdEf/+".into()),
        }],
        untried: 0,
        arc: arc::Verdict { outcome: arc::Outcome::None, reason: None, sets: 0, sealer: None },
        dmarc: dmarc::Verdict { outcome, reason: None, policy },
        author,
    }
}

fn from_b() -> Author {
    Author::Domain("b.example".into())
}

#[test]
fn only_what_a_domain_asks_for_is_refused_and_only_where_policy_says_so() {
    use dmarc::Outcome::{Fail, None as Silent, Pass, PermError, TempError};
    for (author, outcome, policy, tells, enforces) in [
        (from_b(), Pass, Some(Policy::Reject), "take", "take"),
        (from_b(), Fail, Some(Policy::Reject), "warily", "550 5.7.1"),
        (from_b(), Fail, Some(Policy::Quarantine), "warily", "warily"),
        (from_b(), Fail, Some(Policy::None), "take", "take"),
        (from_b(), Silent, None, "take", "take"),
        (from_b(), TempError, Some(Policy::Reject), "take", "451 4.7.1"),
        (from_b(), TempError, None, "take", "451 4.7.1"),
        (from_b(), TempError, Some(Policy::Quarantine), "take", "take"),
        (from_b(), TempError, Some(Policy::None), "take", "take"),
        (from_b(), PermError, None, "take", "take"),
        (Author::Nobody, PermError, None, "take", "take"),
        (Author::Several, PermError, None, "take", "550 5.7.1"),
    ] {
        let verdicts = verdicts(author, outcome, policy);
        for (enforced, expected) in [(false, tells), (true, enforces)] {
            let said = match consequence(&verdicts, enforced) {
                Consequence::Take => "take".to_owned(),
                Consequence::TakeWarily => "warily".to_owned(),
                Consequence::Refuse(reply) => reply.to_string()[..9].to_owned(),
            };
            assert_eq!(said, expected, "{verdicts:?}");
        }
    }
}

#[test]
fn what_is_told() {
    let told = |verdicts: &Verdicts| {
        let mut out = Vec::new();
        postrider_mail::results::write("mx.example", &findings(verdicts, "192.0.2.1"), &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "")
    };
    let mut all = verdicts(from_b(), dmarc::Outcome::Fail, Some(Policy::Reject));
    assert_eq!(
        told(&all),
        "Authentication-Results: mx.example; spf=softfail smtp.mailfrom=a@c.example; \
         dkim=fail reason=\"the body is another one\" header.d=b.example header.s=s header.b=\"AbCdEf/+\"; \
         dmarc=fail header.from=b.example policy.dmarc=reject"
    );
    all.dkim[0].domain = Some("b\u{fc}cher.example".into());
    assert!(told(&all).contains("header.d=xn--bcher-kva.example header.s=s"));
    all.dkim[0].domain = Some("b.example".into());
    assert_eq!(summary(&all), "spf=softfail dkim=fail:b.example dmarc=fail:b.example policy=reject");
    all.dkim.clear();
    all.sender = Sender::Hello("mx.c.example".into());
    all.arc = arc::Verdict { outcome: arc::Outcome::Pass, reason: None, sets: 2, sealer: Some("list.example".into()) };
    all.dmarc = dmarc::Verdict { outcome: dmarc::Outcome::PermError, reason: Some("From names several domains"), policy: None };
    all.author = Author::Several;
    assert_eq!(
        told(&all),
        "Authentication-Results: mx.example; spf=softfail smtp.helo=mx.c.example; dkim=none; \
         dmarc=permerror reason=\"From names several domains\"; arc=pass smtp.remote-ip=192.0.2.1"
    );
    assert_eq!(summary(&all), "spf=softfail dkim=none dmarc=permerror:several arc=pass:list.example");
    all.untried = 490;
    assert!(told(&all).contains("dkim=neutral reason=\"490 more signatures were not tried\";"));
}
