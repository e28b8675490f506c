//! `cargo xtask bench`: the benchmark on a journaled file system of its own.
//!
//! Figures of a durable spool mean something only with the file system named; this makes an ext4 in a file, mounts it, runs `postrider bench` with its
//! work there, and unmounts it again. Needs root, `mkfs.ext4` and `mount`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::steps::{cargo, output, program, step, target_dir};

/// Sparse. A queue of a million messages of 10 KB is 10.5 GB, and compaction wants room beside it.
const IMAGE_BYTES: &str = "24G";

/// A mounted file system that goes when this goes.
struct Mount {
    place: PathBuf,
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(trouble) = output(program("umount").arg(&self.place)) {
            println!("still mounted: {}: {trouble:#}", self.place.display());
        }
    }
}

/// Builds with optimisation, mounts, measures.
pub fn run(arguments: &[String]) -> Result<()> {
    step("build, optimised", cargo().args(["build", "--release", "--locked", "--package", "postrider"]))?;
    let mut command = program(target_dir().join("release/postrider"));
    command.arg("bench").args(arguments);
    if arguments.iter().any(|argument| argument == "--work" || argument.starts_with("--work=") || argument == "--help") {
        return step("bench", &mut command).map(|_| ());
    }
    let mount = mount()?;
    step("bench on ext4 (loop mount)", command.arg("--work").arg(&mount.place)).map(|_| ())
}

fn mount() -> Result<Mount> {
    if output(program("id").arg("-u"))?.trim() != "0" {
        bail!("a loop mount needs root; or give --work a directory on the file system to measure");
    }
    let folder = target_dir().join("bench");
    let (image, place) = (folder.join("ext4.img"), folder.join("mount"));
    std::fs::create_dir_all(&place)?;
    output(program("truncate").args(["-s", IMAGE_BYTES]).arg(&image))?;
    output(program("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image))?;
    output(program("mount").args(["-o", "loop"]).arg(&image).arg(&place))?;
    Ok(Mount { place })
}
