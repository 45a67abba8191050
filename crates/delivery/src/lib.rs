//! Delivery: drains the outbox, in order per destination and profile, until each effect is delivered or a dead letter.
//!
//! **Never here:** the fold. It writes rows; delivery reads them, sends, notes what was answered, and deletes them.
//!
//! - **OUT:** an effect is delivered at least once, under its stable id, in order within its lane (destination and
//!   profile), or stands in the dead letters with the answer that put it there.
//! - **DELIVERY-1:** an outcome is durable in the journal before its outbox row goes; the journal is not derived from
//!   the log, so a rebuilt outbox sends nothing that it records.
//! - **DELIVERY-2:** a lane that waits holds up itself and the lanes that absorbed it, and nobody else; a destination
//!   that is dead holds up itself alone.
//! - **DELIVERY-3:** memory is bounded: a destination holds at most [`Options::window`] rows that could go and four times
//!   that number of lanes that wait, without bodies; a lane holds an eighth of the window.
//! - **DELIVERY-4:** while an outcome cannot be noted nothing further is sent, and [`Status::trouble`] says why.
//!
//! [`lanes`] is the order, [`backoff`] and [`breaker`] the patience, [`journal`] the memory; `runner` drives them with
//! real requests: `reading`, `sending`, `noting`.

pub mod backoff;
pub mod breaker;
pub mod journal;
pub mod lanes;
mod noting;
mod reading;
pub mod render;
mod runner;
mod sending;
mod service;

pub use breaker::BreakerState;
pub use journal::DeadLetter;
pub use runner::Status;
pub use service::{Connect, Delivered, Delivery, Error, Options};
