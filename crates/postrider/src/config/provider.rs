//! The provider table: the built-in one, and what the file changes in it or puts before it.

use postrider_model::policy::Provider;

use super::reader::Section;

/// The rule sets in order; the last matches every Site.
pub fn table(top: &Section<'_>) -> Vec<Provider> {
    let _ = top.sections("provider");
    vec![Provider::fallback()]
}
