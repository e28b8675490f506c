//! What is suspended, in a small file of the data directory, so that a restart suspends it, too (docs/adr/0007).
//!
//! **Promises.** A change is in the file, synced, before it is answered and before the relay knows it. The file is replaced whole: a crash leaves the old
//! one or the new one. What has ended is left out of the next.
//!
//! **Never** starts without what the file says: one that cannot be read, or that another release wrote, is refused with a sentence.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use postrider_http::SuspensionBook;
use postrider_model::doors::{Clock, Hand, Suspended, Suspension};
use postrider_model::{SiteName, SourceName, TenantName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::kept::{self, About};

const ABOUT: About = About { version: 1, says: "what is suspended", without: "with nothing suspended" };

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    suspended: Vec<StoredSuspension>,
}

/// One suspension. Instants are milliseconds since the epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSuspension {
    kind: String,
    name: String,
    since_ms: u64,
    until_ms: Option<u64>,
    reason: String,
}

/// What the file says; nothing when there is none.
pub fn load(path: &Path) -> anyhow::Result<Vec<Suspension>> {
    let Some(stored) = kept::read::<Stored>(path, &ABOUT)? else { return Ok(Vec::new()) };
    let read = |stored: StoredSuspension| {
        let what = match stored.kind.as_str() {
            "site" => Suspended::Site(SiteName::new(&stored.name)),
            "tenant" => Suspended::Tenant(TenantName::new(&stored.name)),
            "source" => Suspended::Source(SourceName::new(&stored.name)),
            other => {
                bail!("{}: {other:?} cannot be suspended; correct it, or remove it to start {}", path.display(), ABOUT.without)
            }
        };
        let until = stored.until_ms.map(Timestamp::from_millis);
        Ok(Suspension { what, since: Timestamp::from_millis(stored.since_ms), until, reason: stored.reason.into() })
    };
    stored.suspended.into_iter().map(read).collect()
}

fn store(path: &Path, all: &[Suspension]) -> io::Result<()> {
    let stored = |suspension: &Suspension| {
        let (kind, name) = match &suspension.what {
            Suspended::Site(name) => ("site", name.as_str()),
            Suspended::Tenant(name) => ("tenant", name.as_str()),
            Suspended::Source(name) => ("source", name.as_str()),
        };
        StoredSuspension {
            kind: kind.to_owned(),
            name: name.to_owned(),
            since_ms: suspension.since.millis(),
            until_ms: suspension.until.map(Timestamp::millis),
            reason: suspension.reason.to_string(),
        }
    };
    kept::replace(path, &Stored { version: ABOUT.version, suspended: all.iter().map(stored).collect() })
}

/// Whether the relay knows a tenant or a Source of this name; a Site may be any.
pub type Known = Box<dyn Fn(&Suspended) -> bool + Send + Sync>;

/// The book of a running relay.
pub struct Book {
    path: PathBuf,
    all: Mutex<Vec<Suspension>>,
    hand: Arc<dyn Hand>,
    clock: Arc<dyn Clock>,
    known: Known,
}

impl Book {
    /// A book with what was loaded, which the relay knows already.
    pub fn new(path: PathBuf, loaded: Vec<Suspension>, hand: Arc<dyn Hand>, clock: Arc<dyn Clock>, known: Known) -> Self {
        Self { path, all: Mutex::new(loaded), hand, clock, known }
    }

    /// One change at a time: the file, then the relay.
    fn change(&self, change: impl FnOnce(&mut Vec<Suspension>) -> Result<(), String>) -> Result<(), String> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let mut changed: Vec<Suspension> = all.iter().filter(|kept| kept.until.is_none_or(|until| until > now)).cloned().collect();
        change(&mut changed)?;
        store(&self.path, &changed).map_err(|trouble| {
            format!("cannot write {}: {trouble}; nothing was changed, make room or see its owner", self.path.display())
        })?;
        self.hand.suspend(changed.clone());
        *all = changed;
        Ok(())
    }
}

impl SuspensionBook for Book {
    fn list(&self) -> Vec<Suspension> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn suspend(&self, suspension: Suspension) -> Result<(), String> {
        if !(self.known)(&suspension.what) {
            return Err(format!(
                "there is no {}: the configuration names those there are, and `postrider tenant list` more tenants",
                suspension.what
            ));
        }
        self.change(|all| {
            all.retain(|other| other.what != suspension.what);
            all.push(suspension);
            Ok(())
        })
    }

    fn resume(&self, what: &Suspended) -> Result<(), String> {
        self.change(|all| {
            let before = all.len();
            all.retain(|other| other.what != *what);
            if all.len() == before { Err(format!("{what} is not suspended: `postrider queue suspended` lists what is")) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_what_is_not_understood_is_refused() {
        let root = std::env::temp_dir().join(format!("postrider-suspended-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("suspended.json");
        assert_eq!(load(&path).unwrap(), []);
        let suspension = |what: Suspended, until: Option<u64>| Suspension {
            what,
            since: Timestamp::from_millis(5),
            until: until.map(Timestamp::from_millis),
            reason: "a \"reason\"".into(),
        };
        let all = [
            suspension(Suspended::Site(SiteName::new("a.mx,b.mx")), None),
            suspension(Suspended::Tenant(TenantName::new("shop")), Some(9)),
            suspension(Suspended::Source(SourceName::new("default")), Some(7)),
        ];
        store(&path, &all[..1]).unwrap();
        store(&path, &all).unwrap();
        assert_eq!(load(&path).unwrap(), all);
        for (text, said) in [
            ("{\"version\":2,\"planets\":[]}", "another release (form 2"),
            ("{", "does not say what is suspended"),
            (
                "{\"version\":1,\"suspended\":[{\"kind\":\"planet\",\"name\":\"x\",\"since_ms\":1,\"until_ms\":null,\"reason\":\"\"}]}",
                "\"planet\"",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let refused = load(&path).unwrap_err().to_string();
            assert!(refused.contains(said) && refused.contains("remove"), "{refused}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
