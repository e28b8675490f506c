//! The data directory: what stands where in it, who may see it, and that one relay alone works in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::config;

/// Octets of a socket's path in the kernel's structure, with room for the end (unix(7)).
const SOCKET_PATH_OCTETS_MAX: usize = 100;

/// Paths in a data directory.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    root: PathBuf,
}

impl DataDirectory {
    /// The directory at `root`; nothing is touched.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.root.join(config::FILE_NAME)
    }

    /// The spool; captured mail has one of its own, so that no later start sends it.
    pub fn spool(&self, capture: bool) -> PathBuf {
        self.root.join(if capture { "capture" } else { "spool" })
    }

    /// The counts of smart hosts' limits.
    pub fn quotas(&self) -> PathBuf {
        self.root.join("quotas")
    }

    /// The keys of tokens.
    pub fn tokens_file(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// Who is not written to any more, as earlier releases kept it.
    pub fn suppressions_file(&self) -> PathBuf {
        self.root.join("suppressions")
    }

    /// What is suspended.
    pub fn suspended_file(&self) -> PathBuf {
        self.root.join("suspended.json")
    }

    /// What is sent another way.
    pub fn rerouted_file(&self) -> PathBuf {
        self.root.join("rerouted.json")
    }

    /// Messages that stay when they are done.
    pub fn kept(&self) -> PathBuf {
        self.root.join("kept")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Whether a relay runs on the directory, as far as this user can see.
    pub fn is_taken(&self) -> bool {
        let Ok(lock) = File::open(self.lock_file()) else { return false };
        matches!(flock(&lock, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes the directory when it is not there, closed to others, and takes it for this process until the guard is dropped.
    pub fn take(&self) -> anyhow::Result<DirectoryGuard> {
        let shown = self.root.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.with_context(|| format!("cannot make the data directory {shown}; choose another with --data"))?;
        let facts = fs::metadata(&self.root).with_context(|| format!("cannot look at the data directory {shown}"))?;
        let (owner, me) = (facts.uid(), rustix::process::geteuid().as_raw());
        if owner != me {
            bail!(
                "the data directory {shown} belongs to user {owner}, and this is user {me}: start the relay as its owner, or choose another with --data"
            );
        }
        if facts.mode() & 0o077 != 0 {
            fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("cannot close {shown} to others"))?;
        }
        let path = self.lock_file();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = opened.with_context(|| format!("cannot write in the data directory {shown}"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryGuard { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another relay runs on the data directory {shown}: stop it first, or choose another directory with --data")
            }
            Err(trouble) => Err(trouble).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

/// While it lives, no other relay works in the directory.
#[derive(Debug)]
pub struct DirectoryGuard {
    _lock: File,
}

/// Root makes files for the user who runs the relay, and who has the data directory: they must be able to read them.
pub fn hand_over(data: &Path, places: &[PathBuf]) -> anyhow::Result<()> {
    let owner = std::fs::metadata(data)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for place in places {
        let path = data.join(place);
        chown(&path, Some(owner.uid()), Some(owner.gid())).with_context(|| format!("cannot give {} to its user", path.display()))?;
    }
    Ok(())
}

/// A path of the socket that fits the kernel's structure, and what keeps that path alive. A long path is reached through a descriptor of its
/// directory.
pub fn reachable(socket: &Path) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    if socket.as_os_str().len() <= SOCKET_PATH_OCTETS_MAX {
        return Ok((None, socket.to_owned()));
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Ok((None, socket.to_owned()));
    };
    let held = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd())).join(name);
    Ok((Some(held), path))
}

/// Writes a file that must not be there yet, for its owner alone, and syncs it.
pub fn write_new(path: &Path, octets: &[u8]) -> anyhow::Result<()> {
    use io::Write;
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(octets)?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_taken_once() {
        let root = std::env::temp_dir().join(format!("postrider-data-{}", std::process::id()));
        let directory = DataDirectory::new(&root.join("deep"));
        let guard = directory.take().unwrap();
        assert_eq!(fs::metadata(directory.root()).unwrap().mode() & 0o777, 0o700);
        assert!(directory.is_taken());
        let refused = directory.take().unwrap_err().to_string();
        assert!(refused.starts_with("another relay runs on the data directory"), "{refused}");
        drop(guard);
        assert!(!directory.is_taken());
        fs::set_permissions(directory.root(), fs::Permissions::from_mode(0o755)).unwrap();
        drop(directory.take().unwrap());
        assert_eq!(fs::metadata(directory.root()).unwrap().mode() & 0o777, 0o700);
        assert!(write_new(&directory.root().join("lock"), b"").is_err());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_socket_can_stand_deep() {
        let root = std::env::temp_dir().join(format!("postrider-deep-{}", std::process::id()));
        let deep = root.join("d".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let socket = deep.join("control.sock");
        let (_held, path) = reachable(&socket).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(socket.exists());
        let (_held, again) = reachable(&socket).unwrap();
        std::os::unix::net::UnixStream::connect(again).unwrap();
        drop(listener);
        fs::remove_dir_all(&root).unwrap();
    }
}
