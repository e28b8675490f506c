//! Checks and chores of this repository: `cargo xtask COMMAND`.
//!
//! **Promises.** `ci` is everything `./test` runs after set-up, in one order, with the time each step took; a step that fails ends it. What a
//! machine can judge about the shape of the house is in [`tidy`], and is a unit test, too.
//!
//! **Never.** It installs nothing (that is `./test`'s work), and leaves no process behind.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a chore talks to its operator")]

mod bench;
mod chores;
mod deb;
mod docs;
mod sabotage;
mod steps;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  quick             format, tidy, lints and unit tests of the crates that changed since main; under two minutes when warm
  ci                everything: format, tidy, lints, unit and doc tests, interoperability, a short kill -9 run
  tidy              what a machine can judge about the shape of the house
  interop [TEST]    real mail to and from Postfix, Dovecot, swaks, msmtp and Python's smtplib
  interop --matrix  every peer (docs/interop.md, which it writes); installs those that are missing
  kill N [TERM]     kill -9 the relay N times under load (or SIGTERM), then count what was lost and what came twice
  sabotage [NAME]   builds known mutations and demands that the named check fails for each
  fuzz TARGET SECS  runs one fuzz target (`fuzz list` names them); needs cargo-fuzz
  docs              writes the pages that are made from the code: docs/configuration.md, docs/rfc.md
  deb [--binary FILE] [--out DIR]  the Debian package; without a program it is built with optimisation
  bench [ARGS]      runs `postrider bench` on a journaled file system of its own (a loop mount; needs root)
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("\n{trouble:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("quick") => chores::quick(),
        Some("ci") => chores::ci(),
        Some("tidy") => tidy::run(),
        Some("interop") => chores::interop(rest),
        Some("kill") => chores::kill(rest),
        Some("sabotage") => sabotage::run(rest),
        Some("fuzz") => chores::fuzz(rest),
        Some("docs") => docs::run(),
        Some("deb") => deb::run(rest),
        Some("bench") => bench::run(rest),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("there is no `{other}`\n\n{HELP}"),
    }
}
