//! Lists of tags (RFC 6376 §3.2), as signatures, keys and DMARC records have them.

use std::ops::Range;

/// Tags of one list that are read; no record has a third of them.
const TAGS_MAX: usize = 64;

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    pub(crate) name: &'a str,
    /// Without the blanks around it; those within it stay.
    pub(crate) value: &'a str,
    /// Where everything stands that is between `=` and the end of the tag.
    pub(crate) span: Range<usize>,
}

/// A list of tags, each name once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tags<'a>(Vec<Tag<'a>>);

impl<'a> Tags<'a> {
    /// Reads a list; nothing where it is none.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        for piece in text.split(';') {
            let from = start;
            start += piece.len() + 1;
            // Nothing stands behind the last semicolon, if anything.
            if piece.trim_ascii().is_empty() && start > text.len() && from > 0 {
                break;
            }
            let (name, value) = piece.split_once('=')?;
            let span = from + name.len() + 1..from + piece.len();
            let name = name.trim_ascii();
            let good = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            if !good || tags.len() == TAGS_MAX || tags.iter().any(|tag| tag.name == name) {
                return None;
            }
            tags.push(Tag { name, value: value.trim_ascii(), span });
        }
        (!tags.is_empty()).then_some(Self(tags))
    }

    /// The first tag.
    pub(crate) fn first(&self) -> Option<&Tag<'a>> {
        self.0.first()
    }

    /// The tag of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name)
    }

    /// The value of the tag of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).map(|tag| tag.value)
    }
}

/// A value without any blanks: base64 and lists may be folded anywhere.
pub(crate) fn unfolded(value: &str) -> String {
    value.chars().filter(|letter| !letter.is_ascii_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags() {
        let read = |text: &'static str| {
            let tags = Tags::read(text)?;
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
