//! `spool inspect` and `spool verify`.
use std::path::Path;
use std::process::ExitCode;

use super::arguments::SpoolArguments;

pub fn run(_data: &Path, _arguments: &SpoolArguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not wired yet")
}
