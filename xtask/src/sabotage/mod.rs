//! `cargo xtask sabotage`: does each guard notice when what it guards is broken?
//!
//! A [`Mutation`] is a known way to break the relay and the name of the test that must notice. Each is applied to a copy of the last commit, its test is
//! run, and the test must pass before and fail after. A mutation whose text is no longer in the file is an error, so that this list does not rot
//! quietly; a mutation that does not compile is one, too, because it proves nothing.

mod judges;
mod mutations;
mod published;
mod simulated;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::steps::{clock, output, program, target_dir};

/// No test of this list takes this long; a mutation that makes one hang is reported as not noticed.
const TEST_SECONDS_MAX: &str = "900";

/// One known way to break the relay.
pub struct Mutation {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The file, from the root.
    pub file: &'static str,
    /// Text that stands there exactly once.
    pub find: &'static str,
    /// What is put in its place.
    pub replace: &'static str,
    /// Arguments of `cargo test`.
    pub test: &'static [&'static str],
    /// The test that must pass before and fail after.
    pub check: &'static str,
    /// What the failing test must say, too: the check of the simulator's judge. Empty: nothing.
    pub says: &'static str,
}

/// A copy of the last commit, away from the tree people work in.
struct Copy {
    place: PathBuf,
    target: PathBuf,
}

/// What `cargo test` said about one check.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Verdict {
    Passed,
    Failed,
    /// It was not run: it does not compile, does not exist, or hung.
    Absent,
}

/// The whole list.
fn all() -> impl Iterator<Item = &'static Mutation> {
    mutations::ALL.iter().chain(judges::ALL).chain(published::ALL).chain(simulated::ALL)
}

/// Runs all mutations, or those whose name contains an argument.
pub fn run(names: &[String]) -> Result<()> {
    let chosen: Vec<&Mutation> =
        all().filter(|mutation| names.is_empty() || names.iter().any(|name| mutation.name.contains(name.as_str()))).collect();
    if chosen.is_empty() {
        bail!("no such mutation; known: {}", all().map(|mutation| mutation.name).collect::<Vec<_>>().join(", "));
    }
    let copy = Copy::make()?;
    let mut troubles = Vec::new();
    let mut sound = BTreeSet::new();
    for mutation in chosen {
        let begin = clock();
        let judged = copy.judge(mutation, &mut sound);
        let seconds = begin.elapsed().as_secs_f64();
        match judged {
            Ok(()) => println!("noticed      {:<58} {} {} ({seconds:.0} s)", mutation.name, mutation.check, mutation.says),
            Err(trouble) => {
                println!("NOT NOTICED  {:<58} {trouble:#} ({seconds:.0} s)", mutation.name);
                troubles.push(mutation.name);
            }
        }
    }
    if !troubles.is_empty() {
        bail!("sabotage: {} went unnoticed: {}", troubles.len(), troubles.join(", "));
    }
    Ok(())
}

impl Copy {
    fn make() -> Result<Self> {
        let folder = target_dir().join("sabotage");
        let copy = Self { place: folder.join("tree"), target: folder.join("target") };
        copy.remove();
        std::fs::create_dir_all(&folder)?;
        output(program("git").args(["worktree", "add", "--force", "--detach"]).arg(&copy.place).arg("HEAD"))?;
        Ok(copy)
    }

    /// Removes what is there, also what an interrupted run left.
    fn remove(&self) {
        let removed = output(program("git").args(["worktree", "remove", "--force"]).arg(&self.place));
        if removed.is_err() && self.place.exists() {
            println!("could not remove {}", self.place.display());
        }
    }

    /// Demands that the check passes on the sound tree and fails on the broken one.
    fn judge(&self, mutation: &Mutation, sound: &mut BTreeSet<&'static str>) -> Result<()> {
        let file = self.place.join(mutation.file);
        let text = std::fs::read_to_string(&file).with_context(|| mutation.file.to_owned())?;
        let broken = apply(mutation, &text)?;
        if !sound.contains(mutation.check) {
            match self.test(mutation)?.0 {
                Verdict::Passed => sound.insert(mutation.check),
                other => bail!("`{}` must pass on the sound tree, but: {other:?}", mutation.check),
            };
        }
        std::fs::write(&file, broken)?;
        let verdict = self.test(mutation);
        std::fs::write(&file, text)?;
        let (verdict, printed) = verdict?;
        match verdict {
            Verdict::Failed if printed.contains(mutation.says) => Ok(()),
            Verdict::Failed => bail!("`{}` fails, but not because of {}", mutation.check, mutation.says),
            Verdict::Passed => bail!("`{}` passes all the same", mutation.check),
            Verdict::Absent => bail!("`{}` did not run: the mutation does not compile, or hangs", mutation.check),
        }
    }

    /// Runs the test; what it printed, too.
    fn test(&self, mutation: &Mutation) -> Result<(Verdict, String)> {
        let mut command = std::process::Command::new("timeout");
        command.args([TEST_SECONDS_MAX, "cargo", "test", "--locked"]).args(mutation.test).arg("--").arg(mutation.check);
        command.current_dir(&self.place).env("CARGO_TARGET_DIR", &self.target);
        let output = command.output().context("timeout, cargo")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((verdict(&printed, mutation.check), printed))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

fn apply(mutation: &Mutation, text: &str) -> Result<String> {
    match text.matches(mutation.find).count() {
        1 => Ok(text.replacen(mutation.find, mutation.replace, 1)),
        count => bail!("the text to break stands {count} times in {}, not once: mend the mutation", mutation.file),
    }
}

/// Reads the lines `test NAME ... ok` of the test harness.
fn verdict(printed: &str, check: &str) -> Verdict {
    let mut seen = Verdict::Absent;
    for line in printed.lines().filter(|line| line.starts_with("test ") && line.contains(check)) {
        if line.contains("FAILED") {
            return Verdict::Failed;
        }
        if line.ends_with("ok") {
            seen = Verdict::Passed;
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_still_applies() {
        let mut names = BTreeSet::new();
        for mutation in all() {
            let text = std::fs::read_to_string(crate::steps::root().join(mutation.file)).unwrap();
            apply(mutation, &text).unwrap_or_else(|trouble| panic!("{}: {trouble}", mutation.name));
            assert!(names.insert(mutation.name), "{} stands twice", mutation.name);
        }
    }

    #[test]
    fn text_that_is_gone_or_doubled_is_an_error() {
        let mutation = Mutation { name: "n", file: "f", find: "a", replace: "b", test: &[], check: "c", says: "" };
        assert_eq!(apply(&mutation, "xay").unwrap(), "xby");
        assert!(apply(&mutation, "xy").is_err());
        assert!(apply(&mutation, "aa").is_err());
    }

    #[test]
    fn only_the_named_check_counts() {
        assert_eq!(verdict("test a::c ... ok\ntest b ... FAILED\n", "c"), Verdict::Passed);
        assert_eq!(verdict("test a::c ... FAILED\n", "c"), Verdict::Failed);
        assert_eq!(verdict("error: could not compile\n", "c"), Verdict::Absent);
        assert_eq!(verdict("test a::c ... ok\ntest b::c ... FAILED\n", "c"), Verdict::Failed);
    }
}
