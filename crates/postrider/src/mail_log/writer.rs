//! The one thread that writes lines, many at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Octets of lines that may wait to be written: about 30,000 lines, two seconds of a busy relay.
pub const PENDING_OCTETS_MAX: usize = 8 * 1024 * 1024;

/// With this many octets the writer does not wait for company.
const BATCH_OCTETS: usize = 256 * 1024;

/// How long a line waits for company, so that a busy relay makes 50 writes a second and not 12,000.
const COMPANY_WAIT: Duration = Duration::from_millis(20);

/// Where lines go.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    StandardOutput,
    /// A file, appended to, and opened anew on demand.
    File(PathBuf),
    /// A stream, for tests.
    #[cfg(test)]
    Stream(std::os::unix::net::UnixStream),
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    dropped: u64,
    closed: bool,
    reopen: bool,
    /// How many times somebody asked for everything to be written, and how many times it was.
    flushes_asked: u64,
    flushes_done: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes lines and writes them.
pub struct Writer {
    shared: Arc<Shared>,
    json: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Opens the sink and starts the thread. `json` is how the line about dropped lines looks.
    pub fn start(sink: Sink, json: bool) -> io::Result<Arc<Self>> {
        let out = open(&sink)?;
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("mail-log".to_owned()).spawn(move || run(&theirs, &sink, out, json))?;
        Ok(Arc::new(Self { shared, json, thread: Mutex::new(Some(thread)) }))
    }

    /// Hands a whole line over; never waits for the disk.
    pub fn append(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.pending.len() + line.len() > PENDING_OCTETS_MAX {
            state.dropped += 1;
            return;
        }
        let before = state.pending.len();
        if state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            say_dropped(&mut state.pending, dropped, self.json);
        }
        state.pending.extend_from_slice(line);
        let wake = before == 0 || (before < BATCH_OCTETS && state.pending.len() >= BATCH_OCTETS);
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
    }

    /// Opens a file anew, after what was handed over is written: for log rotation.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// Returns when everything handed over before is written.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        state.flushes_asked += 1;
        let mine = state.flushes_asked;
        self.shared.wake.notify_one();
        while state.flushes_done < mine && !state.closed {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has said so; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

fn say_dropped(out: &mut Vec<u8>, lines: u64, json: bool) {
    let said = match json {
        true => format!("{{\"event\":\"dropped\",\"lines\":{lines}}}\n"),
        false => format!("- dropped lines={lines} reason=\"the log could not be written fast enough\"\n"),
    };
    out.extend_from_slice(said.as_bytes());
}

fn open(sink: &Sink) -> io::Result<Box<dyn Write + Send>> {
    Ok(match sink {
        Sink::StandardOutput => Box::new(io::stdout()),
        Sink::File(path) => Box::new(open_file(path)?),
        #[cfg(test)]
        Sink::Stream(stream) => Box::new(stream.try_clone()?),
    })
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn run(shared: &Shared, sink: &Sink, mut out: Box<dyn Write + Send>, json: bool) {
    let mut batch = Vec::new();
    let mut healthy = true;
    loop {
        let (reopen, closed, flushes) = next_batch(shared, &mut batch, json);
        let written = out.write_all(&batch).and_then(|()| out.flush());
        if let (Err(trouble), true) = (&written, healthy) {
            tracing::error!(%trouble, "the mail log cannot be written; its lines are lost until it can");
        }
        healthy = written.is_ok();
        if reopen {
            match open(sink) {
                Ok(fresh) => out = fresh,
                Err(trouble) => tracing::error!(%trouble, "the mail log cannot be opened anew; writing on to the old file"),
            }
        }
        shared.lock().flushes_done = flushes;
        shared.done.notify_all();
        if closed {
            return;
        }
    }
}

/// Waits for lines, and a little longer for their company; swaps them into `batch`.
fn next_batch(shared: &Shared, batch: &mut Vec<u8>, json: bool) -> (bool, bool, u64) {
    let urgent = |state: &State| state.closed || state.reopen || state.flushes_asked > state.flushes_done;
    let mut state = shared.lock();
    while state.pending.is_empty() && !urgent(&state) {
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    let alone = |state: &mut State| !urgent(state) && state.pending.len() < BATCH_OCTETS;
    state = shared.wake.wait_timeout_while(state, COMPANY_WAIT, alone).unwrap_or_else(PoisonError::into_inner).0;
    batch.clear();
    // One buffer that once was large does not stay so.
    batch.shrink_to(BATCH_OCTETS);
    std::mem::swap(&mut state.pending, batch);
    if state.dropped > 0 {
        let dropped = std::mem::take(&mut state.dropped);
        say_dropped(batch, dropped, json);
    }
    (std::mem::take(&mut state.reopen), state.closed, state.flushes_asked)
}
