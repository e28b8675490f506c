//! `backup` and `restore`: the data directory, copied while the relay runs, and put back.
//!
//! **Promises.** A copy has every message acknowledged before the backup began and not ended by then, the configuration, the registry with the
//! suppressions, and all keys. It is checked before it is called done, and so is what is put back. Neither overwrites anything.
//!
//! **Never** stops mail: the relay gives no space back while it is copied, and takes that leave away when the disk gets full.
//!
//! **Does badly.** What was delivered after the backup began is delivered again by a relay that starts from it; nobody can know better then.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use postrider_http::wire;
use postrider_records::db::{Database as _, Sqlite};
use postrider_spool::inspect;

use super::arguments::{BackupArguments, RestoreArguments};
use super::client::{Client, TroubleKind};
use crate::config::{Config, FILE_NAME};
use crate::data::DataDirectory;
use crate::shown::{Clean, octets, say};

/// Where the keys that sign are, from the data directory on.
const KEYS: &str = "dkim";
/// Where the registry and its key stand in a copy.
const REGISTRY: [&str; 2] = ["registry.db", "registry.key"];
/// What a folder with a copy is known by, and what it says.
const LABEL: &str = "BACKUP";

/// Where the certificate and its key stand in a copy.
const CERTIFICATE: &str = "tls/certificate.pem";
const KEY: &str = "tls/key.pem";

/// How long a broken hold may take to be heard of.
const HEARING: Duration = Duration::from_millis(200);

/// `backup`
pub fn backup(data: &Path, arguments: &BackupArguments) -> anyhow::Result<()> {
    let target = &arguments.directory;
    fresh_folder(target)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let held = runtime.block_on(async { Client::connect(data).await?.hold("/v1/backup").await });
    let copied = match held {
        Ok((told, held)) => {
            let copied = copy_held(&told, target)?;
            if runtime.block_on(held.ends(HEARING)) {
                bail!(
                    "the relay took its leave back before all was copied, because its disk got full; what is in {} is worth nothing",
                    target.display()
                );
            }
            copied
        }
        Err(trouble) if TroubleKind::of(&trouble) == Some(TroubleKind::NotThere) => {
            copy_resting(data, target, arguments.config.as_deref())?
        }
        Err(trouble) => return Err(trouble),
    };
    let label = format!("postrider {}\n", env!("CARGO_PKG_VERSION"));
    write(&mut label.as_bytes(), &target.join(LABEL), u64::MAX)?;
    sync_folder(target)?;
    sound(&target.join("spool"))?;
    say(format_args!("{} copied to {}; every checksum is right", octets(copied), target.display()))?;
    Ok(())
}

/// From a relay that runs and holds still.
fn copy_held(told: &wire::Backup, target: &Path) -> anyhow::Result<u64> {
    let places = &told.places;
    let mut copied = copy_settings(Path::new(&places.configuration), Path::new(&places.certificate), Path::new(&places.key), target)?;
    let (from, to) = (Path::new(&places.spool), target.join("spool"));
    let data = from.parent().unwrap_or(Path::new("."));
    copied += copy_registry(&Config::load(Path::new(&places.configuration), data)?, data, target)?;
    copied += copy_decisions(&DataDirectory::new(data), target)? + copy_keys(data, target)?;
    for folder in ["log", "contents", "journal"] {
        folder_at(&to.join(folder))?;
    }
    for file in &told.files {
        let name = plain_name(&file.name)?;
        match copy(&from.join(name), &to.join(name), file.octets_to_copy) {
            Ok(count) => copied += count,
            // The journal forgets its oldest days when it must; nobody's mail hangs on them.
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound && file.name.starts_with("journal/") => continue,
            Err(trouble) => return Err(trouble).with_context(|| format!("cannot copy {}", from.join(name).display())),
        }
        let made = OpenOptions::new().write(true).open(to.join(name))?;
        made.set_len(file.octets.max(made.metadata()?.len()))?;
        made.sync_all()?;
    }
    copied += copy_folder(&from.join("contents"), &to.join("contents"))?;
    for folder in ["log", "contents", "journal", ""] {
        sync_folder(&to.join(folder))?;
    }
    Ok(copied)
}

/// The keys that sign: `dkim/DOMAIN/SELECTOR.pem`, where `dkim new` puts them.
fn copy_keys(from: &Path, target: &Path) -> anyhow::Result<u64> {
    let entries = match fs::read_dir(from.join(KEYS)) {
        Ok(entries) => entries,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(trouble) => return Err(trouble).with_context(|| format!("cannot look into {}", from.join(KEYS).display())),
    };
    folder_at(&target.join(KEYS))?;
    let mut copied = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copied += copy_folder(&entry.path(), &target.join(KEYS).join(entry.file_name()))?;
        }
    }
    sync_folder(&target.join(KEYS))?;
    Ok(copied)
}

/// The registry as it is at one instant, and the key that opens its private keys. One that stands on a server is copied by the server's own means.
fn copy_registry(config: &Config, data: &Path, target: &Path) -> anyhow::Result<u64> {
    let (file, key) = (data.join(&config.registry.file), data.join(&config.registry.key));
    let mut copied = 0;
    if config.registry.postgresql.is_some() {
        say("the registry stands in PostgreSQL and is not in this copy: pg_dump copies it; its key is")?;
    } else if file.exists() {
        let to = target.join(REGISTRY[0]);
        // The engine takes an empty file; this one is closed to others from its first octet on.
        write(&mut io::empty(), &to, 0)?;
        let database = Sqlite::open(&file).with_context(|| format!("cannot open the registry {}", file.display()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("cannot start")?;
        if let Some(copying) = database.copy_to(&to) {
            runtime.block_on(copying).with_context(|| format!("cannot copy the registry {}", file.display()))?;
        }
        let made = File::open(&to)?;
        made.sync_all()?;
        copied += made.metadata()?.len();
    }
    if key.exists() {
        copied += copy(&key, &target.join(REGISTRY[1]), u64::MAX).with_context(|| format!("cannot copy {}", key.display()))?;
    }
    Ok(copied)
}

/// Puts the registry and its key where the configuration has them.
fn put_registry_back(from: &Path, data: &Path) -> anyhow::Result<u64> {
    let config = Config::load(&data.join(FILE_NAME), data)?;
    let mut copied = 0;
    for (name, to) in REGISTRY.into_iter().zip([&config.registry.file, &config.registry.key]) {
        match copy(&from.join(name), &data.join(to), u64::MAX) {
            Ok(count) => copied += count,
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => {}
            Err(trouble) if trouble.kind() == io::ErrorKind::AlreadyExists => {
                say(format_args!("{} is there already and stays", data.join(to).display()))?
            }
            Err(trouble) => return Err(trouble).with_context(|| format!("cannot put {name} back")),
        }
    }
    Ok(copied)
}

/// From a directory where no relay runs.
fn copy_resting(data: &Path, target: &Path, config: Option<&Path>) -> anyhow::Result<u64> {
    let directory = DataDirectory::new(data);
    if !directory.spool(false).is_dir() {
        bail!("there is no spool at {}: name the data directory with --data", directory.spool(false).display());
    }
    let _guard = directory.take()?;
    let file = config.map_or_else(|| directory.config_file(), PathBuf::from);
    let read = Config::load(&file, data)?;
    let mut copied = copy_settings(&file, &read.certificate, &read.key, target)? + copy_decisions(&directory, target)?;
    copied += copy_keys(data, target)? + copy_registry(&read, data, target)?;
    for folder in ["log", "contents", "journal"] {
        copied += copy_folder(&directory.spool(false).join(folder), &target.join("spool").join(folder))?;
    }
    Ok(copied)
}

fn copy_settings(configuration: &Path, certificate: &Path, key: &Path, target: &Path) -> anyhow::Result<u64> {
    folder_at(&target.join("tls"))?;
    let mut copied = 0;
    for (from, name) in [(configuration, FILE_NAME), (certificate, CERTIFICATE), (key, KEY)] {
        copied += copy(from, &target.join(name), u64::MAX).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    sync_folder(&target.join("tls"))?;
    Ok(copied)
}

/// What people and smart hosts' limits decided: suspensions, mail that is sent another way, how much of each limit was used, the keys of tokens, and who is not written to
/// as an earlier release kept it, until a start takes that over. Files that are replaced whole or grow by lines, so a copy is what it was at some instant; where there is none,
/// nothing was decided.
fn copy_decisions(from: &DataDirectory, target: &Path) -> anyhow::Result<u64> {
    let to = DataDirectory::new(target);
    let mut copied = 0;
    for (from, to) in [
        (from.suspended_file(), to.suspended_file()),
        (from.rerouted_file(), to.rerouted_file()),
        (from.quotas(), to.quotas()),
        (from.tokens_file(), to.tokens_file()),
        (from.suppressions_file(), to.suppressions_file()),
    ] {
        match copy(&from, &to, u64::MAX) {
            Ok(count) => copied += count,
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => {}
            Err(trouble) if trouble.kind() == io::ErrorKind::AlreadyExists => {
                say(format_args!("{} is there already and stays", to.display()))?
            }
            Err(trouble) => return Err(trouble).with_context(|| format!("cannot copy {}", from.display())),
        }
    }
    Ok(copied)
}

/// `restore`
pub fn restore(data: &Path, arguments: &RestoreArguments) -> anyhow::Result<()> {
    let from = &arguments.directory;
    if !from.join(LABEL).is_file() {
        bail!("{} is no backup: it has no file {LABEL}, which is written last", from.display());
    }
    sound(&from.join("spool"))?;
    let directory = DataDirectory::new(data);
    let _guard = directory.take()?;
    for taken in [directory.spool(false), directory.config_file()] {
        if taken.exists() {
            bail!(
                "{} is there already, and nothing is overwritten: move it away, or restore into another directory with --data",
                taken.display()
            );
        }
    }
    // Under another name until it is whole: a relay that starts too early finds no half of a queue.
    let aside = data.join("spool.restoring");
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}, the rest of an earlier try", aside.display()))?;
    }
    let mut copied = 0;
    for folder in ["log", "contents", "journal"] {
        copied += copy_folder(&from.join("spool").join(folder), &aside.join(folder))?;
    }
    folder_at(&data.join("tls"))?;
    for name in [CERTIFICATE, KEY, FILE_NAME] {
        if data.join(name).exists() {
            say(format_args!("{} is there already and stays", data.join(name).display()))?;
            continue;
        }
        copied += copy(&from.join(name), &data.join(name), u64::MAX).with_context(|| format!("cannot copy {name}"))?;
    }
    copied += copy_decisions(&DataDirectory::new(from), data)? + copy_keys(from, data)? + put_registry_back(from, data)?;
    sound(&aside)?;
    fs::rename(&aside, directory.spool(false)).context("cannot give the spool its name")?;
    sync_folder(data)?;
    say(format_args!("{} put back into {}", octets(copied), data.display()))?;
    say(
        "mail that was delivered after the backup began will be delivered again; whoever must avoid that looks at `postrider spool inspect` first",
    )?;
    Ok(())
}

/// Every checksum of a spool, read.
fn sound(spool: &Path) -> anyhow::Result<()> {
    let findings = inspect::verify(spool).with_context(|| format!("cannot read the spool {}", spool.display()))?;
    match findings.troubles.first() {
        None => Ok(()),
        Some(first) => bail!("{} of {} places are damaged, the first: {}", spool.display(), findings.troubles.len(), Clean(first)),
    }
}

fn fresh_folder(path: &Path) -> anyhow::Result<()> {
    folder_at(path)?;
    let mut entries = fs::read_dir(path).with_context(|| format!("cannot look into {}", path.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: name a directory that is not there yet", path.display());
    }
    Ok(())
}

fn folder_at(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Names come over a socket of our own; all the same none leads out of the folder.
fn plain_name(name: &str) -> anyhow::Result<&str> {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'));
    if plain { Ok(name) } else { bail!("{name:?} is no file of a spool") }
}

/// All files of a folder. What is gone by the time it is read was nobody's yet: a content whose client never got its 250.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<u64> {
    folder_at(to)?;
    let mut copied = 0;
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(trouble) => return Err(trouble).with_context(|| format!("cannot look into {}", from.display())),
    };
    for entry in entries {
        let name = entry?.file_name();
        match copy(&from.join(&name), &to.join(&name), u64::MAX) {
            Ok(count) => copied += count,
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => {}
            Err(trouble) => return Err(trouble).with_context(|| format!("cannot copy {}", from.join(&name).display())),
        }
    }
    sync_folder(to)?;
    Ok(copied)
}

/// The first octets of a file, to a file that must not be there; synced.
fn copy(from: &Path, to: &Path, octets_max: u64) -> io::Result<u64> {
    write(&mut File::open(from)?, to, octets_max)
}

fn write(from: &mut impl Read, to: &Path, octets_max: u64) -> io::Result<u64> {
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = io::copy(&mut from.take(octets_max), &mut made)?;
    made.flush()?;
    made.sync_all()?;
    Ok(copied)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (name, plain) in
            [("log/seg-00001", true), ("log/../x", false), ("/etc/x", false), ("log", false), ("log/.x", false), ("a/b/c", false)]
        {
            assert_eq!(super::plain_name(name).is_ok(), plain, "{name}");
        }
    }
}
