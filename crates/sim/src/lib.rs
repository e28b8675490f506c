//! The sim room; see ARCHITECTURE.md.
