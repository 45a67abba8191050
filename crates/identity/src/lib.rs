//! Who is who: the graph of identifiers as a pure function of evidence, operator decisions and rules.
//!
//! **Never here:** I/O, a clock, randomness, threads, tokio, or iteration in the order of a hash map. Whatever this crate
//! needs to remember it reads and writes through [`graph::Graph`].
//!
//! Invariants:
//! - **IDENT-1** the state after any arrival order of the same evidence is the same (I1, I3, I15);
//! - **IDENT-2** after each step the incremental state equals the naive definition, [`oracle::resolve`] (I4);
//! - **IDENT-3** no cluster ever breaks a limit, the size cap or a cut (I7).
//!
//! Start with [`rules`] (what counts as an identifier, and how strong it is), then [`oracle`] (the definition, slow and
//! plain), then [`engine`] (the same, fast).

mod blocked;
pub mod comparison;
pub mod engine;
pub mod graph;
mod normalise;
pub mod oracle;
pub mod rules;
pub mod why;
