//! `dkim`: keys that sign, and the records that say so.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use postrider_core::publish::{Data, Wanted, What, print};
use postrider_mail::dkim::{Algorithm, SigningKey};
use postrider_smtp::Domain;
use serde::Serialize;

use crate::data::hand_over;
use crate::shown::{json, say};

/// `dkim`
#[derive(Debug, Clone, Args)]
pub struct DkimArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: DkimCommand,
}

/// What to do about keys.
#[derive(Debug, Clone, Subcommand)]
pub enum DkimCommand {
    /// Make an RSA and an Ed25519 key for a domain, and say which records it needs.
    New(NewArguments),
}

/// `dkim new`
#[derive(Debug, Clone, Args)]
pub struct NewArguments {
    /// The domain that signs, as in brand.example.
    pub domain: String,
    /// What the names of the two keys begin with; other keys of the domain have other names.
    #[arg(long, default_value = "postrider")]
    pub selector: String,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// A key that was made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Its name in the DNS.
    pub selector: String,
    /// From the data directory on.
    pub file: String,
    /// Where its record belongs.
    pub record_name: String,
    /// What the record says.
    pub record: String,
}

/// `dkim new`
pub fn new(data: &Path, arguments: &NewArguments) -> anyhow::Result<()> {
    let made = make(data, arguments)?;
    if arguments.json {
        return Ok(say(json(&made)?)?);
    }
    let domain = Domain::parse(&arguments.domain)?;
    tell(&domain.to_ascii().to_ascii_lowercase(), &made)
}

/// Makes the keys, each in a file of its own.
pub fn make(data: &Path, arguments: &NewArguments) -> anyhow::Result<Vec<Made>> {
    let domain = Domain::parse(&arguments.domain).with_context(|| format!("{:?} is not a domain", arguments.domain))?;
    let domain = domain.to_ascii().to_ascii_lowercase();
    let base = arguments.selector.to_ascii_lowercase();
    if !base.is_ascii() || base.contains('_') || Domain::parse(&base).is_err() {
        bail!("{base:?} is not a selector: letters, digits, hyphens, and dots between them");
    }
    if !data.is_dir() {
        bail!("the data directory {} is not there; `postrider serve` makes it, or name another with --data", data.display());
    }
    let folder = Path::new("dkim").join(&domain);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data.join(&folder))?;
    let mut made = Vec::new();
    for (algorithm, end) in [(Algorithm::RsaSha256, "rsa"), (Algorithm::Ed25519Sha256, "ed25519")] {
        let selector = format!("{base}-{end}");
        let file = folder.join(format!("{selector}.pem"));
        let der = SigningKey::generate(algorithm)?;
        write_secret(&data.join(&file), &pem(&der))?;
        let record = SigningKey::from_pkcs8(&der)?.record();
        made.push(Made { record_name: format!("{selector}._domainkey.{domain}"), selector, file: file.display().to_string(), record });
    }
    // A key whose record is published must not be gone after a power failure: its names are on the disk, too.
    for named in [folder.as_path(), Path::new("dkim"), Path::new("")] {
        std::fs::File::open(data.join(named))?.sync_all()?;
    }
    let places = [Path::new("dkim").to_owned(), folder].into_iter().chain(made.iter().map(|key| key.file.clone().into()));
    hand_over(data, &places.collect::<Vec<PathBuf>>())?;
    Ok(made)
}

fn tell(domain: &str, made: &[Made]) -> anyhow::Result<()> {
    say("1. Publish these records, in the form of a zone file:\n")?;
    for key in made {
        say(print::zone_line(&Wanted {
            what: What::Key(key.selector.as_str().into()),
            name: Domain::parse(&key.record_name)?,
            data: Data::Text(key.record.clone()),
        }))?;
    }
    let keys: Vec<String> = made.iter().map(|key| format!("{:?}", format!("{}: {}", key.selector, key.file))).collect();
    say(format_args!("\n2. When the DNS serves them, add this to postrider.toml, and run `postrider reload`:\n"))?;
    say(format_args!("[[domain]]\nname = {domain:?}\nkeys = [{}]", keys.join(", ")))?;
    say(format_args!(
        "\nThe keys are in {}; nothing else can make the same signatures, and a backup of the relay holds them.",
        made[0].file.rsplit_once('/').map_or("", |(folder, _)| folder)
    ))?;
    Ok(())
}

/// A private key as PEM (RFC 7468).
pub fn pem(pkcs8: &[u8]) -> String {
    let text = STANDARD.encode(pkcs8);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// A new file that only its owner may read; one that is there stays as it is.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(trouble) if trouble.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already, and a key is never overwritten: choose another name with --selector", path.display())
        }
        other => other.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
