//! The spool room; see ARCHITECTURE.md.
