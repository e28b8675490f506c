//! What is wrong in a configuration, with the line, all of it at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line, counted from 1; zero is the file as a whole.
    pub line: usize,
    /// One sentence.
    pub sentence: String,
}

/// Everything that is wrong in one file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file, as people call it.
    pub file: String,
    /// In the order of their lines.
    pub list: Vec<Fault>,
}

impl fmt::Display for Faults {
    /// `FILE:LINE: SENTENCE`, one line each, as editors understand it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.list.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            match fault.line {
                0 => write!(f, "{}: {}", self.file, fault.sentence)?,
                line => write!(f, "{}:{line}: {}", self.file, fault.sentence)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Collects faults while a file is read.
#[derive(Debug)]
pub struct Collector {
    line_starts: Vec<usize>,
    found: RefCell<Vec<Fault>>,
    asked: RefCell<BTreeSet<String>>,
}

impl Collector {
    /// A collector for this text.
    pub fn new(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
        Self { line_starts: std::iter::once(0).chain(starts).collect(), found: RefCell::default(), asked: RefCell::default() }
    }

    /// Something is wrong at these octets of the text.
    pub fn add(&self, span: Range<usize>, sentence: impl Into<String>) {
        let line = self.line_starts.partition_point(|start| *start <= span.start);
        self.found.borrow_mut().push(Fault { line, sentence: sentence.into() });
    }

    /// Notes that a key exists, as `section.key`.
    pub fn asked(&self, key: String) {
        self.asked.borrow_mut().insert(key);
    }

    /// Every key that reading asked for.
    #[cfg(test)]
    pub fn keys(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    /// The verdict.
    pub fn verdict(self, file: &str) -> Result<(), Faults> {
        let mut list = self.found.into_inner();
        list.sort();
        list.dedup();
        if list.is_empty() { Ok(()) } else { Err(Faults { file: file.to_owned(), list }) }
    }
}
