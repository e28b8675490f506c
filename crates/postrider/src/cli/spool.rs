//! `spool inspect` and `spool verify`: the spool's files, read without changing them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use postrider_spool::inspect;

use super::arguments::{SpoolArguments, SpoolCommand};
use crate::data::DataDirectory;
use crate::shown::{Clean, say};

/// `spool`
pub fn run(data: &Path, arguments: &SpoolArguments) -> anyhow::Result<ExitCode> {
    let directory = DataDirectory::new(data);
    let (look, capture): (fn(&Path) -> _, _) = match &arguments.command {
        SpoolCommand::Inspect(choice) => (inspect::inspect, choice.capture),
        SpoolCommand::Verify(choice) => (inspect::verify, choice.capture),
    };
    let spool = directory.spool(capture);
    if !spool.is_dir() {
        bail!("there is no spool at {}: name the data directory with --data", spool.display());
    }
    // A running relay changes what is read between two reads; what looks wrong then need not be.
    if directory.is_taken() {
        bail!("a relay runs on {}; stop it first (`postrider status` shows the queue of a running one)", data.display());
    }
    let findings = look(&spool).with_context(|| format!("cannot read the spool {}", spool.display()))?;
    for line in &findings.lines {
        say(Clean(line))?;
    }
    for trouble in &findings.troubles {
        say(format_args!("WRONG: {}", Clean(trouble)))?;
    }
    if !findings.troubles.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if matches!(arguments.command, SpoolCommand::Verify(_)) {
        say("everything is sound")?;
    }
    Ok(ExitCode::SUCCESS)
}
