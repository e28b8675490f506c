//! Running commands, one after the other, with a line before and the time after each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target`.
pub fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(named)
}

/// Cargo, as the one that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A program, started in the root.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// The wall clock of the person who waits; no decision hangs on it.
#[expect(clippy::disallowed_methods, reason = "a chore reports real time")]
pub fn clock() -> Instant {
    Instant::now()
}

/// Runs one step to its end; a failure is an error that names it.
pub fn step(name: &str, command: &mut Command) -> Result<Duration> {
    println!("\n== {name}");
    let begin = clock();
    let status = command.status().with_context(|| format!("{name}: cannot start {:?}", command.get_program()))?;
    let took = begin.elapsed();
    if !status.success() {
        bail!("{name} failed ({status}) after {:.0} s", took.as_secs_f64());
    }
    println!("== {name}: passed, {:.0} s", took.as_secs_f64());
    Ok(took)
}

/// What a command prints, when it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}\n{}", command.get_program(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a program can be started at all.
pub fn exists(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}
