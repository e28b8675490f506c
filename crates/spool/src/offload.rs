//! Where blocking work runs: a few threads in production, in place in the simulator.

use std::collections::VecDeque;
use std::sync::Arc;

use postrider_model::doors::SpoolTrouble;
pub use postrider_model::doors::{InPlace, Job, Offload};
use tokio::sync::oneshot;

use crate::sync::{Condvar, Mutex, lock};

/// A few threads of our own, that end when the last handle goes.
pub struct Threads {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    arrival: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn take(&self) -> Option<Job> {
        let jobs = lock(&self.jobs);
        let idle = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.closed;
        let mut jobs = self.arrival.wait_while(jobs, idle).unwrap_or_else(|poisoned| poisoned.into_inner());
        jobs.waiting.pop_front()
    }
}

impl Threads {
    /// Starts `count` threads.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for _ in 0..count.max(1) {
            let queue = queue.clone();
            std::thread::Builder::new().name("spool-disk".into()).spawn(move || {
                while let Some(job) = queue.take() {
                    job();
                }
            })?;
        }
        Ok(Self { queue })
    }
}

impl Offload for Threads {
    fn run(&self, job: Job) {
        lock(&self.queue.jobs).waiting.push_back(job);
        self.queue.arrival.notify_one();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.queue.jobs).closed = true;
        self.queue.arrival.notify_all();
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
