//! The binary: configuration, command line, wiring. The only crate that knows every room.
//!
//! `config` reads the one file, `serve` turns it into a running relay, `cli` speaks to one over its control socket, `mail_log` and `registry` are
//! the doors that only a configuration can fill, `bench` measures relays from outside.

#![forbid(unsafe_code)]

mod bench;
mod braking;
mod cli;
mod config;
mod data;
mod handing_in;
mod keeping;
mod kept;
mod mail_log;
mod own_relay;
mod publishing;
mod registry;
mod reroutes;
mod serve;
mod shown;
mod suppressions;
mod suspensions;
mod tokens;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

/// Contents come and go by the thousand a second beside an index that stays for days: the system's allocator kept 220 MB of holes between them
/// in a queue of a million (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    if let Some(name) = cli::sendmail::called_as(words.next().as_deref()) {
        return cli::sendmail::run(name, words.collect(), None);
    }
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => code,
        // Somebody piped us into `head`.
        Err(trouble) if trouble.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("postrider: {trouble:#}");
            ExitCode::FAILURE
        }
    }
}
