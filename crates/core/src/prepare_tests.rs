use postrider_smtp::Mailbox;

use super::*;

const USUAL: &str = "From: a@shop.example\r\nTo: b@there.example\r\nSubject: x\r\nDate: y\r\nMessage-ID: <1@shop.example>\r\n";

fn asking(change: impl FnOnce(&mut Stream)) -> Stream {
    let mut stream = Stream { class: StreamClass::Bulk, ..Stream::default() };
    change(&mut stream);
    stream
}

fn check(stream: &Stream, from: &str, header: &str) -> Preparation {
    let domain = SendingDomain { name: Domain::parse("shop.example").unwrap(), return_path: Domain::parse("back.shop.example").ok() };
    let reverse_path = Mailbox::parse(from).map_or(ReversePath::Null, ReversePath::Mailbox);
    preparation(&Subject {
        tenant: &"shop".into(),
        stream_name: &"news".into(),
        stream,
        domain: Some(&domain),
        reverse_path: &reverse_path,
        header: header.as_bytes(),
        host_name: "relay.example",
        has_keys: true,
        has_web: true,
        smtputf8: header.contains("X-Wide"),
        has_long_lines: header.contains("X-Long"),
    })
}

fn removed(plan: &Preparation) -> Vec<(usize, Why)> {
    plan.removed.iter().map(|removed| (removed.place, removed.why)).collect()
}

#[test]
fn a_plain_stream_and_what_is_not_a_clients_are_left_alone() {
    let plain = asking(|_| ());
    let warned = asking(|stream| stream.strictness = Strictness::Warn);
    let mending = asking(|stream| stream.strictness = Strictness::Mend);
    let stripping = asking(|stream| stream.preparing.strips = vec!["x-internal-".into()]);
    for (role, stream, concerned) in [
        (Role::Submission, &plain, false),
        (Role::Submission, &warned, false),
        (Role::Submission, &mending, true),
        (Role::Local, &stripping, true),
        (Role::Relay, &stripping, false),
        (Role::Report, &mending, false),
    ] {
        assert_eq!(concerns(role, stream), concerned, "{role:?} {stream:?}");
    }
}

#[test]
fn failures_come_back_to_the_domain_that_leads_to_us() {
    let stream = asking(|stream| stream.preparing.own_return_path = true);
    let plan = check(&stream, "a@shop.example", USUAL);
    assert_eq!(plan.return_path.as_ref().map(Domain::as_str), Some("back.shop.example"));
    assert!(plan.is_for_one() && plan.removed.is_empty() && plan.missing.is_empty());
    assert_eq!(check(&stream, "", USUAL), Preparation::default(), "a null reverse-path stays null");
    let reverse_path = ReversePath::Mailbox(Mailbox::parse("a@shop.example").unwrap());
    for (domain, has_keys) in [(None, true), (Some(SendingDomain { name: Domain::parse("b.example").unwrap(), return_path: None }), true)] {
        let plan = preparation(&Subject {
            tenant: &"shop".into(),
            stream_name: &"news".into(),
            stream: &stream,
            domain: domain.as_ref(),
            reverse_path: &reverse_path,
            header: USUAL.as_bytes(),
            host_name: "relay.example",
            has_keys,
            has_web: true,
            smtputf8: false,
            has_long_lines: false,
        });
        assert!(plan.return_path.is_none() && !plan.is_for_one() && plan.missing.len() == 1, "{plan:?}");
    }
}

#[test]
fn one_click_is_added_where_the_message_has_none_of_its_own() {
    let stream = asking(|stream| stream.preparing.one_click = true);
    for (own, added, kept, gone, missing) in [
        ("", true, &[][..], 0, 0),
        ("List-Unsubscribe: <mailto:off@shop.example?subject=x>\r\n", true, &["mailto:off@shop.example?subject=x"], 1, 0),
        (
            "List-Unsubscribe: <MAILTO:off@shop.example>,\r\n <mailto:two@b.example>\r\n",
            true,
            &["MAILTO:off@shop.example", "mailto:two@b.example"],
            1,
            0,
        ),
        ("List-Unsubscribe: <https://shop.example/off>\r\n", false, &[], 0, 1),
        ("List-Unsubscribe: <mailto:a@b.example>, <http://shop.example/off>\r\n", false, &[], 0, 1),
        ("List-Unsubscribe: <https://shop.example/off>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", false, &[], 0, 0),
        ("List-Unsubscribe:\r\n", true, &[], 1, 0),
        ("List-Unsubscribe: nonsense <\r\n", true, &[], 1, 0),
    ] {
        let plan = check(&stream, "a@shop.example", &format!("{USUAL}{own}"));
        let mailto = plan.one_click.as_ref().map(|one_click| one_click.mailto.clone());
        assert_eq!(mailto, added.then(|| kept.iter().map(|link| (*link).to_owned()).collect()), "{own}");
        assert_eq!((plan.removed.len(), plan.missing.len(), plan.is_for_one()), (gone, missing, added), "{own}");
    }
}

#[test]
fn a_feedback_id_stays_the_same_and_has_the_form_that_gmail_counts_by() {
    let stream = asking(|stream| stream.preparing.feedback_id = true);
    let plan = check(&stream, "a@shop.example", USUAL);
    let value = plan.feedback_id.unwrap();
    assert_eq!(check(&stream, "a@shop.example", "Subject: other\r\n").feedback_id.as_ref(), Some(&value));
    let parts: Vec<&str> = value.split(':').collect();
    assert_eq!(parts[..3], ["news", "shop", "bulk"]);
    assert!(parts.len() == 4 && (5..=15).contains(&parts[3].len()) && parts[3].bytes().all(|octet| octet.is_ascii_alphanumeric()));
    assert_ne!(sender_id("relay.example", "shop"), sender_id("relay.example", "bank"));
    assert_eq!(check(&stream, "a@shop.example", "Feedback-ID: a:b:c:dddddd\r\n").feedback_id, None);
}

#[test]
fn fields_that_are_nobodys_business_go_and_no_others() {
    let stream = asking(|stream| stream.preparing.strips = vec!["x-internal-".into(), "x-campaign".into()]);
    let header = "BCC: c@d.example\r\nX-Internal-Id: 1\r\nX-Interna: 2\r\nx-campaign: 3\r\nX-Postrider-Tag: 4\r\nResent-Bcc: e@f.example\r\nBcc-Note: 5\r\n";
    let plan = check(&stream, "a@shop.example", header);
    assert_eq!(removed(&plan), [(0, Why::Blind), (1, Why::Internal), (3, Why::Internal), (4, Why::Internal), (5, Why::Blind)]);
    let greedy = asking(|stream| stream.preparing.strips = vec!["".into(), "f".into()]);
    let names: Vec<String> =
        check(&greedy, "a@shop.example", &format!("{USUAL}X-A: 1\r\n")).removed.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["X-A"], "what makes it a message stays, whatever the registry says");
    assert!(!plan.is_for_one());
}

#[test]
fn what_is_said_twice_goes_once_and_what_differs_is_not_chosen_among() {
    let mending = asking(|stream| stream.strictness = Strictness::Mend);
    let stripping = asking(|stream| stream.preparing.strips = vec!["x-internal-".into()]);
    let header = "Subject: a  b\r\nSubject: a\r\n b\r\nSubject: c\r\nsubject: c\r\nReceived: x\r\nReceived: x\r\nX-A: 1\r\nX-A: 1\r\nFrom: a@b.example\r\nFrom: c@d.example\r\n";
    assert_eq!(removed(&check(&mending, "a@shop.example", header)), [(1, Why::Double), (3, Why::Double)]);
    assert_eq!(removed(&check(&stripping, "a@shop.example", header)), []);
    for (header, added) in [
        ("Content-Type: text/plain\r\n", true),
        ("Content-Transfer-Encoding: 8bit\r\n", true),
        ("Content-Type: text/plain\r\nMime-version: 1.0\r\n", false),
        ("Subject: x\r\n", false),
    ] {
        assert_eq!(check(&mending, "a@shop.example", header).mime_version, added, "{header}");
    }
}

#[test]
fn lines_are_mended_where_the_stream_says_so() {
    let (mending, plain) = (asking(|stream| stream.strictness = Strictness::Mend), asking(|stream| stream.preparing.feedback_id = true));
    for (stream, body, looked) in [
        (&mending, BodyType::SevenBit, true),
        (&mending, BodyType::EightBitMime, true),
        (&mending, BodyType::BinaryMime, false),
        (&plain, BodyType::SevenBit, false),
    ] {
        assert_eq!(mends_lines(stream, body), looked, "{body:?}");
    }
    let plan = check(&mending, "a@shop.example", "X-Long: 1\r\n");
    assert!(plan.short_lines && plan.words(Mend::default())[0].contains("998"));
    let header = format!("X-Long: 1\r\nTo: {}end@b.example\r\nX-Word: {}\r\n", "a@b.example, ".repeat(100), "x".repeat(2_000));
    for (stream, folded) in [(&mending, &[1][..]), (&plain, &[])] {
        let plan = check(stream, "a@shop.example", &header);
        assert_eq!(plan.folded, folded);
        assert_eq!(plan.words(Mend::default()).iter().any(|said| said.starts_with("1 fields are folded")), !folded.is_empty());
    }
}

#[test]
fn letters_beyond_ascii_are_encoded_where_the_envelope_does_not_carry_them() {
    let (mending, plain) = (asking(|stream| stream.strictness = Strictness::Mend), asking(|stream| stream.preparing.feedback_id = true));
    let header = "From: Ü <a@b.example>\r\nSubject: x\r\nX-A: ü\r\nTo: ü@b.example\r\nBcc: Ö <c@d.example>\r\n";
    let plan = check(&mending, "a@shop.example", header);
    assert_eq!((plan.encoded.as_slice(), removed(&plan)), (&[0, 2][..], vec![(4, Why::Blind)]));
    assert!(plan.words(Mend::default()).iter().any(|said| said.starts_with("2 fields are written in encoded words")));
    assert!(check(&mending, "a@shop.example", &format!("{header}X-Wide: 1\r\n")).encoded.is_empty());
    assert!(check(&plain, "a@shop.example", header).encoded.is_empty());
}

#[test]
fn the_plan_is_told_in_words() {
    let stream = asking(|stream| {
        let strips = vec!["x-internal-".into()];
        stream.preparing = Preparing { own_return_path: true, one_click: true, feedback_id: true, strips };
    });
    let plan = check(&stream, "a@shop.example", "Content-Type: text/plain\r\nBcc: x@y.example\r\nX-Internal-A: 1\r\n");
    let said = plan.words(Mend { date: true, ..Mend::default() }).join("\n");
    for part in [
        "Date is added",
        "MIME-Version is added",
        "a token at back.shop.example",
        "one click",
        "Feedback-ID: news:shop:bulk:",
        "Bcc is taken away",
        "X-Internal-A is taken away",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(Preparation::default().words(Mend::default()).is_empty());
}
