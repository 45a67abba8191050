//! See the crate's row in ARCHITECTURE.md.
