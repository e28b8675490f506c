//! Work that would hold up the reactor: signatures, and the spool's reading and writing.

/// A piece of such work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs work that would hold up the reactor. In the simulator it runs in place.
pub trait Offload: Send + Sync {
    /// Runs a job, sooner or later, exactly once.
    fn run(&self, job: Job);
}

/// Runs each job in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPlace;

impl Offload for InPlace {
    fn run(&self, job: Job) {
        job();
    }
}
