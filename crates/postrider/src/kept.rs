//! Small files of the data directory that hold what people decided, replaced whole.
//!
//! **Promises.** What [`replace`] has written is on stable storage when it returns, under its name; a crash before leaves the old file. [`read`] refuses what it
//! cannot read, and what another release wrote, with a sentence that names the file and a remedy: what a person decided must not be forgotten because a
//! file is damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a file is about, for its sentences.
pub struct About {
    /// The form that is written and read.
    pub version: u32,
    /// `what is suspended`
    pub says: &'static str,
    /// `with nothing suspended`
    pub without: &'static str,
}

/// Enough to tell of which release a file is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// What the file says; `None` when there is none.
pub fn read<T: DeserializeOwned>(path: &Path, about: &About) -> anyhow::Result<Option<T>> {
    let (shown, says) = (path.display(), about.says);
    let octets = match fs::read(path) {
        Ok(octets) => octets,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(trouble) => return Err(trouble).with_context(|| format!("cannot read {shown}, which says {says}")),
    };
    let damaged = |trouble| anyhow!("{shown} does not say {says}: {trouble}; correct it, or remove it to start {}", about.without);
    let Versioned { version } = serde_json::from_slice(&octets).map_err(damaged)?;
    if version != about.version {
        bail!(
            "{shown} was written by another release (form {version}, this one knows {}): use that release, or remove the file",
            about.version
        );
    }
    serde_json::from_slice(&octets).map(Some).map_err(damaged)
}

/// Writes the file anew: a new one, synced, takes its place.
pub fn replace<T: Serialize>(path: &Path, what: &T) -> io::Result<()> {
    let octets = serde_json::to_vec_pretty(what)?;
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&octets)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name is on the disk when its directory is.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
