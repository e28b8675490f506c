//! The flow room; see ARCHITECTURE.md.
