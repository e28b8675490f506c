//! The file in which earlier releases kept who is not written to: taken over into the registry's database at the first start.
//!
//! **Promises.** The file is read whole before anything is taken over, and refused with a remedy when it cannot be: an address that asked for silence must not be forgotten because a
//! file is damaged. It is put away under another name when all of it stands in the database; a crash before leaves it, and the next start takes it over again, which
//! changes nothing that is there. A line that a crash cut short was never answered, and goes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use postrider_model::doors::{SuppressedMailbox, Suppression, SuppressionCause, SuppressionKey};
use postrider_model::{StreamName, TenantName, Timestamp};
use postrider_records::SqlSuppressions;
use postrider_smtp::Mailbox;
use serde::Deserialize;

const FIRST_LINE: &str = "{\"postrider_suppressions\":1}";

/// What is added to the name of a file that was taken over.
const IMPORTED: &str = "imported";

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    On { tenant: String, stream: String, mailbox: String, since_ms: u64, cause: String, message: Option<String>, reason: String },
    Off { tenant: String, stream: String, mailbox: String },
}

/// Takes the file over, when there is one.
pub async fn import(path: &Path, book: &SqlSuppressions) -> anyhow::Result<()> {
    let shown = path.display();
    let text = match fs::read(path) {
        Ok(octets) => octets,
        Err(trouble) if trouble.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(trouble) => return Err(trouble).with_context(|| format!("cannot read {shown}, which says who is not written to")),
    };
    // What a crash cut short was never answered.
    let whole = text.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let known = read(&text[..whole]).map_err(|why| {
        anyhow!("{shown} does not say who is not written to: {why}; correct the line, or put the file back from a backup")
    })?;
    let taken = book.take_over(&known).await;
    taken.with_context(|| {
        format!("who is not written to, in {shown}, could not be taken over into the registry; the next start tries it again")
    })?;
    let away = path.with_extension(IMPORTED);
    let put_away = fs::rename(path, &away).and_then(|()| path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all()));
    put_away.with_context(|| format!("cannot rename {shown} to {}", away.display()))?;
    tracing::info!("{} suppressions of {shown} stand in the registry now; the file is kept as {}", known.len(), away.display());
    Ok(())
}

fn read(text: &[u8]) -> Result<Vec<Suppression>, String> {
    let text = std::str::from_utf8(text).map_err(|trouble| trouble.to_string())?;
    let mut lines = text.lines();
    match lines.next() {
        None | Some(FIRST_LINE) => {}
        Some(first) if first.starts_with("{\"postrider_suppressions\":") => return Err("another release wrote it".to_owned()),
        Some(_) => return Err("its first line is another one".to_owned()),
    }
    let mut known: BTreeMap<SuppressionKey, Suppression> = BTreeMap::new();
    for (nth, line) in lines.enumerate() {
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
                known.insert(suppression.key(), suppression);
            }
            Line::Off { tenant, stream, mailbox } => {
                let mailbox = of_text(&mailbox).ok_or_else(|| wrong(format!("{mailbox:?} is no address")))?;
                known.remove(&(TenantName::new(&tenant), StreamName::new(&stream), mailbox));
            }
        }
    }
    Ok(known.into_values().collect())
}

fn of_text(mailbox: &str) -> Option<SuppressedMailbox> {
    Mailbox::parse(mailbox).ok().map(|mailbox| SuppressedMailbox::of(&mailbox))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use postrider_model::doors::{SuppressionFilter, Suppressions};
    use postrider_records::db::Sqlite;

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

        async fn book(&self) -> SqlSuppressions {
            SqlSuppressions::open(Arc::new(Sqlite::open(&self.0.join("registry.db")).unwrap())).await.unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// As a release of the file wrote it.
    const FILE: &str = "{\"postrider_suppressions\":1}\n\
        {\"on\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"a@b.example\",\"since_ms\":7,\"cause\":\"one_click\",\"message\":null,\"reason\":\"\"}}\n\
        {\"on\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"c@d.example\",\"since_ms\":8,\"cause\":\"operator\",\"message\":null,\"reason\":\"by phone\"}}\n\
        {\"on\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"e@f.example\",\"since_ms\":9,\"cause\":\"one_click\",\"message\":null,\"reason\":\"\"}}\n\
        {\"off\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"e@f.example\"}}\n";

    async fn listed(book: &SqlSuppressions) -> Vec<String> {
        let all = book.list(&SuppressionFilter::default(), None, 9).await.unwrap();
        all.iter().map(|one| format!("{} {} {} {}", one.mailbox.as_str(), one.since.millis(), one.cause.word(), one.reason)).collect()
    }

    #[tokio::test]
    async fn a_file_of_an_earlier_release_is_taken_over_once() {
        let folder = Folder::new();
        let book = folder.book().await;
        import(&folder.file(), &book).await.unwrap();
        // The last line was cut short by a crash.
        fs::write(folder.file(), format!("{FILE}{{\"on\":{{\"tenant\":\"sh")).unwrap();
        import(&folder.file(), &book).await.unwrap();
        let wanted = ["a@b.example 7 one_click ", "c@d.example 8 operator by phone"];
        assert_eq!(listed(&book).await, wanted);
        assert!(!folder.file().exists() && folder.0.join("suppressions.imported").exists());
        // A crash before it was put away: what the database says meanwhile stays.
        fs::rename(folder.0.join("suppressions.imported"), folder.file()).unwrap();
        import(&folder.file(), &book).await.unwrap();
        assert_eq!(listed(&book).await, wanted);
        assert_eq!(listed(&folder.book().await).await, wanted);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_and_stays() {
        let folder = Folder::new();
        let book = folder.book().await;
        for (text, said) in [
            ("nonsense\n".to_owned(), "first line"),
            ("{\"postrider_suppressions\":2}\n".to_owned(), "another release"),
            (format!("{FILE}{{\"on\":1}}\n"), "line 6"),
            (format!("{FIRST_LINE}\n{{\"off\":{{\"tenant\":\"a\",\"stream\":\"b\",\"mailbox\":\"no\"}}}}\n"), "\"no\" is no address"),
        ] {
            fs::write(folder.file(), text).unwrap();
            let refused = format!("{:#}", import(&folder.file(), &book).await.err().unwrap());
            assert!(refused.contains(said) && refused.contains("backup"), "{refused}");
            assert!(folder.file().exists() && book.are_none(), "nothing of it was taken over");
        }
    }
}
