//! Reverse-path and forward-path (RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2).
//!
//! **Promises.** Parsing takes exactly one path, brackets included, and prints it the same way. Source routes are accepted and dropped, as
//! RFC 5321 §4.1.1.3 and appendix C ask of a server.
//!
//! **Never** takes a mailbox without brackets: what begins a path ends it, so that parameters cannot hide inside.

use std::fmt;

use crate::address::{AddressTrouble, Domain, Host, Mailbox, PATH_OCTETS_MAX};

/// Who hears of failures; null for mail that must never cause a report (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<a@b.example>`
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses `<>` or `<mailbox>`.
    pub fn parse(text: &str) -> Result<ReversePath, AddressTrouble> {
        match inside(text)? {
            "" => Ok(ReversePath::Null),
            inside => Mailbox::parse(inside).map(ReversePath::Mailbox),
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, ReversePath::Null)
    }

    /// The mailbox, unless null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it can be said without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(Mailbox::is_ascii)
    }
}

/// Prints the path in its brackets.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardPath {
    /// The bare `<Postmaster>` that every server must take (RFC 5321 §4.5.1); any case.
    Postmaster,
    /// `<a@b.example>`
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Parses `<Postmaster>` or `<mailbox>`; the null path is not a recipient.
    pub fn parse(text: &str) -> Result<ForwardPath, AddressTrouble> {
        match inside(text)? {
            "" => Err(AddressTrouble::Empty),
            inside if inside.eq_ignore_ascii_case("postmaster") => Ok(ForwardPath::Postmaster),
            inside => Mailbox::parse(inside).map(ForwardPath::Mailbox),
        }
    }

    /// The domain of the mailbox; none for the bare postmaster and for an address literal.
    pub fn domain(&self) -> Option<&Domain> {
        self.mailbox().and_then(Mailbox::domain)
    }

    /// The host of the mailbox; none for the bare postmaster.
    pub fn host(&self) -> Option<&Host> {
        self.mailbox().map(Mailbox::host)
    }

    /// The mailbox, unless this is the bare postmaster.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ForwardPath::Postmaster => None,
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it can be said without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(Mailbox::is_ascii)
    }
}

/// Prints the path in its brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("<Postmaster>"),
            ForwardPath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// What stands between the brackets, behind a source route if there is one.
fn inside(text: &str) -> Result<&str, AddressTrouble> {
    if text.is_empty() {
        return Err(AddressTrouble::Empty);
    }
    // A source route is dropped, so it does not count in the limit of the path that remains; the command line bounds it.
    let inside = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(AddressTrouble::Path)?;
    let Some(route) = inside.strip_prefix('@') else {
        return if text.len() > PATH_OCTETS_MAX { Err(AddressTrouble::PathTooLong) } else { Ok(inside) };
    };
    let (route, mailbox) = route.split_once(':').ok_or(AddressTrouble::Path)?;
    for (nth, hop) in route.split(',').enumerate() {
        let hop = if nth == 0 { hop } else { hop.strip_prefix('@').ok_or(AddressTrouble::Path)? };
        Domain::parse(hop)?;
    }
    if mailbox.is_empty() { Err(AddressTrouble::Path) } else { Ok(mailbox) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_paths() {
        assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::Null));
        assert!(ReversePath::parse("<>").unwrap().is_null());
        for (text, printed) in [
            ("<a@b.example>", "<a@b.example>"),
            ("<@r.example:a@b.example>", "<a@b.example>"),
            ("<@r.example,@s.example:a@b.example>", "<a@b.example>"),
        ] {
            assert_eq!(ReversePath::parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn forward_paths() {
        for (text, printed) in [
            ("<postMASTER>", "<Postmaster>"),
            ("<Postmaster@b.example>", "<Postmaster@b.example>"),
            ("<\"a>b\"@c.example>", "<\"a>b\"@c.example>"),
        ] {
            assert_eq!(ForwardPath::parse(text).unwrap().to_string(), printed);
        }
        assert_eq!(ForwardPath::parse("<>"), Err(AddressTrouble::Empty));
        assert_eq!(ForwardPath::parse("<root>"), Err(AddressTrouble::NoDomain));
    }

    #[test]
    fn what_is_no_path() {
        for text in [
            "a@b.example",
            "<a@b.example",
            "a@b.example>",
            "<@r.example a@b.example>",
            "<@r.example:>",
            "<@r.example,s.example:a@b.example>",
            "<@:a@b.example>",
            "< >",
            "<",
        ] {
            assert!(ReversePath::parse(text).is_err(), "{text:?}");
            assert!(ForwardPath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_domain_of_a_recipient() {
        assert_eq!(ForwardPath::parse("<a@B.example>").unwrap().domain().map(Domain::as_str), Some("b.example"));
        assert_eq!(ForwardPath::parse("<Postmaster>").unwrap().host(), None);
        assert_eq!(ForwardPath::parse("<a@[192.0.2.1]>").unwrap().domain(), None);
    }
}
