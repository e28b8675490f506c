//! The book of suppressions, in a file of the data directory: one line for each word, the newest last.
//!
//! **Promises.** A word is in the file, synced, before it is answered and before mail is held to it. A write that failed leaves nothing behind: the file is cut to
//! what it was, and where even that fails nothing more is taken until a restart. A line that a crash cut short was never answered, and goes. A start
//! refuses what it cannot read, with a remedy: an address that asked for silence must not be forgotten because a file is damaged.
//!
//! **Does badly.** All of it stands in memory, about 300 octets each: there is room for [`SUPPRESSIONS_MAX`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context, anyhow};
use postrider_model::doors::{
    SuppressedMailbox, Suppression, SuppressionCause, SuppressionFilter, SuppressionKey, SuppressionTrouble, Suppressions,
};
use postrider_model::{BoxFuture, StreamName, TenantName, Timestamp};
use postrider_smtp::Mailbox;
use serde::{Deserialize, Serialize};

/// Words at once.
pub const SUPPRESSIONS_MAX: usize = 1_000_000;

/// Lines that say nothing any more, beyond those that do, before a start writes the file anew.
const DEAD_LINES_MAX: usize = 1_000;

const FIRST_LINE: &str = "{\"postrider_suppressions\":1}";

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    On { tenant: String, stream: String, mailbox: String, since_ms: u64, cause: String, message: Option<String>, reason: String },
    Off { tenant: String, stream: String, mailbox: String },
}

type Known = BTreeMap<SuppressionKey, Arc<Suppression>>;

/// The book.
#[derive(Clone)]
pub struct Book {
    inside: Arc<Inside>,
}

struct Inside {
    path: PathBuf,
    known: RwLock<Known>,
    file: Mutex<Appending>,
}

/// The file, and how much of it is good.
struct Appending {
    file: File,
    octets: u64,
    /// What is behind `octets` could not be cut off.
    broken: bool,
}

impl Book {
    /// Opens the book, made when there is none.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = match fs::read(path) {
            Ok(octets) => octets,
            Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(trouble) => return Err(trouble).with_context(|| format!("cannot read {shown}, which says who is not written to")),
        };
        // What a crash cut short was never answered.
        let whole = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        let (known, lines) = read(&text[..whole]).map_err(|why| {
            anyhow!("{shown} does not say who is not written to: {why}; correct the line, or put the file back from a backup")
        })?;
        if whole == 0 || lines > 2 * known.len() + DEAD_LINES_MAX {
            write_anew(path, &known).with_context(|| format!("cannot write {shown}"))?;
        }
        let file = OpenOptions::new().write(true).open(path).with_context(|| format!("cannot write {shown}"))?;
        let octets = if whole == 0 { file.metadata()?.len() } else { file.metadata()?.len().min(whole as u64) };
        file.set_len(octets).with_context(|| format!("cannot write {shown}"))?;
        let file = Mutex::new(Appending { file, octets, broken: false });
        Ok(Self { inside: Arc::new(Inside { path: path.to_owned(), known: RwLock::new(known), file }) })
    }
}

fn read(text: &[u8]) -> Result<(Known, usize), String> {
    let text = std::str::from_utf8(text).map_err(|trouble| trouble.to_string())?;
    let mut lines = text.lines();
    match lines.next() {
        None | Some(FIRST_LINE) => {}
        Some(first) if first.starts_with("{\"postrider_suppressions\":") => return Err("another release wrote it".to_owned()),
        Some(_) => return Err("its first line is another one".to_owned()),
    }
    let (mut known, mut count) = (Known::new(), 0);
    for (nth, line) in lines.enumerate() {
        count += 1;
        let wrong = |why: String| format!("line {}: {why}", nth + 2);
        match serde_json::from_str(line).map_err(|trouble| wrong(trouble.to_string()))? {
            Line::On { tenant, stream, mailbox, since_ms, cause, message, reason } => {
                let message = message.map(|id| id.parse().map_err(|_| wrong(format!("{id:?} is no id")))).transpose()?;
                let cause = SuppressionCause::of_word(&cause).ok_or_else(|| wrong(format!("{cause:?} is no cause")))?;
                let suppression = Suppression {
                    tenant: TenantName::new(&tenant),
                    stream: StreamName::new(&stream),
                    mailbox: of_text(&mailbox).ok_or_else(|| wrong(format!("{mailbox:?} is no address")))?,
                    since: Timestamp::from_millis(since_ms),
                    cause,
                    message,
                    reason: reason.into(),
                };
                known.insert(suppression.key(), Arc::new(suppression));
            }
            Line::Off { tenant, stream, mailbox } => {
                let mailbox = of_text(&mailbox).ok_or_else(|| wrong(format!("{mailbox:?} is no address")))?;
                known.remove(&(TenantName::new(&tenant), StreamName::new(&stream), mailbox));
            }
        }
    }
    Ok((known, count))
}

fn of_text(mailbox: &str) -> Option<SuppressedMailbox> {
    Mailbox::parse(mailbox).ok().map(|mailbox| SuppressedMailbox::of(&mailbox))
}

fn on(suppression: &Suppression) -> Line {
    let Suppression { tenant, stream, mailbox, since, cause, message, reason } = suppression;
    Line::On {
        tenant: tenant.to_string(),
        stream: stream.to_string(),
        mailbox: mailbox.as_str().to_owned(),
        since_ms: since.millis(),
        cause: cause.word().to_owned(),
        message: message.map(|id| id.to_string()),
        reason: reason.to_string(),
    }
}

/// A new file with what is known takes the old one's place.
fn write_anew(path: &Path, known: &Known) -> anyhow::Result<()> {
    let mut text = format!("{FIRST_LINE}\n");
    for suppression in known.values() {
        text.push_str(&serde_json::to_string(&on(suppression))?);
        text.push('\n');
    }
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
    Ok(())
}

impl Inside {
    /// Appends a line; on stable storage when this returns.
    fn append(&self, writing: &mut Appending, line: &Line) -> Result<(), SuppressionTrouble> {
        use std::os::unix::fs::FileExt;
        let shown = self.path.display();
        if writing.broken {
            return Err(SuppressionTrouble::Io(format!("a write to {shown} failed and could not be undone; restart the relay")));
        }
        let mut octets = serde_json::to_vec(line).map_err(|trouble| SuppressionTrouble::Io(trouble.to_string()))?;
        octets.push(b'\n');
        let written = writing.file.write_all_at(&octets, writing.octets).and_then(|()| writing.file.sync_data());
        match written {
            Ok(()) => {
                writing.octets += octets.len() as u64;
                Ok(())
            }
            Err(trouble) => {
                writing.broken = writing.file.set_len(writing.octets).and_then(|()| writing.file.sync_data()).is_err();
                let said = format!("cannot write {shown}: {trouble}");
                match trouble.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(SuppressionTrouble::Full(said)),
                    _ => Err(SuppressionTrouble::Io(said)),
                }
            }
        }
    }

    fn has(&self, key: &SuppressionKey) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    fn suppress(&self, suppression: Suppression) -> Result<bool, SuppressionTrouble> {
        let mut writing = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has(&suppression.key()) {
            return Ok(false);
        }
        if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= SUPPRESSIONS_MAX {
            return Err(SuppressionTrouble::Full(format!("there are {SUPPRESSIONS_MAX} already")));
        }
        self.append(&mut writing, &on(&suppression))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(suppression.key(), Arc::new(suppression));
        Ok(true)
    }

    fn lift(&self, key: &SuppressionKey) -> Result<bool, SuppressionTrouble> {
        let mut writing = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.has(key) {
            return Ok(false);
        }
        let (tenant, stream, mailbox) = key;
        let line = Line::Off { tenant: tenant.to_string(), stream: stream.to_string(), mailbox: mailbox.as_str().to_owned() };
        self.append(&mut writing, &line)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(true)
    }
}

/// The disk is waited for beside the reactor.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, SuppressionTrouble> + Send + 'static) -> Result<T, SuppressionTrouble> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(SuppressionTrouble::Io("a fault of ours".to_owned())))
}

impl Suppressions for Book {
    fn suppress(&self, suppression: Suppression) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        let inside = self.inside.clone();
        Box::pin(aside(move || inside.suppress(suppression)))
    }

    fn suppressed<'a>(
        &'a self,
        tenant: &'a TenantName,
        stream: &'a StreamName,
        mailbox: &'a SuppressedMailbox,
    ) -> BoxFuture<'a, Result<Option<Arc<Suppression>>, SuppressionTrouble>> {
        let known = self.inside.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(tenant.clone(), stream.clone(), mailbox.clone())).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn are_none(&self) -> bool {
        self.inside.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn list<'a>(
        &'a self,
        filter: &'a SuppressionFilter,
        after: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        let known = self.inside.known.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let found = known.range((from, Bound::Unbounded)).map(|(_, one)| one).filter(|one| filter.matches(one));
        let page = found.take(max).cloned().collect();
        Box::pin(std::future::ready(Ok(page)))
    }

    fn lift<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<bool, SuppressionTrouble>> {
        let (inside, key) = (self.inside.clone(), key.clone());
        Box::pin(aside(move || inside.lift(&key)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use postrider_model::contract::{SUPPRESSION_LAWS, SuppressionShelf};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("postrider-suppressions-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("suppressions")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl SuppressionShelf for Folder {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Suppressions>> {
            Box::pin(async { Arc::new(Book::open(&self.file()).unwrap()) as Arc<dyn Suppressions> })
        }
    }

    #[tokio::test]
    async fn the_laws_hold() {
        for (_, law) in SUPPRESSION_LAWS {
            law(Arc::new(Folder::new())).await;
        }
    }

    fn one(to: &str) -> Suppression {
        Suppression {
            tenant: "shop".into(),
            stream: "news".into(),
            mailbox: of_text(to).unwrap(),
            since: Timestamp::from_millis(1),
            cause: SuppressionCause::OneClick,
            message: None,
            reason: "".into(),
        }
    }

    #[tokio::test]
    async fn a_line_cut_short_goes_and_a_damaged_one_is_refused() {
        let folder = Folder::new();
        let book = Book::open(&folder.file()).unwrap();
        for to in ["a@b.example", "c@d.example"] {
            assert_eq!(book.suppress(one(to)).await, Ok(true));
        }
        drop(book);
        let whole = fs::read(folder.file()).unwrap();
        let first_two = whole.iter().enumerate().filter(|(_, octet)| **octet == b'\n').nth(1).unwrap().0 + 1;
        for cut in first_two..whole.len() {
            fs::write(folder.file(), &whole[..cut]).unwrap();
            let book = Book::open(&folder.file()).unwrap();
            assert_eq!(book.list(&SuppressionFilter::default(), None, 9).await.unwrap().len(), 1, "{cut}");
            assert_eq!(book.suppress(one("e@f.example")).await, Ok(true));
            drop(book);
            let again = Book::open(&folder.file()).unwrap();
            assert_eq!(again.list(&SuppressionFilter::default(), None, 9).await.unwrap().len(), 2, "{cut}");
        }
        for (text, said) in [
            ("nonsense\n".to_owned(), "first line"),
            ("{\"postrider_suppressions\":2}\n".to_owned(), "another release"),
            (format!("{FIRST_LINE}\n{{\"on\":1}}\n"), "line 2"),
            (format!("{FIRST_LINE}\n{{\"off\":{{\"tenant\":\"a\",\"stream\":\"b\",\"mailbox\":\"no\"}}}}\n"), "\"no\" is no address"),
        ] {
            fs::write(folder.file(), text).unwrap();
            let refused = format!("{:#}", Book::open(&folder.file()).err().unwrap());
            assert!(refused.contains(said) && refused.contains("backup"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_file_of_dead_lines_is_written_anew() {
        let folder = Folder::new();
        let live = serde_json::to_string(&on(&one("stays@b.example"))).unwrap();
        let dead = serde_json::to_string(&on(&one("a@b.example"))).unwrap();
        let off = "{\"off\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"a@b.example\"}}";
        let text = format!("{FIRST_LINE}\n{live}\n{}", format!("{dead}\n{off}\n").repeat(DEAD_LINES_MAX));
        fs::write(folder.file(), text).unwrap();
        let book = Book::open(&folder.file()).unwrap();
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), format!("{FIRST_LINE}\n{live}\n"));
        assert_eq!(book.suppress(one("new@b.example")).await, Ok(true));
        drop(book);
        assert_eq!(Book::open(&folder.file()).unwrap().list(&SuppressionFilter::default(), None, 9).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_not_known() {
        let folder = Folder::new();
        let book = Book::open(&folder.file()).unwrap();
        // A file that takes no octet, as a full disk does.
        book.inside.file.lock().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mailbox = of_text("a@b.example").unwrap();
        assert!(book.suppress(one("a@b.example")).await.is_err());
        assert_eq!(book.suppressed(&"shop".into(), &"news".into(), &mailbox).await, Ok(None));
    }
}
