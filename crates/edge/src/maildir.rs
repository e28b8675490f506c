//! Maildirs (https://cr.yp.to/proto/maildir.html): one file a mail, delivered from `tmp` to `new`.
//!
//! **Promises.** A mail is delivered when its file was synced in `tmp`, linked into `new`, and `new` was synced; a reader never sees a part of it. A name that is in
//! `new` already is the same mail, and nothing is written twice. Directories that are missing are made, closed to others. A file is of its user alone, and its
//! lines end as those of this machine do.
//!
//! **Never** reads mail, and never removes any but its own unfinished files.
//!
//! **Does badly.** A mail that a reader has moved to `cur` between a crash and the restart comes once more. Everything belongs to the user the relay runs as.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use postrider_model::doors::{MailboxTrouble, Mailboxes};
use postrider_model::{BoxFuture, Content};

/// Mailboxes in the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Maildirs;

impl Mailboxes for Maildirs {
    fn deliver(&self, maildir: &str, name: &str, head: Vec<u8>, content: Content) -> BoxFuture<'_, Result<(), MailboxTrouble>> {
        let (maildir, name) = (PathBuf::from(maildir), name.to_owned());
        Box::pin(async move {
            let mut delivery = blocking(move || Delivery::begin(maildir, &name)).await?;
            delivery = blocking(move || delivery.with(&head)).await?;
            match content {
                Content::Held(octets) => delivery = blocking(move || delivery.with(&octets)).await?,
                Content::Streamed(mut source) => {
                    while let Some(chunk) = source.next().await.map_err(MailboxTrouble::Content)? {
                        let chunk: Bytes = chunk;
                        delivery = blocking(move || delivery.with(&chunk)).await?;
                    }
                }
            }
            blocking(move || delivery.finish()).await
        })
    }
}

/// Work on the disk, off the threads that serve sessions.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, MailboxTrouble> + Send + 'static) -> Result<T, MailboxTrouble> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| Err(MailboxTrouble::Io(format!("a fault of ours: {fault}"))))
}

/// A file in the making. Dropping it unfinished removes it.
struct Delivery {
    file: File,
    unfinished: Unfinished,
    new: PathBuf,
    /// A CR whose LF may come with the next octets.
    carriage_return: bool,
}

struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // One that cannot be removed is swept by readers after 36 hours, as the Maildir's rules say.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Delivery {
    fn begin(maildir: PathBuf, name: &str) -> Result<Self, MailboxTrouble> {
        for folder in ["tmp", "new", "cur"] {
            make_folder(&maildir.join(folder)).map_err(|error| trouble(&maildir, &error))?;
        }
        let path = maildir.join("tmp").join(name);
        // What a crash left under this name is the beginning of the same mail.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| trouble(&path, &error))?;
        Ok(Self { file, unfinished: Unfinished(path), new: maildir.join("new").join(name), carriage_return: false })
    }

    fn with(mut self, octets: &[u8]) -> Result<Self, MailboxTrouble> {
        let mut lines = Vec::with_capacity(octets.len());
        for octet in octets {
            if std::mem::take(&mut self.carriage_return) && *octet != b'\n' {
                lines.push(b'\r');
            }
            match octet {
                b'\r' => self.carriage_return = true,
                other => lines.push(*other),
            }
        }
        self.file.write_all(&lines).map_err(|error| trouble(&self.unfinished.0, &error))?;
        Ok(self)
    }

    fn finish(mut self) -> Result<(), MailboxTrouble> {
        let path = self.unfinished.0.clone();
        let told = |error: io::Error| trouble(&path, &error);
        if self.carriage_return {
            self.file.write_all(b"\r").map_err(told)?;
        }
        self.file.sync_all().map_err(told)?;
        match std::fs::hard_link(&path, &self.new) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // A file system without links: nobody else has this name, so a rename takes nothing away.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                std::fs::rename(&path, &self.new).map_err(told)?;
            }
            Err(error) => return Err(told(error)),
        }
        sync_folder(self.new.parent().unwrap_or(Path::new("."))).map_err(told)
    }
}

/// Makes a folder and what is above it, and syncs each folder that has a new name in it.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))),
    }
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn trouble(path: &Path, error: &io::Error) -> MailboxTrouble {
    let said = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => MailboxTrouble::Full(said),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => MailboxTrouble::Denied(said),
        _ => MailboxTrouble::Io(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("postrider-maildir-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    async fn deliver(maildir: &Path, name: &str, content: &'static [u8]) -> Result<(), MailboxTrouble> {
        Maildirs
            .deliver(
                &maildir.display().to_string(),
                name,
                b"Delivered-To: a@b.example\r\n".to_vec(),
                Content::Held(Bytes::from_static(content)),
            )
            .await
    }

    #[tokio::test]
    async fn a_mail_is_a_file_in_new_and_comes_once() {
        let root = folder("new");
        let maildir = root.join("deep/ann");
        deliver(&maildir, "1.a.mx", b"Subject: x\r\n\r\n.dot\r\nbare \r cr\r\r\n").await.unwrap();
        deliver(&maildir, "1.a.mx", b"never\r\n").await.unwrap();
        deliver(&maildir, "1.b.mx", b"second\r").await.unwrap();
        let read = |name: &str| std::fs::read_to_string(maildir.join("new").join(name)).unwrap();
        assert_eq!(read("1.a.mx"), "Delivered-To: a@b.example\nSubject: x\n\n.dot\nbare \r cr\r\n");
        assert_eq!(read("1.b.mx"), "Delivered-To: a@b.example\nsecond\r");
        assert_eq!(std::fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);
        assert!(maildir.join("cur").is_dir());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[tokio::test]
    async fn what_fails_leaves_nothing_and_says_where() {
        let root = folder("trouble");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let said = deliver(&root.join("file"), "1.a.mx", b"x").await.unwrap_err();
        assert!(matches!(&said, MailboxTrouble::Io(why) if why.contains("file")), "{said:?}");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn troubles_are_told_apart() {
        let told = |errno| trouble(Path::new("/x"), &io::Error::from_raw_os_error(errno));
        assert!(matches!(told(28), MailboxTrouble::Full(_)), "ENOSPC");
        assert!(matches!(told(122), MailboxTrouble::Full(_)), "EDQUOT");
        assert!(matches!(told(13), MailboxTrouble::Denied(_)), "EACCES");
        assert!(matches!(told(30), MailboxTrouble::Denied(_)), "EROFS");
        assert!(matches!(told(5), MailboxTrouble::Io(_)), "EIO");
    }
}
