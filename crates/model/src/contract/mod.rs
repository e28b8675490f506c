//! What every engine behind a door must do, as functions that any engine's tests can run.
//!
//! An engine's test gives a [`Workshop`] for each law and awaits the law; a law panics when it is broken.

mod spool;
mod suppressions;
mod tools;

use std::sync::Arc;

use crate::BoxFuture;
use crate::doors::Spool;

pub use spool::SPOOL_LAWS;
pub use suppressions::{SUPPRESSION_LAWS, SuppressionLaw, SuppressionShelf};

/// Where spools are made for one law.
pub trait Workshop: Send + Sync {
    /// Opens the spool: empty at first; afterwards with all that the last one had made durable. The last one is closed before.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Spool>>;
}

/// One law: what it says, and the test of it.
pub type SpoolLaw = (&'static str, fn(Arc<dyn Workshop>) -> BoxFuture<'static, ()>);
