//! The http room; see ARCHITECTURE.md.
