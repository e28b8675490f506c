//! One short text in a file, replaced as a whole.
//!
//! **Promises.** A reader finds the old text or the new one, whatever crashes: the new one is synced under another name, renamed, and the folder is synced. The file begins
//! with a line that names its form; a file of another form is refused, and left as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use postrider_model::BoxFuture;
use postrider_model::doors::Notebook;

use crate::maildir::sync_folder;

/// A text in a file.
#[derive(Debug)]
pub struct FileNotebook {
    path: PathBuf,
    form: &'static str,
    text: String,
    /// Who writes; writes come one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl FileNotebook {
    /// Opens the file, or begins an empty one. `form` is its first line.
    ///
    /// # Errors
    /// It cannot be read, or has another form.
    pub fn open(path: &Path, form: &'static str) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(whole) => match whole.strip_prefix(form).and_then(|rest| rest.strip_prefix('\n')) {
                Some(text) => text.to_owned(),
                None => return Err(io::Error::new(ErrorKind::InvalidData, format!("it does not begin with {form:?}"))),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), form, text, turn: tokio::sync::Mutex::default() })
    }
}

impl Notebook for FileNotebook {
    fn text(&self) -> &str {
        &self.text
    }

    fn write(&self, text: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let (path, whole) = (self.path.clone(), format!("{}\n{text}", self.form));
            let written = tokio::task::spawn_blocking(move || replace(&path, &whole)).await;
            match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("{}: {error}", self.path.display())),
                Err(fault) => Err(format!("a fault of ours: {fault}")),
            }
        })
    }
}

fn replace(path: &Path, whole: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(whole.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_replaced_and_found_again() {
        let folder = std::env::temp_dir().join(format!("postrider-notebook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("quotas");
        let open = || FileNotebook::open(&path, "form 1");
        let first = open().unwrap();
        assert_eq!(first.text(), "");
        first.write("a 1\n".to_owned()).await.unwrap();
        first.write("a 2\n".to_owned()).await.unwrap();
        assert_eq!(open().unwrap().text(), "a 2\n");
        std::fs::write(&path, "form 2\na 3\n").unwrap();
        assert!(open().unwrap_err().to_string().contains("form 1"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(first.write(String::new()).await.unwrap_err().contains("quotas"));
    }
}
