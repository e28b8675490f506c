//! The edge room; see ARCHITECTURE.md.
