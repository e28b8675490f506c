//! How a message is prepared: what it lacks when it comes (RFC 6409 §8), and in which form it goes to a next hop (RFC 6152 §3, RFC 3030 §3).
//!
//! **Promises.** What a client of ours submits is completed: Date, From, Message-ID. What is relayed is nobody's to complete (RFC 5321 §6.4): it gets
//! nothing but the empty line without which our own trace field would swallow its text. The plan is made once, from what the content was found to be,
//! and kept with the message. The form is planned at each session, from what the next hop offers; binary content goes as it is only to who takes it.

use postrider_mail::encode::Takes;
use postrider_mail::{Fields, HeaderFacts, mailboxes};
use postrider_model::{BodyType, Mend, Role};
use postrider_smtp::Domain;
use postrider_smtp::extension::Hello;
use postrider_smtp::parameters::Body;

/// What is added to a content when it is sent.
pub fn mend(role: Role, facts: &HeaderFacts) -> Mend {
    let empty_line = facts.lacks_empty_line();
    match role {
        Role::Submission | Role::Local => {
            Mend { date: facts.date == 0, from: facts.from == 0, message_id: facts.message_id == 0, empty_line }
        }
        Role::Relay | Role::Report => Mend { empty_line, ..Mend::default() },
    }
}

/// Whether mail of this role carries our signatures: what clients of ours hand over, and our own reports. What is relayed is somebody else's word.
pub fn is_signed(role: Role) -> bool {
    match role {
        Role::Submission | Role::Local | Role::Report => true,
        Role::Relay => false,
    }
}

/// The domain that a message says it is from: of the first mailbox of its first From (RFC 5322 §3.6.2).
pub fn author_domain(header: &[u8]) -> Option<Domain> {
    let from = Fields::of(header).find(|field| field.is("From"))?;
    let first = mailboxes(from.value).into_iter().next()?;
    Domain::parse(first.rsplit_once('@')?.1.trim()).ok()
}

/// The form in which a content goes to a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What is declared.
    pub body: Body,
    /// Parts beyond this are encoded on the way; `None`: it goes as it is.
    pub encoded_for: Option<Takes>,
}

/// In which form content of this kind goes to who offered this; `takes_binary` where BINARYMIME can be used.
pub fn form(content: BodyType, offered: &Hello, takes_binary: bool) -> Form {
    let as_it_is = |body| Form { body, encoded_for: None };
    match content {
        BodyType::SevenBit => as_it_is(Body::SevenBit),
        BodyType::BinaryMime if takes_binary => as_it_is(Body::BinaryMime),
        BodyType::BinaryMime if offered.eight_bit_mime => Form { body: Body::EightBitMime, encoded_for: Some(Takes::EightBit) },
        BodyType::EightBitMime if offered.eight_bit_mime => as_it_is(Body::EightBitMime),
        BodyType::EightBitMime | BodyType::BinaryMime => Form { body: Body::SevenBit, encoded_for: Some(Takes::SevenBit) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_mail::HeaderWatch;

    #[test]
    fn content_goes_as_the_next_hop_takes_it() {
        let (seven, eight) = (Hello::default(), Hello { eight_bit_mime: true, ..Hello::default() });
        for (content, offered, takes_binary, body, encoded_for) in [
            (BodyType::SevenBit, &seven, false, Body::SevenBit, None),
            (BodyType::SevenBit, &eight, true, Body::SevenBit, None),
            (BodyType::EightBitMime, &eight, false, Body::EightBitMime, None),
            (BodyType::EightBitMime, &seven, false, Body::SevenBit, Some(Takes::SevenBit)),
            (BodyType::BinaryMime, &eight, true, Body::BinaryMime, None),
            (BodyType::BinaryMime, &eight, false, Body::EightBitMime, Some(Takes::EightBit)),
            (BodyType::BinaryMime, &seven, false, Body::SevenBit, Some(Takes::SevenBit)),
        ] {
            assert_eq!(form(content, offered, takes_binary), Form { body, encoded_for }, "{content:?} {takes_binary}");
        }
    }

    fn found(content: &str) -> HeaderFacts {
        let mut watch = HeaderWatch::new();
        watch.feed(content.as_bytes());
        watch.finish()
    }

    #[test]
    fn submissions_are_completed_and_relayed_mail_is_not() {
        let whole = "From: a@b.example\r\nDate: x\r\nMessage-ID: <1@b.example>\r\n\r\ntext";
        for (content, mended) in [
            (whole, [false, false, false, false]),
            ("Subject: x\r\n\r\ntext", [true, true, true, false]),
            ("MESSAGE-id: x\r\nfrom: y\r\n\r\n", [true, false, false, false]),
            ("\r\ntext", [true, true, true, false]),
            ("just text\r\nFrom: nobody", [true, true, true, true]),
            ("", [true, true, true, false]),
            ("From: a@b.example\r\nDate: x\r\nno field\r\n\r\ntext", [false, false, true, true]),
            ("From: a@b.example\r\nDate: x\r\nMessage-ID: <1@b.example>", [false, false, false, false]),
        ] {
            let [date, from, message_id, empty_line] = mended;
            let facts = found(content);
            for role in [Role::Submission, Role::Local] {
                assert_eq!(mend(role, &facts), Mend { date, from, message_id, empty_line }, "{content:?}");
            }
            for role in [Role::Relay, Role::Report] {
                assert_eq!(mend(role, &facts), Mend { empty_line, ..Mend::default() }, "{content:?}");
            }
        }
    }

    #[test]
    fn a_message_is_from_the_domain_of_its_first_author() {
        for (header, domain) in [
            ("From: a@Shop.example\r\n\r\n", Some("shop.example")),
            ("To: x@y.example\r\nfrom: \"b@evil.example\" <a@shop.example>, c@other.example\r\n", Some("shop.example")),
            ("From: (x@evil.example) a@shop.example\r\n", Some("shop.example")),
            ("From: team: a@shop.example;\r\n", Some("shop.example")),
            ("From: a@one.example\r\nFrom: a@two.example\r\n", Some("one.example")),
            ("From: nobody\r\n", None),
            ("From: a@[192.0.2.1]\r\n", None),
            ("Subject: x\r\n", None),
        ] {
            assert_eq!(author_domain(header.as_bytes()).map(|found| found.to_ascii().to_lowercase()).as_deref(), domain, "{header}");
        }
        assert!(is_signed(Role::Report) && !is_signed(Role::Relay));
    }
}
