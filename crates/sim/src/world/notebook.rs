//! The counts of smart hosts on the simulated disk, as `edge` keeps them on a real one: written under another name, synced, renamed, and the folder is synced.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use postrider_model::BoxFuture;
use postrider_model::doors::Notebook;
use postrider_spool::disk::{Disk, DiskFile, Opening};

use super::World;

/// Where they stand.
pub(crate) const FOLDER: &str = "counts";
const KEPT: &str = "counts/quotas";
const FRESH: &str = "counts/quotas.new";

/// The counts.
pub struct SimNotebook {
    world: Arc<World>,
    text: String,
    /// How long what was written waits for its sync: the instant in which a crash loses it.
    pause: Duration,
    turn: tokio::sync::Mutex<()>,
}

impl SimNotebook {
    /// What a new life finds.
    ///
    /// # Errors
    /// The disk has a text that nobody wrote.
    pub fn open(world: &Arc<World>, pause: Duration) -> io::Result<Arc<Self>> {
        let text = match world.disk.open(KEPT, Opening::Read) {
            Ok(file) => read(&*file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Arc::new(Self { world: world.clone(), text, pause, turn: tokio::sync::Mutex::default() }))
    }

    async fn replace(&self, text: &str) -> io::Result<()> {
        let disk = &self.world.disk;
        // What an earlier life did not come to rename.
        disk.remove(FRESH)?;
        let file = disk.open(FRESH, Opening::New)?;
        file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
        tokio::time::sleep(self.pause).await;
        file.sync()?;
        disk.rename(FRESH, KEPT)?;
        disk.sync_folder(FOLDER)
    }
}

impl Notebook for SimNotebook {
    fn text(&self) -> &str {
        &self.text
    }

    fn write(&self, text: String) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            self.replace(&text).await.map_err(|error| error.to_string())
        })
    }
}

fn read(file: &dyn DiskFile) -> io::Result<String> {
    let mut octets = vec![0; usize::try_from(file.octets()?).map_err(io::Error::other)?];
    let mut at = 0;
    while at < octets.len() {
        match file.read_at(&mut octets[at..], at as u64)? {
            0 => break,
            more => at += more,
        }
    }
    octets.truncate(at);
    String::from_utf8(octets).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::build::{provider, scenario};
    use crate::world::disk::{Crash, Loss};

    /// Writes one text, then a second while the machine dies at this operation; gives what the next life finds.
    fn found_after(crash: u64, loss: Loss) -> (String, bool) {
        let world = World::new(&scenario("counts", 1, vec![provider(0)], Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        world.disk.begin_life(None);
        let write = |text: &str| {
            let notebook = SimNotebook::open(&world, Duration::ZERO).unwrap();
            runtime.block_on(notebook.write(text.to_owned()))
        };
        write("a hour 1 1\n").unwrap();
        world.disk.begin_life(Some(Crash::Operation(crash)));
        let kept = write("a hour 1 2\n").is_ok();
        world.disk.lose_power(loss);
        world.switch().reset();
        (SimNotebook::open(&world, Duration::ZERO).unwrap().text().to_owned(), kept)
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_text_or_the_new() {
        for loss in [Loss::All, Loss::Tail, Loss::Sectors, Loss::Nothing] {
            for crash in 1..8 {
                let (text, kept) = found_after(crash, loss);
                let whole = text == "a hour 1 2\n" || !kept && text == "a hour 1 1\n";
                assert!(whole, "{text:?} after a crash at operation {crash} that lost {loss:?}; kept: {kept}");
            }
        }
        assert_eq!(found_after(3, Loss::All), ("a hour 1 1\n".to_owned(), false));
        assert_eq!(found_after(99, Loss::All), ("a hour 1 2\n".to_owned(), true));
    }
}
