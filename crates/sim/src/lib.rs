//! The seeded simulator: a shop of people, clients that retry and reorder, a fold that is killed, a log and a store that
//! lose what they may lose, a receiver that fails; and afterwards every sentence of the specification that can be
//! checked, against the naive oracles.
//!
//! **Never here:** a wall clock or a thread in what a seed decides (the delivery part says where it cannot hold that),
//! and code that the engine runs too in what is compared with it.
//!
//! One run: [`shop`] says what people do, [`client`] what arrives of it and how often, [`workspace`] what is asked of it,
//! [`world`] drives the fold under [`faults`]. What the log then holds is told twice: to [`model`], which computes
//! everything from nothing after each record, and to a calm fold without faults; [`check`] compares the two after each
//! record, and the calm fold's end with the end of the one that was killed.
//!
//! - **SIM-1:** a seed gives the same run, always: `onefold-sim --seed N` is the whole bug report.
//! - **SIM-2:** a failure names the person, the audience, the instant, what the oracle and what the engine says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: what cannot go on has failed, and says so"
)]

pub mod check;
pub mod client;
pub mod deliver;
pub mod dice;
pub mod dump;
pub mod faults;
pub mod model;
pub mod receiver;
pub mod reveal;
pub mod run;
pub mod shop;
pub mod workspace;
pub mod world;

pub use run::{Failure, Options, Outcome, run};
