//! A fixed set of seeds, and some that nobody chose. A failure prints the command that shows it again.

#![allow(clippy::panic, reason = "a failed run is a failed test")]

use onefold_sim::run::{Options, run, smallest};
use onefold_sim::world::Tally;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::time::{Duration, Instant};

/// Runs seeds from `first` on until `runs` are done or `time` is over, and says which, on the terminal too. What happened
/// in them.
fn seeds(first: u64, runs: u64, time: Duration, options: Options) -> Tally {
    let mut all = Tally::new();
    let start = Instant::now();
    let mut done = 0;
    // Written past the test harness, which keeps what a test that goes well prints.
    let say = |text: String| drop(writeln!(std::io::stderr(), "{text}"));
    for seed in (0..runs).map(|number| first.wrapping_add(number)) {
        if start.elapsed() >= time {
            break;
        }
        match run(seed, options) {
            Ok(outcome) => outcome.tally.iter().for_each(|(what, n)| *all.entry(what).or_default() += n),
            Err(failure) => panic!("{}", smallest(failure)),
        }
        done += 1;
    }
    let how = if options.deliver { ", with deliveries" } else { "" };
    say(format!("simulator: seeds {first} to {}{how}: all well", first.wrapping_add(done).wrapping_sub(1)));
    all
}

fn chosen_by_nobody() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

#[test]
fn fixed_seeds() {
    let tally = seeds(1, 60, Duration::from_secs(60), Options::default());
    // A simulator in which nothing happens finds nothing.
    for what in [
        "crashes",
        "commits lost",
        "worker failures",
        "batches crossed",
        "wounds to files",
        "requests lost",
        "requests failed",
        "answers lost",
        "messages rejected",
        "decisions",
        "changes of rules",
        "changes of destinations",
        "audiences renamed",
    ] {
        assert!(tally.get(what).is_some_and(|count| *count > 0), "no {what}: {tally:?}");
    }
}

#[test]
fn random_seeds() {
    seeds(chosen_by_nobody(), u64::MAX, Duration::from_secs(20), Options::default());
}

#[test]
fn deliveries() {
    let options = Options { deliver: true, ..Options::default() };
    let tally = seeds(1, 8, Duration::from_secs(20), options);
    for what in ["batches refused for one of them", "dead letters sent again", "deliveries killed"] {
        assert!(tally.get(what).is_some_and(|count| *count > 0), "no {what}: {tally:?}");
    }
    seeds(chosen_by_nobody(), u64::MAX, Duration::from_secs(10), options);
}
