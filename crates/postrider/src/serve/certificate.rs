//! The certificate's files, looked at now and then, because those who renew certificates seldom tell.
//!
//! **Promises.** A new pair is in force one look after it stands complete, for handshakes from then on. A pair that cannot be used leaves the old one in
//! force and is told once; so is the moment between two files that do not fit together yet. A reload looks at once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postrider_model::Timestamp;

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

/// How long before its end a certificate is spoken of. Who renews by a timer does it a month before.
const SPOKEN_OF: Duration = Duration::from_secs(14 * 86_400);

/// How often it is spoken of.
const SPOKEN_OF_EVERY: Duration = Duration::from_secs(86_400);

/// What is to be said of a certificate that ends soon, or has ended.
pub fn ends_soon(path: &Path, ends: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let (ends, shown) = (ends?, path.display());
    let remedy = "renew it in place, and the relay takes the new one by itself";
    if ends <= now {
        return Some(format!("the certificate {shown} ended {ends}: clients that look refuse it; {remedy}"));
    }
    let left = ends.since(now);
    (left <= SPOKEN_OF).then(|| format!("the certificate {shown} ends in {} days, {ends}; {remedy}", left.as_secs() / 86_400))
}

/// Looks until this future is dropped.
pub async fn watch(reloader: Arc<Reloader>) {
    let mut spoken: Option<Timestamp> = None;
    loop {
        let now = reloader.clock.now();
        if spoken.is_none_or(|at| now.since(at) >= SPOKEN_OF_EVERY)
            && let Some(said) = reloader.certificate_ends_soon(now)
        {
            spoken = Some(now);
            tracing::warn!("{said}");
        }
        tokio::time::sleep(reloader.look_every()).await;
        match reloader.renew_certificate() {
            None => {}
            Some(Ok(said)) => tracing::info!("{said}"),
            Some(Err(why)) => tracing::error!("{why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_spoken_of_two_weeks_before() {
        const DAY_MS: u64 = 86_400_000;
        let now = Timestamp::from_millis(100 * DAY_MS);
        for (ends, said) in [
            (None, None),
            (Some(114 * DAY_MS + 1), None),
            (Some(114 * DAY_MS), Some("ends in 14 days")),
            (Some(100 * DAY_MS + 1), Some("ends in 0 days")),
            (Some(100 * DAY_MS), Some("ended 1970-04-11")),
        ] {
            let told = ends_soon(Path::new("c.pem"), ends.map(Timestamp::from_millis), now);
            assert_eq!(told.is_some(), said.is_some(), "{ends:?}");
            assert!(told.as_deref().unwrap_or_default().contains(said.unwrap_or_default()), "{told:?}");
        }
    }
}
