//! A list of tags, `name=value; name=value` (RFC 6376 §3.2).

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
pub struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(octets: &'a [u8]) -> Result<Self, TagTrouble> {
        let text = std::str::from_utf8(octets).map_err(|_| TagTrouble::NotText)?;
        let text = text.trim_matches(is_white);
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for part in text.strip_suffix(';').unwrap_or(text).split(';') {
            if tags.len() == TAGS_MAX {
                return Err(TagTrouble::TooMany);
            }
            let (name, value) = part.split_once('=').ok_or_else(|| TagTrouble::NoTag(shown(part)))?;
            let (name, value) = (name.trim_matches(is_white), value.trim_matches(is_white));
            let plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            if !plain {
                return Err(TagTrouble::NoTag(shown(part)));
            }
            if tags.iter().any(|(other, _)| *other == name) {
                return Err(TagTrouble::Twice(name.into()));
            }
            tags.push((name, value));
        }
        Ok(Self(tags))
    }

    /// A tag's value. Names are compared with their case (RFC 6376 §3.2).
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The first tag.
    pub fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().copied()
    }
}

/// White space of a folded text (RFC 6376 §2.8).
pub(super) fn is_white(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
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
