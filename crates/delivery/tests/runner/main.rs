//! The runner with connectors of the test's making, on a clock that stands still while anything is under way (tokio's
//! paused time), over stores that fail when they are told to: what a real network and a real disk do too rarely.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod bytes;
mod change;
mod deleted;
mod depth;
mod disk;
mod ends;
mod letters;
mod nameless;
mod order;
mod patience;
mod redriven;
mod removed;
#[path = "../stood/mod.rs"]
mod stood;
mod together;
mod world;
