//! The smtp room; see ARCHITECTURE.md.
