//! Where blocking work runs: a few threads in production, in place in the simulator.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use postrider_model::doors::SpoolTrouble;
use tokio::sync::oneshot;

use crate::sync::lock;

/// A piece of blocking work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs blocking work somewhere.
pub trait Offload: Send + Sync {
    /// Runs a job, sooner or later, exactly once.
    fn run(&self, job: Job);
}

/// Runs each job in place.
pub struct InPlace;

impl Offload for InPlace {
    fn run(&self, job: Job) {
        job();
    }
}

/// A few threads of our own, that end when the last handle goes.
pub struct Threads {
    jobs: mpsc::Sender<Job>,
}

impl Threads {
    /// Starts `count` threads.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count.max(1) {
            let queue = queue.clone();
            std::thread::Builder::new().name("spool-disk".into()).spawn(move || {
                loop {
                    let job = lock(&queue).recv();
                    match job {
                        Ok(job) => job(),
                        Err(_) => break,
                    }
                }
            })?;
        }
        Ok(Self { jobs })
    }
}

impl Offload for Threads {
    fn run(&self, job: Job) {
        // The threads live as long as this sender does.
        let _ = self.jobs.send(job);
    }
}

/// Runs `work` elsewhere and waits for what it gives.
pub(crate) async fn offload<T: Send + 'static>(
    offload: &dyn Offload,
    work: impl FnOnce() -> Result<T, SpoolTrouble> + Send + 'static,
) -> Result<T, SpoolTrouble> {
    let (answer, answered) = oneshot::channel();
    offload.run(Box::new(move || {
        let _ = answer.send(work());
    }));
    answered.await.unwrap_or(Err(SpoolTrouble::Closed))
}
