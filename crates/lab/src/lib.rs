//! The lab room; see ARCHITECTURE.md.
