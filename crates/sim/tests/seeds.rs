//! A fixed set of seeds, and some that nobody chose. A failure prints the command that shows it again.

#![allow(clippy::panic, reason = "a failed run is a failed test")]

use onefold_sim::run::{Options, run, smallest};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// Runs seeds from `first` on until `runs` are done or `time` is over.
fn seeds(first: u64, runs: u64, time: Duration) {
    let start = Instant::now();
    let mut done = 0;
    for seed in (0..runs).map(|number| first.wrapping_add(number)) {
        if start.elapsed() >= time {
            break;
        }
        if let Err(failure) = run(seed, Options::default()) {
            panic!("{}", smallest(failure));
        }
        done += 1;
    }
    println!("seeds {first} and on: {done} runs, all well");
}

#[test]
fn fixed_seeds() {
    seeds(1, 40, Duration::from_secs(40));
}

#[test]
fn random_seeds() {
    let first = RandomState::new().build_hasher().finish() >> 16;
    println!("first seed {first}");
    seeds(first, u64::MAX, Duration::from_secs(20));
}
