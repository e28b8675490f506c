//! What a machine can judge about the shape of the house (docs/style.md says why).
//!
//! Every rule is a function from a file to complaints, so that each has a control in the tests: a text that trips it, and one that does not.
//! The law of dependency is read from ARCHITECTURE.md; that page rules, not a copy of it here.

mod law;
mod rules;
mod security;

use std::path::Path;

use anyhow::{Result, bail};

use crate::steps::{output, program, root};

/// One file of the repository, by its path from the root.
pub struct File {
    path: String,
    text: String,
}

impl File {
    /// For the controls.
    #[cfg(test)]
    fn of(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Its path from the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}

/// A line that breaks a rule; line 0 is the whole file.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    place: String,
    what: String,
}

impl Complaint {
    /// A complaint about a line of a file.
    pub fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { place: format!("{}:{line}", file.path), what: what.into() }
    }
}

/// Reads the tree, applies every rule, prints what is wrong.
pub fn run() -> Result<()> {
    let complaints = complaints()?;
    for Complaint { place, what } in &complaints {
        println!("{place}: {what}");
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    println!("tidy: nothing to complain about");
    Ok(())
}

fn complaints() -> Result<Vec<Complaint>> {
    let mut found = Vec::new();
    let tree = tree(&root())?;
    for file in &tree {
        for rule in rules::ALL {
            found.extend(rule(file));
        }
    }
    found.extend(security::judge(&tree));
    found.extend(crate::docs::judge(&tree));
    found.extend(law::judge_house()?);
    Ok(found)
}

/// The files git knows or would add: what is ignored is nobody's concern.
pub fn tree(root: &Path) -> Result<Vec<File>> {
    let names = output(program("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|path| !path.is_empty()) {
        // A file that is no text (a message fixture in Latin-1) or that was deleted has no lines to judge.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push(File { path: path.into(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let complaints = super::complaints().unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
