//! Delivery: drains the outbox, in order per destination and profile, until each effect is delivered or a dead letter.
//!
//! **Never here:** the fold. It writes rows; delivery reads them, sends, notes what was answered, and deletes them. What a
//! dead letter's change stands at by now it asks through [`Standing`].
//!
//! - **OUT:** an effect is delivered at least once, under its stable id, in order within its lane (destination and
//!   profile), or stands in the dead letters with the answer that put it there.
//! - **DELIVERY-1:** an outcome is durable in the journal before its outbox row goes; the journal is not derived from
//!   the log, so a rebuilt outbox sends nothing that it records.
//! - **DELIVERY-2:** a lane that waits holds up itself and the lanes that absorbed it, and nobody else; a destination
//!   that is dead holds up itself alone.
//! - **DELIVERY-3:** memory is bounded: a destination holds at most [`Options::window`] rows that could go and four times
//!   that number of lanes that wait, without bodies; a lane holds an eighth of the window. Bodies are held while their request
//!   is under way and until its outcome is noted, [`Options::in_flight_bytes`] of them in all; a request has at most
//!   [`Options::request_bytes`], or one item that has more. (While it is under way a body is there up to three times.)
//! - **DELIVERY-4:** while an outcome cannot be noted nothing further is sent, and [`Status::trouble`] says why.
//! - **DELIVERY-5:** one effect that is refused takes none with it that shared its request. What is refused together
//!   (`RefusedTogether`) goes again at once in two halves, and so on; what is refused alone is a dead letter. One poison
//!   message among N costs about 2 log2 N requests more, N of them 2 N - 2. Halves are requests like any other: they take
//!   their place among those in flight, their lanes wait until they are through, and one that fails is tried again by
//!   itself, after the time that was named for it.
//!
//! - **DELIVERY-6:** what a removed destination had to send, its marks and its dead letters go with it, and are counted.
//! - **DELIVERY-7:** what cannot be mended without a restart (a store that accepts nothing until it is opened again, a task
//!   that panicked) ends delivery as a whole: nothing further is sent, and [`Delivery::failed`] tells whoever runs it.
//!
//! [`lanes`] is the order, [`backoff`] and [`breaker`] the patience, [`journal`] the memory; `runner` drives them with
//! real requests: `reading`, `sending`, `noting`. `redrive` sends dead letters again.

pub mod backoff;
pub mod breaker;
mod depth;
mod fault;
pub mod journal;
pub mod lanes;
mod noting;
mod reading;
mod redrive;
mod removed;
pub mod render;
mod room;
mod runner;
mod sending;
mod service;
mod standing;

pub use breaker::BreakerState;
pub use journal::DeadLetter;
pub use redrive::{LETTERS_MAX, Redriven};
pub use removed::RemovedRows;
pub use runner::Status;
pub use service::{Connect, Delivered, Delivery, Error, Options};
pub use standing::{Standing, Stands};
