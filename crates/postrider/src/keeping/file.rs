//! One kept message: a file of its own, `kept/YYYY-MM-DD/ID~TENANT~STREAM`, with one line of JSON and the content as it was accepted.
//!
//! **Promises.** A file under its name is whole: it is written beside it, synced, and given its name then. Its day is that of its arrival, which the id carries, so a file is found
//! by its id alone; whose it is stands in its name, so nobody opens it to find out. A file is never changed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use postrider_model::{BodyType, Message, MessageId, Role, StreamName, TenantName, Timestamp, valid_name};
use postrider_smtp::parameters::Ret;
use serde::{Deserialize, Serialize};

/// The form of the first line that this version writes.
const VERSION: u32 = 1;

/// Octets of the first line: ten thousand recipients with all that may be said of them.
const FACTS_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// What stands between the parts of a name; no name of a person holds it.
const BETWEEN: char = '~';

/// What a file is called while it is written.
const UNFINISHED: &str = ".new";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    version: u32,
    /// Its id, as in the queue and the mail log.
    pub id: String,
    /// Whose mail.
    pub tenant: String,
    /// Which class.
    pub stream: String,
    /// When custody began.
    pub arrived_at: String,
    /// `submission`, `relay` or `local`.
    pub role: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the client authenticated with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The reverse-path's mailbox; empty when null.
    pub from: String,
    /// The recipients.
    pub to: Vec<Addressed>,
    /// `7bit`, `8bitmime` or `binarymime`.
    pub body: String,
    /// The addresses or the header may hold UTF-8.
    pub smtputf8: bool,
    /// How much a report of a failure returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// The sender's name for the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// Length of the content.
    pub content_octets: u64,
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressed {
    /// The address.
    pub address: String,
    /// When its sender wants to hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
}

impl Facts {
    /// What is kept of a message beside its content.
    pub fn of(message: &Message) -> Self {
        let envelope = &message.envelope;
        let role = match message.arrival.role {
            Role::Submission => "submission",
            Role::Relay => "relay",
            Role::Report => "report",
            Role::Local => "local",
        };
        let body = match envelope.body {
            BodyType::SevenBit => "7bit",
            BodyType::EightBitMime => "8bitmime",
            BodyType::BinaryMime => "binarymime",
        };
        let addressed = message.recipients.iter().map(|recipient| Addressed {
            address: recipient.mailbox.to_string(),
            notify: recipient.notify.as_ref().map(ToString::to_string),
        });
        Self {
            version: VERSION,
            id: message.id.to_string(),
            tenant: message.tenant.to_string(),
            stream: message.stream.to_string(),
            arrived_at: message.arrival.at.to_string(),
            role: role.to_owned(),
            client: message.arrival.peer.map(|peer| peer.to_string()),
            credential: message.arrival.credential.as_ref().map(ToString::to_string),
            from: envelope.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default(),
            to: addressed.collect(),
            body: body.to_owned(),
            smtputf8: envelope.smtputf8,
            ret: envelope.ret.map(|ret| if ret == Ret::Full { "FULL" } else { "HDRS" }.to_owned()),
            envid: envelope.envid.as_deref().map(str::to_owned),
            content_octets: message.content_octets,
        }
    }

    /// What its sender wants to be told, where that is the same of all recipients.
    pub fn notify(&self) -> Option<String> {
        let first = self.to.first()?.notify.clone();
        first.filter(|first| self.to.iter().all(|one| one.notify.as_ref() == Some(first)))
    }
}

/// A kept message, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: MessageId,
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class.
    pub stream: StreamName,
}

impl Named {
    /// From the name of a file; `None` for what is none of ours, or was not finished.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(BETWEEN);
        let (id, tenant, stream) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && valid_name(tenant) && valid_name(stream) && !name.ends_with(UNFINISHED);
        whole.then(|| Self { id, tenant: TenantName::new(tenant), stream: StreamName::new(stream) })
    }

    /// Where it stands in the folder of all.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(day(self.id.accepted_at())).join(format!("{}{BETWEEN}{}{BETWEEN}{}", self.id, self.tenant, self.stream))
    }
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|letter| *letter != 'T').collect()
}

/// Writes a message whose content comes in chunks; gives the octets of its file. `unique` tells apart who writes the same at once. When this returns, it is on stable storage.
pub fn write(folder: &Path, named: &Named, facts: &Facts, unique: u64, mut chunks: impl FnMut() -> Option<Bytes>) -> io::Result<u64> {
    let path = named.path(folder);
    let day = path.parent().unwrap_or(folder);
    let is_new = !day.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(day)?;
    if is_new {
        File::open(folder)?.sync_all()?;
    }
    let aside = day.join(format!("{}{BETWEEN}{unique}{UNFINISHED}", named.id));
    let written = write_aside(&aside, facts, &mut chunks);
    let done = written.and_then(|octets| {
        fs::rename(&aside, &path)?;
        File::open(day)?.sync_all()?;
        Ok(octets)
    });
    if done.is_err() {
        let _ = fs::remove_file(&aside);
    }
    done
}

fn write_aside(aside: &Path, facts: &Facts, chunks: &mut impl FnMut() -> Option<Bytes>) -> io::Result<u64> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
    let mut line = serde_json::to_vec(facts)?;
    line.push(b'\n');
    file.write_all(&line)?;
    let mut content = 0;
    while let Some(chunk) = chunks() {
        file.write_all(&chunk)?;
        content += chunk.len() as u64;
    }
    if content != facts.content_octets {
        return Err(io::Error::other(format!("{content} octets of its content could be read, and it has {}", facts.content_octets)));
    }
    file.sync_all()?;
    Ok(line.len() as u64 + content)
}

/// A kept message, opened: what is known of it, and its content behind it.
pub fn open(folder: &Path, named: &Named) -> anyhow::Result<(Facts, impl io::Read + use<>)> {
    let path = named.path(folder);
    let shown = path.display().to_string();
    let file = File::open(&path).with_context(|| format!("cannot read {shown}"))?;
    let octets = file.metadata().with_context(|| format!("cannot look at {shown}"))?.len();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    io::Read::take(&mut reader, FACTS_OCTETS_MAX).read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))?;
    if line.pop() != Some(b'\n') {
        bail!("{shown} is damaged: its first line has no end");
    }
    let facts: Facts = serde_json::from_slice(&line).map_err(|trouble| anyhow!("{shown} is damaged: {trouble}"))?;
    if facts.version != VERSION {
        bail!("{shown} was written by another release (form {}, this one knows {VERSION}): use that release", facts.version);
    }
    if octets != line.len() as u64 + 1 + facts.content_octets {
        bail!("{shown} is damaged: its content is not as long as it was");
    }
    Ok((facts, reader))
}

/// All that is kept, day by day, the oldest first. Folders and files of other names are passed over; what was not finished goes, where `cleans` says that nobody writes here.
pub fn walk(folder: &Path, cleans: bool, mut each: impl FnMut(Named, u64)) -> io::Result<()> {
    for day in sorted(folder)? {
        let day = folder.join(day);
        if !day.is_dir() {
            continue;
        }
        for name in sorted(&day)? {
            let path = day.join(&name);
            match Named::parse(&name) {
                Some(named) => each(named, fs::metadata(&path).map_or(0, |facts| facts.len())),
                None if cleans && name.ends_with(UNFINISHED) => drop(fs::remove_file(&path)),
                None => {}
            }
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The message of this id, when it is kept.
pub fn find(folder: &Path, id: MessageId) -> io::Result<Option<Named>> {
    let names = sorted(&folder.join(day(id.accepted_at())))?;
    Ok(names.iter().filter_map(|name| Named::parse(name)).find(|named| named.id == id))
}

/// Removes it, and the folder of its day with the last of it; gives whether it was there.
pub fn remove(folder: &Path, named: &Named) -> io::Result<bool> {
    let path = named.path(folder);
    let was_there = match fs::remove_file(&path) {
        Ok(()) => true,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => false,
        Err(trouble) => return Err(trouble),
    };
    if let Some(day) = path.parent() {
        // One that still holds something stays.
        let _ = fs::remove_dir(day);
    }
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub(super) fn facts(id: MessageId, content_octets: u64) -> Facts {
        Facts {
            version: VERSION,
            id: id.to_string(),
            tenant: "shop".to_owned(),
            stream: "news".to_owned(),
            arrived_at: id.accepted_at().to_string(),
            role: "submission".to_owned(),
            client: None,
            credential: None,
            from: "a@b.example".to_owned(),
            to: vec![Addressed { address: "c@d.example".to_owned(), notify: None }],
            body: "7bit".to_owned(),
            smtputf8: false,
            ret: None,
            envid: None,
            content_octets,
        }
    }

    #[test]
    fn a_name_says_whose_it_is() {
        let id = MessageId::new(Timestamp::from_millis(1_795_466_220_000), [7; 10]);
        let named = Named { id, tenant: "shop".into(), stream: "news.a-b_c".into() };
        let path = named.path(Path::new("kept"));
        assert_eq!(path.parent(), Some(Path::new("kept/2026-11-23")));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(Named::parse(name), Some(named));
        for other in
            ["", "x", "~~", &format!("{id}"), &format!("{id}~shop"), &format!("{id}~a b~c"), &format!("{id}~a~b~c"), &format!("{id}~7.new")]
        {
            assert_eq!(Named::parse(other), None, "{other}");
        }
        assert_eq!(Named::parse(&format!("{id}~a~b.new")), None, "what is not finished is nothing yet");
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_damage_is_told() {
        let folder = std::env::temp_dir().join(format!("postrider-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let id = MessageId::new(Timestamp::from_millis(1_795_466_220_000), [7; 10]);
        let named = Named { id, tenant: "shop".into(), stream: "news".into() };
        let chunks = |texts: &[&'static str]| {
            let mut texts: Vec<Bytes> = texts.iter().rev().map(|text| Bytes::from_static(text.as_bytes())).collect();
            move || texts.pop()
        };
        // A content that broke off is no message.
        assert!(write(&folder, &named, &facts(id, 9), 1, chunks(&["abc"])).is_err());
        assert_eq!(find(&folder, id).unwrap(), None);
        let octets = write(&folder, &named, &facts(id, 6), 2, chunks(&["abc", "def"])).unwrap();
        assert_eq!(find(&folder, id).unwrap(), Some(named.clone()));
        let path = named.path(&folder);
        let modes = [&path, &path.parent().unwrap().to_owned()].map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777);
        assert_eq!(modes, [0o600, 0o700]);
        let mut seen = Vec::new();
        fs::write(path.parent().unwrap().join("left~1.new"), "x").unwrap();
        walk(&folder, true, |named, octets| seen.push((named, octets))).unwrap();
        assert_eq!(seen, [(named.clone(), octets)]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "what was not finished is gone");
        let (read, mut content) = open(&folder, &named).unwrap();
        let mut text = String::new();
        content.read_to_string(&mut text).unwrap();
        assert_eq!((read, text.as_str()), (facts(id, 6), "abcdef"));
        let whole = fs::read_to_string(&path).unwrap();
        for (damage, told) in [
            (whole.replace("\"version\":1", "\"version\":2"), "another release"),
            (whole.replace("abcdef", "abc"), "not as long"),
            ("no end".to_owned(), "no end"),
            ("{}\n".to_owned(), "damaged"),
        ] {
            fs::write(&path, damage).unwrap();
            let said = open(&folder, &named).err().unwrap().to_string();
            assert!(said.contains(told), "{said}");
        }
        assert!(remove(&folder, &named).unwrap() && !remove(&folder, &named).unwrap());
        assert!(!path.parent().unwrap().exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_wished_of_all_is_told_once() {
        let id = MessageId(7);
        let with = |wishes: &[Option<&str>]| {
            let to = wishes.iter().map(|notify| Addressed { address: "c@d.example".to_owned(), notify: notify.map(str::to_owned) });
            Facts { to: to.collect(), ..facts(id, 0) }.notify()
        };
        assert_eq!(with(&[Some("NEVER"), Some("NEVER")]).as_deref(), Some("NEVER"));
        assert_eq!((with(&[Some("NEVER"), None]), with(&[None]), with(&[])), (None, None, None));
    }
}
