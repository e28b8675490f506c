//! Values as words: in the tables, on the command line, in files. One spelling each.

use postrider_model::Priority;
use postrider_model::policy::{Beyond, StreamClass, Strictness};

/// A value that has words.
pub trait Worded: Copy + PartialEq + 'static {
    /// All of them.
    const WORDS: &'static [(&'static str, Self)];

    /// Its word.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("?", |(word, _)| word)
    }
}

impl Worded for Priority {
    const WORDS: &'static [(&'static str, Self)] = &[("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];
}

impl Worded for StreamClass {
    const WORDS: &'static [(&'static str, Self)] = &[("transactional", StreamClass::Transactional), ("bulk", StreamClass::Bulk)];
}

impl Worded for Strictness {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Strictness::Off), ("warn", Strictness::Warn), ("mend", Strictness::Mend), ("refuse", Strictness::Refuse)];
}

impl Worded for Beyond {
    const WORDS: &'static [(&'static str, Self)] = &[("queue", Beyond::Queue), ("refuse", Beyond::Refuse)];
}

/// The value of a word.
pub fn read_word<T: Worded>(word: &str) -> Result<T, String> {
    let known = T::WORDS.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        format!("{word:?} is none of {}", words.join(", "))
    })
}
