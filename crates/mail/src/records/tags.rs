//! A list of tags, `name=value; name=value` (RFC 6376 §3.2).

use std::ops::Range;

/// Tags of one list; no list has half as many.
pub const TAGS_MAX: usize = 64;

/// Letters of a text that a trouble shows.
const SHOWN_LETTERS_MAX: usize = 40;

/// Why a text is no list of tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagTrouble {
    /// Octets that are no text.
    #[error("it holds octets that are no text")]
    NotText,
    /// Too many of them.
    #[error("it has more than {TAGS_MAX} tags")]
    TooMany,
    /// A part without an equals sign.
    #[error("{0:?} is no tag: tags are NAME=VALUE with a semicolon between them")]
    NoTag(Box<str>),
    /// A tag that is there twice.
    #[error("the tag {0}= is there twice")]
    Twice(Box<str>),
}

/// Tags in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags<'a>(Vec<Tag<'a>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag<'a> {
    name: &'a str,
    value: &'a str,
    /// Where everything stands that is between `=` and the end of the tag.
    span: Range<usize>,
}

impl<'a> Tags<'a> {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(octets: &'a [u8]) -> Result<Self, TagTrouble> {
        let text = std::str::from_utf8(octets).map_err(|_| TagTrouble::NotText)?;
        let end = text.trim_end_matches(is_white);
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        for part in end.strip_suffix(';').unwrap_or(end).split(';') {
            let from = start;
            start += part.len() + 1;
            if tags.len() == TAGS_MAX {
                return Err(TagTrouble::TooMany);
            }
            let (name, value) = part.split_once('=').ok_or_else(|| TagTrouble::NoTag(shown(part)))?;
            let span = from + name.len() + 1..from + part.len();
            let (name, value) = (name.trim_matches(is_white), value.trim_matches(is_white));
            let plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            if !plain {
                return Err(TagTrouble::NoTag(shown(part)));
            }
            if tags.iter().any(|tag| tag.name == name) {
                return Err(TagTrouble::Twice(name.into()));
            }
            tags.push(Tag { name, value, span });
        }
        Ok(Self(tags))
    }

    /// A tag's value. Names are compared with their case (RFC 6376 §3.2).
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|tag| tag.name == name).map(|tag| tag.value)
    }

    /// Where everything stands in the list that is between a tag's `=` and its end.
    pub(crate) fn span(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().find(|tag| tag.name == name).map(|tag| tag.span.clone())
    }

    /// The first tag.
    pub fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().map(|tag| (tag.name, tag.value))
    }
}

/// White space of a folded text (RFC 6376 §2.8).
pub(super) fn is_white(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

/// A value without any white space: Base64 and lists may be folded anywhere.
pub(crate) fn unfolded(value: &str) -> String {
    value.chars().filter(|letter| !is_white(*letter)).collect()
}

/// A piece of a stranger's text, short and harmless.
pub(super) fn shown(text: &str) -> Box<str> {
    let clean = text.trim().chars().map(|letter| if letter.is_control() { '?' } else { letter });
    let mut short: String = clean.take(SHOWN_LETTERS_MAX + 1).collect();
    if short.chars().count() > SHOWN_LETTERS_MAX {
        short.pop();
        short.push_str("...");
    }
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags() {
        let read = |text: &'static str| {
            let tags = Tags::parse(text.as_bytes()).ok()?;
            Some(tags.0.iter().map(|tag| (tag.name, tag.value, &text[tag.span.clone()])).collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("v=1; a=b", Some(vec![("v", "1", "1"), ("a", "b", "b")])),
            (" v = 1 ;\r\n\ta=b c ;", Some(vec![("v", "1", " 1 "), ("a", "b c", "b c ")])),
            ("v=;", Some(vec![("v", "", "")])),
            ("v=1; ", Some(vec![("v", "1", "1")])),
            ("v=a=b", Some(vec![("v", "a=b", "a=b")])),
            ("v=1;;a=b", None),
            ("v=1; v=2", None),
            ("v", None),
            ("=1", None),
            ("1v=1", None),
            (";", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }
}
