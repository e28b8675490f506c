//! Opening the registry in SQL: where it stands, and the key that its private keys are sealed under.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use postrider_edge::{SystemClock, SystemEntropy, roots_in};
use postrider_model::doors::Entropy;
use postrider_records::db::{Database, DatabaseTrouble, Postgres, Sqlite};
use postrider_records::seal::{SEAL_KEY_OCTETS, Seal};
use postrider_records::{Book, RegistryOptions, SqlRegistry, SqlSuppressions};

use super::file::hex;
use crate::config::RegistryConfig;
use crate::data::hand_over;

/// How often the registry is asked whether anything was changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opens the registry, making it where there is none. Relative paths start at the data directory.
pub async fn open_book(config: &RegistryConfig, data: &Path) -> anyhow::Result<Book> {
    let mut made: Vec<PathBuf> = Vec::new();
    let (database, place): (Arc<dyn Database>, String) = match &config.postgresql {
        Some(url) => (Arc::new(Postgres::trusting(url, roots_in(&config.roots))?), "the PostgreSQL of [registry]".to_owned()),
        None => {
            let file = data.join(&config.file);
            let shown = file.display().to_string();
            if make(&file, b"").with_context(|| format!("cannot make the registry {shown}"))? {
                made.push(config.file.clone());
            }
            let opened = Sqlite::open(&file).map_err(|trouble| told(trouble, &shown))?;
            (Arc::new(opened), shown)
        }
    };
    let key_file = data.join(&config.key);
    let is_new = !key_file.exists();
    if is_new {
        let mut octets = [0; SEAL_KEY_OCTETS];
        SystemEntropy::new().fill(&mut octets);
        let text = format!("{}\n", hex(&octets));
        make(&key_file, text.as_bytes()).with_context(|| format!("cannot make the registry's key {}", key_file.display()))?;
        made.push(config.key.clone());
    }
    let seal = Seal::new(&read_key(&key_file)?);
    let book =
        Book::open(database, seal, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await.map_err(|trouble| told(trouble, &place))?;
    if is_new && !book.has_no_keys().await.map_err(|trouble| told(trouble, &place))? {
        // The new one opens nothing; the old one may still be found.
        std::fs::remove_file(&key_file)?;
        bail!(
            "the registry holds private keys, and the file that opens them, {}, is gone: put it back from a backup, or remove the domains' keys from the registry",
            key_file.display()
        );
    }
    hand_over(data, &made)?;
    Ok(book)
}

/// Opens the registry for a relay that runs, and who is not written to, which stands in the same database; keeps what they hold in memory true.
pub async fn open_registry(config: &RegistryConfig, data: &Path) -> anyhow::Result<(Arc<SqlRegistry>, Arc<SqlSuppressions>)> {
    let book = Arc::new(open_book(config, data).await?);
    let suppressions = SqlSuppressions::open(book.database().clone()).await;
    let suppressions = Arc::new(suppressions.context("the suppressions in the registry cannot be read")?);
    let registry = SqlRegistry::new(book, Arc::new(SystemClock), RegistryOptions::default()).await;
    let registry = Arc::new(registry.context("the registry cannot be read")?);
    let looking = (registry.clone(), suppressions.clone());
    tokio::spawn(async move {
        let mut silent = false;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = async { looking.0.refresh().await.and(looking.1.refresh().await) };
            match looked.await {
                Ok(()) if silent => {
                    tracing::info!("the registry answers again");
                    silent = false;
                }
                Ok(()) => {}
                Err(trouble) if !silent => {
                    tracing::error!(
                        "the registry does not answer: {trouble}; what is in memory holds, everybody else is told to come later"
                    );
                    silent = true;
                }
                Err(_) => {}
            }
        }
    });
    Ok((registry, suppressions))
}

/// A file for its owner alone, when it is not there: whole, or not under its name at all, whatever ends us and whoever makes it beside us. Gives whether it was made.
fn make(path: &Path, octets: &[u8]) -> std::io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let aside = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(octets)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(trouble) if trouble.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        other => other?,
    }
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(true)
}

fn read_key(file: &Path) -> anyhow::Result<[u8; SEAL_KEY_OCTETS]> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the registry's key {shown}"))?;
    let digits = text.trim();
    let wrong = || anyhow!("{shown} is not the key of a registry: it holds {} hexadecimal digits", SEAL_KEY_OCTETS * 2);
    if digits.len() != SEAL_KEY_OCTETS * 2 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut key = [0; SEAL_KEY_OCTETS];
    for (octet, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(key)
}

/// Trouble with its remedy.
fn told(trouble: DatabaseTrouble, place: &str) -> anyhow::Error {
    let remedy = match &trouble {
        DatabaseTrouble::Locked => "end the program that holds it, and try again",
        DatabaseTrouble::Full => "make room and try again",
        DatabaseTrouble::ReadOnly(_) => "give it to the relay's user, writable",
        DatabaseTrouble::Corrupt(_) => "nothing was changed; put it back from a backup, or move it away to begin with an empty one",
        DatabaseTrouble::Unreachable(_) => "see that it is there, and that this user may reach it",
        DatabaseTrouble::Unexpected(_) => "nothing was changed",
        DatabaseTrouble::Conflict(_) | DatabaseTrouble::Refused(_) => "see [registry] in the configuration",
    };
    anyhow!("the registry {place} cannot be used: {trouble}. Remedy: {remedy}")
}
