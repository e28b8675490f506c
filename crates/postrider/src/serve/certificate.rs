//! The certificate's files, looked at now and then, because those who renew certificates seldom tell.
//!
//! **Promises.** A new pair is in force one look after it stands complete, for handshakes from then on. A pair that cannot be used leaves the old one in
//! force and is told once; so is the moment between two files that do not fit together yet. A reload looks at once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reload::Reloader;
use crate::config::Config;

/// What tells that a file is another one, or was written again: device, inode, length, and the last change.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// The files as they were last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    files: [(PathBuf, Mark); 2],
}

impl Seen {
    /// How the files are now. Symbolic links are followed, so that one that is turned to a renewed certificate counts as a change.
    pub fn now(config: &Config) -> Self {
        Self { files: [&config.certificate, &config.key].map(|path| (path.clone(), mark(path))) }
    }
}

fn mark(path: &Path) -> Mark {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()))
}

/// Looks until this future is dropped.
pub async fn watch(reloader: Arc<Reloader>) {
    loop {
        tokio::time::sleep(reloader.look_every()).await;
        match reloader.renew_certificate() {
            None => {}
            Some(Ok(said)) => tracing::info!("{said}"),
            Some(Err(why)) => tracing::error!("{why}"),
        }
    }
}
