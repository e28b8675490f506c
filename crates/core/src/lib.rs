//! The core room; see ARCHITECTURE.md.
