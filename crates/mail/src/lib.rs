//! The mail room; see ARCHITECTURE.md.
