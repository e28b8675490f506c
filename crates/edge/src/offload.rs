//! Threads for work that takes a processor and waits for nothing.
//!
//! **Promises.** As many threads as the machine has cores, that end when the last handle goes. A job that panics ends alone: its thread goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use postrider_model::doors::{Job, Offload};

/// The threads.
pub struct Workshop {
    jobs: Sender<Job>,
}

impl Workshop {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..count.max(1) {
            let waiting = waiting.clone();
            std::thread::Builder::new().name("sign".into()).spawn(move || {
                while let Some(job) = next(&waiting) {
                    // Whoever waits for the job sees that its answer will not come.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self { jobs })
    }
}

/// One thread waits for a job, the others for their turn to wait.
fn next(waiting: &Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Offload for Workshop {
    fn run(&self, job: Job) {
        // The threads live as long as this handle.
        let _ = self.jobs.send(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_runs_once_and_a_panic_harms_no_other() {
        let workshop = Workshop::new(2).unwrap();
        let (answer, answers) = channel();
        for number in 0..20_u32 {
            let answer = answer.clone();
            workshop.run(Box::new(move || {
                assert_ne!(number, 7, "a job of the test that panics");
                let _ = answer.send(number);
            }));
        }
        drop((answer, workshop));
        let mut done: Vec<u32> = answers.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..20).filter(|number| *number != 7).collect::<Vec<_>>());
    }
}
