//! The fold: `fold(state, batch) -> (state', effects)`, one transaction per batch.
//!
//! **Never here:** HTTP, a connector, async. Time is data: it comes from the log.
//!
//! One message's way: [`batch`] (records in order, timers between them) → `message` (once; to its owner) → identity
//! decides whose it is (`graph` is its view of the store) → `changes` (merges, splits) → `settle` (audiences, once per
//! instant) → `effects` (outbox rows). `rebuild` and `backfill` read history through the streams. [`worker`] drives.
//!
//! Invariants held here: ONCE (`message`), ATOM and BOUND (`batch`), LOSS (`message`, `quarantine`), SAME (everything).

mod account;
mod backfill;
mod batch;
mod cache;
mod carried;
pub mod catalogue;
mod changes;
mod decision;
mod effects;
mod error;
mod graph;
mod memo;
mod memory;
mod message;
mod names;
mod prefetch;
mod present;
pub mod profile;
mod quarantine;
pub mod query;
mod rebuild;
mod rename;
pub mod report;
mod routes;
pub mod rows;
pub mod rules_change;
mod settle;
mod spelling;
mod timers;
mod touch;
mod traits;
pub mod verify;
mod view;
pub mod worker;

pub use changes::Kept;
pub use decision::{Decided, Outcome};
pub use error::Error;
pub use memory::{CacheSizes, Counters};
pub use quarantine::Quarantined;
pub use worker::{Handle, Observer, Options, Status, Step, Worker};
