//! B18: what a threshold says goes one way. More matching events, a wider window and a smaller `n` never take anybody out of
//! `count >= n` or `did`, and never let anybody into `count < n`, `count = 0` or `not did`; in every kind of window.
//!
//! Method: worlds of a few milliseconds; all definitions of a grid at once, compared with each other and with those of the
//! same world with more events. No oracle: the law is about answers among themselves.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a failed expectation is a failed test"
)]

mod common;

use common::random::{Said, said};
use common::{Engine, Pace, track, workspace};
use onefold_audience::oracle::OracleEvent;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

/// A window's words, and how long ago it begins and ends.
type Window = (&'static str, i64, i64);

const WINDOWS: [Window; 8] = [
    ("", i64::MAX, 0),
    (" in last 3ms", 3, 0),
    (" in last 6ms", 6, 0),
    (" in last 12ms", 12, 0),
    (" between 12ms and 3ms ago", 12, 3),
    (" between 12ms and 6ms ago", 12, 6),
    (" between 6ms and 3ms ago", 6, 3),
    (" between 24ms and 3ms ago", 24, 3),
];

const SELECTORS: [&str; 2] = ["\"X\"", "\"X\" where a = 1"];

const MOST: i64 = 4;

/// A condition of the grid.
#[derive(Clone, Debug)]
struct Asked {
    key: String,
    text: String,
    selector: usize,
    window: Window,
    /// At least so many events, or fewer than so many.
    n: i64,
    /// Whether more events let people in, rather than out.
    grows: bool,
}

fn grid() -> Vec<Asked> {
    let mut grid = Vec::new();
    for (selector, what) in SELECTORS.iter().enumerate() {
        for window in WINDOWS {
            let within = window.0;
            let mut add = |n, grows, text| {
                grid.push(Asked { key: format!("q{}", grid.len()), text, selector, window, n, grows });
            };
            for n in 1..=MOST {
                add(n, true, format!("count({what}{within}) >= {n}"));
                add(n, true, format!("count({what}{within}) > {}", n - 1));
                add(n, false, format!("count({what}{within}) < {n}"));
                add(n, false, format!("count({what}{within}) <= {}", n - 1));
                add(n, false, format!("not count({what}{within}) >= {n}"));
            }
            add(1, true, format!("did({what}{within})"));
            add(1, true, format!("count({what}{within}) != 0"));
            add(1, false, format!("not did({what}{within})"));
            add(1, false, format!("count({what}{within}) = 0"));
        }
    }
    grid
}

/// Whether every event that the one counts is one that the other counts too.
fn is_within(one: &Asked, other: &Asked) -> bool {
    let (_, from, to) = one.window;
    let (_, wider_from, wider_to) = other.window;
    // `"X" where a = 1` is `"X"`, and more.
    from <= wider_from && to >= wider_to && one.selector >= other.selector
}

fn events(most: usize) -> impl Strategy<Value = Vec<(i64, i64, Said)>> {
    proptest::collection::vec((0..=40i64, 0..8i64, said()), 0..most)
}

/// A person who was there from the start, and did these things.
fn history(all: &[(i64, i64, Said)]) -> Vec<OracleEvent> {
    let mut events = vec![track("m", 0, 0, "Began", json!({}))];
    events.extend(
        all.iter().enumerate().map(|(n, (rt, late, said))| said.at(&format!("m{n}"), rt - late, *rt)),
    );
    events.sort_by_key(|event| event.rt);
    events
}

fn members(grid: &[Asked], events: &[OracleEvent], now: i64) -> BTreeSet<String> {
    let pairs: Vec<(&str, &str)> =
        grid.iter().map(|asked| (asked.key.as_str(), asked.text.as_str())).collect();
    let mut engine = Engine::new(workspace(&pairs, &[]), Pace::Lazy);
    for event in events.iter().filter(|event| event.rt.0 <= now) {
        engine.record(1, event.clone());
    }
    engine.run_timers(now + 1);
    engine.members(1)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn b18_thresholds_and_absences_go_one_way(all in events(14), more in events(8), now in 0..60i64) {
        let grid = grid();
        let before = members(&grid, &history(&all), now);
        let is_in = |asked: &Asked| before.contains(&asked.key);
        for one in &grid {
            for other in grid.iter().filter(|other| other.grows == one.grows) {
                // In n and W: fewer wanted of a wider window let more in, and the fewer the more keep out.
                if one.grows && is_in(one) && is_within(one, other) && other.n <= one.n {
                    prop_assert!(is_in(other), "in {} but not in {}", one.text, other.text);
                }
                if !one.grows && is_in(one) && is_within(other, one) && other.n >= one.n {
                    prop_assert!(is_in(other), "in {} but not in {}", one.text, other.text);
                }
            }
        }
        // In added events, whatever they are.
        let mut added = all;
        added.extend(more);
        let after = members(&grid, &history(&added), now);
        for asked in &grid {
            let (was, is) = (is_in(asked), after.contains(&asked.key));
            prop_assert!(was == is || is == asked.grows, "{}: was {}, and with more events {}", asked.text, was, is);
        }
    }

    /// A threshold and its complement: whoever exists is in exactly one of the two.
    #[test]
    fn b18_a_threshold_and_its_complement_part_everybody(all in events(14), now in 0..60i64) {
        let grid = grid();
        let members = members(&grid, &history(&all), now);
        for one in &grid {
            let same = |other: &&Asked| {
                (other.selector, other.window, other.n) == (one.selector, one.window, one.n) && other.grows != one.grows
            };
            for other in grid.iter().filter(same) {
                prop_assert!(
                    members.contains(&one.key) != members.contains(&other.key),
                    "{} and {}", one.text, other.text
                );
            }
        }
    }
}
