//! The rules, and who demands them (docs/rules.md).

use postrider_model::policy::StreamClass;

/// A demand of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The header is one that anybody reads to its end.
    HeaderSize,
    /// No line of it is longer than RFC 5322 §2.1.1 allows.
    LineLength,
    /// The message is one that providers take.
    Size,
    /// One From, with one address.
    From,
    /// Nobody sends as a mailbox provider's own users.
    MailboxProvider,
    /// Fields that may stand once do.
    SingleInstance,
    /// There is a Date.
    Date,
    /// There is a Message-ID, and it is one.
    MessageId,
    /// It is no other message's.
    MessageIdReuse,
    /// A message with types says that it has them.
    MimeVersion,
    /// Encoded words stand only where text does.
    EncodedWord,
    /// A domain signs.
    Signed,
    /// With a key that the DNS serves.
    KeyServed,
    /// The signature's domain, or the return path's, is the author's.
    Alignment,
    /// The relay may send with the return path.
    Spf,
    /// The author's domain has a policy.
    Dmarc,
    /// The address that sends has a name that leads back to it.
    Ptr,
    /// Recipients leave with one click.
    OneClick,
    /// Complaints can be told apart.
    FeedbackId,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 19] = [
        Rule::HeaderSize,
        Rule::LineLength,
        Rule::Size,
        Rule::From,
        Rule::MailboxProvider,
        Rule::SingleInstance,
        Rule::Date,
        Rule::MessageId,
        Rule::MessageIdReuse,
        Rule::MimeVersion,
        Rule::EncodedWord,
        Rule::Signed,
        Rule::KeyServed,
        Rule::Alignment,
        Rule::Spf,
        Rule::Dmarc,
        Rule::Ptr,
        Rule::OneClick,
        Rule::FeedbackId,
    ];

    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Rule::HeaderSize => "header-size",
            Rule::LineLength => "line-length",
            Rule::Size => "size",
            Rule::From => "from",
            Rule::MailboxProvider => "mailbox-provider",
            Rule::SingleInstance => "single-instance",
            Rule::Date => "date",
            Rule::MessageId => "message-id",
            Rule::MessageIdReuse => "message-id-reuse",
            Rule::MimeVersion => "mime-version",
            Rule::EncodedWord => "encoded-word",
            Rule::Signed => "signed",
            Rule::KeyServed => "key-served",
            Rule::Alignment => "alignment",
            Rule::Spf => "spf",
            Rule::Dmarc => "dmarc",
            Rule::Ptr => "ptr",
            Rule::OneClick => "one-click",
            Rule::FeedbackId => "feedback-id",
        }
    }

    /// Who demands it.
    pub fn providers(self) -> &'static str {
        match self {
            Rule::HeaderSize | Rule::MessageIdReuse | Rule::EncodedWord | Rule::MailboxProvider => "Gmail",
            Rule::LineLength | Rule::MimeVersion => "RFC 5322; Yahoo",
            Rule::Size | Rule::FeedbackId => "Orange",
            Rule::From | Rule::Date | Rule::MessageId | Rule::SingleInstance => "Gmail, Yahoo, Outlook, Apple",
            Rule::Signed | Rule::KeyServed => "Gmail, Yahoo, Outlook, Apple, Orange",
            Rule::Alignment => "Gmail, Yahoo, Outlook, Orange, La Poste",
            Rule::Spf | Rule::Dmarc => "Gmail, Yahoo, Outlook, Apple, Orange",
            Rule::Ptr => "Gmail, Yahoo, Outlook, Apple, Orange",
            Rule::OneClick => "Gmail, Yahoo",
        }
    }

    /// Whether mail of this kind is refused without it; else it is advised.
    pub fn is_demanded(self, class: StreamClass) -> bool {
        match self {
            // Of bulk mail only.
            Rule::OneClick | Rule::Spf | Rule::Dmarc => class == StreamClass::Bulk,
            Rule::FeedbackId | Rule::Size | Rule::MimeVersion => false,
            Rule::HeaderSize
            | Rule::LineLength
            | Rule::From
            | Rule::MailboxProvider
            | Rule::SingleInstance
            | Rule::Date
            | Rule::MessageId
            | Rule::MessageIdReuse
            | Rule::EncodedWord
            | Rule::Signed
            | Rule::KeyServed
            | Rule::Alignment
            | Rule::Ptr => true,
        }
    }

    /// The code and the status of a refusal (RFC 3463, RFC 7372).
    pub(super) fn status(self) -> (u16, u16, u16) {
        match self {
            Rule::HeaderSize
            | Rule::LineLength
            | Rule::From
            | Rule::SingleInstance
            | Rule::Date
            | Rule::MessageId
            | Rule::MessageIdReuse
            | Rule::MimeVersion
            | Rule::EncodedWord => (554, 6, 0),
            Rule::Size => (552, 3, 4),
            Rule::Signed | Rule::KeyServed => (550, 7, 20),
            Rule::Alignment => (550, 7, 22),
            Rule::Spf => (550, 7, 23),
            Rule::Ptr => (550, 7, 25),
            Rule::Dmarc | Rule::OneClick | Rule::FeedbackId | Rule::MailboxProvider => (550, 7, 1),
        }
    }
}
