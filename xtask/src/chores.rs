//! The chores that run other programs: `quick`, `ci`, `interop`, `kill`, `fuzz`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{cargo, clock, exists, output, program, root, step, target_dir};
use crate::tidy;

/// How often the short run of `ci` kills the relay, with each signal.
const SHORT_KILLS: &str = "3";

/// Everything `./test` runs after set-up.
pub fn ci() -> Result<()> {
    let begin = clock();
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    println!("\n== tidy");
    tidy::run()?;
    step("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    // One build for tests and binary: apart, cargo would choose other features for shared crates and build those twice.
    step("build", cargo().args(["build", "--workspace", "--lib", "--bins", "--tests", "--locked"]))?;
    if exists("cargo-nextest") {
        step("unit tests (nextest)", demanding(cargo().args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])))?;
    } else {
        let tests = ["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"];
        step("unit tests", demanding(cargo().args(tests)))?;
    }
    step("doc tests", cargo().args(["test", "--workspace", "--locked", "--doc"]))?;
    let relay = target_dir().join("debug/postrider");
    interop_with(&relay, &[])?;
    for signal in ["KILL", "TERM"] {
        kill_with(&relay, SHORT_KILLS, signal)?;
    }
    println!("\n== all passed, {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Peers that set-up installs are there; a test that does without one elsewhere does not here.
fn demanding(command: &mut Command) -> &mut Command {
    command.env("POSTRIDER_PEERS_DEMANDED", "1")
}

/// The check to run while writing.
pub fn quick() -> Result<()> {
    let begin = clock();
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    println!("\n== tidy");
    tidy::run()?;
    let packages = changed_packages()?;
    if packages.is_empty() {
        println!("\n== no crate changed");
        return Ok(());
    }
    let chosen: Vec<String> = packages.iter().flat_map(|name| ["--package".to_owned(), name.clone()]).collect();
    println!("\n== changed: {}", packages.iter().cloned().collect::<Vec<_>>().join(" "));
    step("lints", cargo().arg("clippy").args(&chosen).args(["--all-targets", "--", "-D", "warnings"]))?;
    step("unit tests", cargo().arg("test").args(&chosen).args(["--lib", "--bins"]))?;
    println!("\n== quick: passed, {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// The packages with files that differ from the common ancestor with the published main branch (or, without one, from the last commit).
fn changed_packages() -> Result<BTreeSet<String>> {
    let base = output(program("git").args(["merge-base", "HEAD", "origin/main"])).unwrap_or_else(|_| "HEAD".into());
    let differing = output(program("git").args(["diff", "--name-only", base.trim()]))?;
    let unknown = output(program("git").args(["ls-files", "--others", "--exclude-standard"]))?;
    let mut packages = BTreeSet::new();
    for path in differing.lines().chain(unknown.lines()) {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["crates", "postrider", _, ..] => packages.insert("postrider".to_owned()),
            ["crates", room, _, ..] => packages.insert(format!("postrider-{room}")),
            ["xtask", _, ..] => packages.insert("xtask".to_owned()),
            _ => false,
        };
    }
    Ok(packages)
}

/// The relay the tests of the outside start: `POSTRIDER_BIN`, or what this workspace built without optimisation.
fn relay() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("POSTRIDER_BIN") {
        return Ok(named.into());
    }
    step("build", cargo().args(["build", "--package", "postrider", "--locked"]))?;
    Ok(target_dir().join("debug/postrider"))
}

/// Python with the harness; as root, because Postfix wants it.
fn python(relay: &Path, package: Option<&Path>) -> Result<Command> {
    let root_already = output(program("id").arg("-u"))?.trim() == "0";
    let mut command = if root_already {
        program("env")
    } else {
        let mut sudo = program("sudo");
        sudo.arg("env");
        sudo
    };
    command.arg(format!("POSTRIDER_BIN={}", relay.display())).args(["PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]);
    command.arg(format!("POSTRIDER_PEERS={}", peers().display()));
    if let Some(package) = package {
        command.arg(format!("POSTRIDER_DEB={}", package.display()));
    }
    // Debian's own: another Python in PATH may lack what the suite was written for.
    command.arg(if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" });
    command.current_dir(root().join("tests-interop"));
    Ok(command)
}

/// Where the peers of the whole matrix are, those that are not installed.
fn peers() -> PathBuf {
    std::env::var_os("POSTRIDER_PEERS").map_or_else(|| target_dir().join("peers"), PathBuf::from)
}

/// Real mail to and from real peers.
pub fn interop(names: &[String]) -> Result<()> {
    match names {
        [word] if word == "--matrix" => matrix(&relay()?),
        names => interop_with(&relay()?, names),
    }
}

/// Every peer, into docs/interop.md. The page is written when checks fail, too, and says which.
fn matrix(relay: &Path) -> Result<()> {
    step("set-up of the peers", program("tests-interop/setup").arg("--matrix").env("POSTRIDER_PEERS", peers()))?;
    let package = crate::deb::build(relay, &target_dir().join("deb"))?;
    let page = root().join("docs/interop.md");
    step("the matrix", python(relay, Some(&package))?.arg("matrix.py").arg(page)).map(|_| ())
}

fn interop_with(relay: &Path, names: &[String]) -> Result<()> {
    let package = crate::deb::build(relay, &target_dir().join("deb"))?;
    let mut command = python(relay, Some(&package))?;
    command.args(["-m", "unittest"]);
    if names.is_empty() {
        command.args(["discover", "-p", "test_*.py"]);
    }
    // Behind `discover`, or it is taken for a test's name.
    command.arg("-v");
    step("interoperability", command.args(names)).map(|_| ())
}

/// Kills the relay under load and counts.
pub fn kill(arguments: &[String]) -> Result<()> {
    let (times, signal) = match arguments {
        [times] => (times, "KILL"),
        [times, signal] => (times, signal.as_str()),
        _ => bail!("xtask kill N [TERM]"),
    };
    times.parse::<u32>().context("N is how often to kill")?;
    kill_with(&relay()?, times, signal)
}

fn kill_with(relay: &Path, times: &str, signal: &str) -> Result<()> {
    step(&format!("kill -{signal}, {times} times"), python(relay, None)?.args(["kill.py", times, signal])).map(|_| ())
}

/// Runs one fuzz target for some seconds.
pub fn fuzz(arguments: &[String]) -> Result<()> {
    let targets = fuzz_targets()?;
    let (name, seconds) = match arguments {
        [word] if word == "list" => {
            for (room, name) in &targets {
                println!("{name} (crates/{room})");
            }
            return Ok(());
        }
        [name, seconds] => (name, seconds.parse::<u32>().context("SECS is a number")?),
        _ => bail!("xtask fuzz TARGET SECS, or xtask fuzz list"),
    };
    let found: Vec<_> = targets.iter().filter(|(room, target)| target == name || format!("{room}/{target}") == *name).collect();
    let [(room, name)] = found[..] else {
        bail!("`{name}` is {} fuzz targets; `cargo xtask fuzz list` names them, and ROOM/TARGET tells two of one name apart", found.len());
    };
    if output(cargo().args(["fuzz", "--version"])).is_err() {
        bail!("cargo-fuzz is not installed: `cargo install cargo-fuzz`. The corpora replay as ordinary tests without it.");
    }
    // The sanitizer flags are unstable; this lets the stable compiler take them, so no second toolchain is needed.
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir", &format!("crates/{room}/fuzz"), name]);
    // What is found on the way stays outside the repository: the committed corpus, which replays as a test, is read and not written.
    let found = target_dir().join("fuzz-corpus").join(room).join(name);
    std::fs::create_dir_all(&found)?;
    let committed = root().join("crates").join(room).join("fuzz/corpus").join(name);
    command.arg(found).arg(committed);
    command.args(["--", &format!("-max_total_time={seconds}")]);
    step(&format!("fuzz {name}"), &mut command).map(|_| ())
}

/// (room, target) for every file in a `fuzz_targets` folder.
fn fuzz_targets() -> Result<Vec<(String, String)>> {
    let mut targets = Vec::new();
    for path in
        output(program("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "crates/*/fuzz/fuzz_targets/*.rs"]))?.lines()
    {
        if let ["crates", room, "fuzz", "fuzz_targets", file] = path.split('/').collect::<Vec<_>>()[..] {
            targets.push((room.to_owned(), file.trim_end_matches(".rs").to_owned()));
        }
    }
    Ok(targets)
}
