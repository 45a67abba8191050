//! The worked cases of audiences.md section 3 that this version's primitives can play, by their numbers, and the
//! smallest input of each bug that was found.
//!
//! Times are minutes, `9:59.999` with seconds. `X@5` is an event of p that happens and arrives at 5, `X@5 rt 12` one
//! that arrives late; `q: X@5` is another profile's. Every case is played at both paces: what is sent may not depend on
//! when timers run or a backfill comes by (B2, B12).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::redundant_clone,
    reason = "a test says what it expects"
)]

mod common;

use common::{Engine, Pace, Sent, What, identify, track, workspace};
use onefold_audience::{Plan, check_condition, parse, unsupported};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::Path;

struct Case {
    number: &'static str,
    says: &'static str,
    /// Audiences, as `key = condition`; computed traits, as `key := value`.
    definitions: &'static [&'static str],
    input: &'static str,
    sent: &'static str,
}

const fn case(
    number: &'static str,
    says: &'static str,
    definitions: &'static [&'static str],
    input: &'static str,
    sent: &'static str,
) -> Case {
    Case { number, says, definitions, input, sent }
}

const ONE: &[&str] = &[r#"a = count("X" in last 10m) >= 1"#];
const THREE: &[&str] = &[r#"a = count("X" in last 10m) >= 3"#];

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("1", "a window is left exactly at its end", ONE, "X@0", "enter a@0, exit a@10"),
    case("2", "a renewal at the very end sends nothing", ONE, "X@0, X@10", "enter a@0, exit a@20"),
    case("3", "a renewal a millisecond before the end", ONE, "X@0, X@9:59.999", "enter a@0, exit a@19:59.999"),
    case("4", "the third-latest decides", THREE, "X@0, X@4, X@8", "enter a@8, exit a@10"),
    case("5", "a fourth moves the end", THREE, "X@0, X@4, X@8, X@9", "enter a@8, exit a@14"),
    case("8", "not: enter at once, exit, enter", &[r#"a = not did("X" in last 10m)"#], "Y@0, X@3",
        "enter a@0, exit a@3, enter a@13"),
    case("9", "a message counts once", &[r#"a = count("X" in last 10m) >= 2"#], "X@0, again 0@0, again 0@1", ""),
    case("10", "late: true from now on", ONE, "X@5 rt 12", "enter a@12, exit a@15"),
    case("12", "late: only the past would have been", THREE, "X@0, X@4, X@2 rt 13", ""),
    case("13", "nothing happens in the future", ONE, "X@60 rt 10", "enter a@10, exit a@20"),
    case("14", "after a stop, the exit has its true time", ONE, "X@0, wait@40", "enter a@0, exit a@10"),
    case("36", "a trait is that of the latest event", &[r#"a = traits.plan = "pro""#],
        "plan pro@0, plan free@-5 rt 1", "enter a@0"),
    case("38", "no glitch through references", &[
        r#"a1 = did("X" in last 10m)"#, r#"a2 = count("X" in last 10m) >= 1"#,
        r#"a3 = in audience("a1") and not in audience("a2")"#,
    ], "X@0", "enter a1@0, enter a2@0, exit a1@10, exit a2@10"),
    case("41", "merged counts", THREE, "X@0, X@4, q: X@8, merge q@9", "enter a@9, exit a@10"),
    case("42", "the survivor takes over what was done", &[r#"a = not did("X" in last 30m)"#],
        "Y@0, q: X@5, merge q@9", "enter a@0, exit a@9, enter a@35"),
    case("45", "both were members", ONE, "X@0, q: X@5, merge q@9",
        "enter a@0, q enter a@5, q exit a@9, exit a@15"),
    case("46", "the third of three is deleted", THREE, "X@0, X@4, X@8, delete 2@9", "enter a@8, exit a@9"),
    case("47", "a new audience: what ended before the scan came by has its true times", &[],
        r#"X@95, apply a = count("X" in last 10m) >= 1@100, wait@120"#, "enter a@100, exit a@105"),
    case("48", "a live event meets a profile that the scan has not reached", &[],
        r#"X@91, X@95, apply a = count("X" in last 10m) >= 3@100, X@100:30, wait@120"#,
        "enter a@100:30, exit a@101"),
    case("50", "an edit sends the difference", &[r#"a = count("X") >= 3"#],
        r#"X@0, X@1, X@2, q: X@0, q: X@1, apply a = count("X") >= 2@9"#, "enter a@2, q enter a@9"),
    case("52", "a number that came as text is no number", &[r#"a = did("X" where n > 5)"#],
        r#"X{"n":"12.5"}@0, X{"n":12.5}@1"#, "enter a@1"),
    case("between", "an entry timer and an exit timer", &[r#"a = did("X" between 10m and 4m ago)"#],
        "X@0", "enter a@4, exit a@10"),
    case("between", "one leaves as another enters", &[r#"a = did("X" between 10m and 4m ago)"#],
        "X@0, X@6", "enter a@4, exit a@16"),
    case("between", "imported, in the middle of its time", &[r#"a = did("X" between 10m and 4m ago)"#],
        "X@0 rt 5", "enter a@5, exit a@10"),
    case("missing", "a comparison with what is missing is false, and not negates that", &[
        r#"eq = traits.plan = "pro""#, r#"ne = traits.plan != "pro""#, r#"not_eq = not traits.plan = "pro""#,
        r#"no_in = traits.plan not in ("pro")"#, r#"no_text = traits.plan not contains "p""#,
    ], "Y@0, plan pro@1, plan free@2",
        "enter not_eq@0, enter eq@1, exit not_eq@1, exit eq@2, enter ne@2, enter no_in@2, enter no_text@2, \
         enter not_eq@2"),
    case("exact", "numbers are exact: no rounding, and what does not fit is missing", &[
        r#"tenth = did("X" where n = 0.3)"#, r#"same = did("X" where n = 12.1)"#, r#"other = did("X" where n != 1)"#,
    ], r#"X{"n":0.30000000000000004}@0, X{"n":12.10}@1, X{"n":1e400}@2"#, "enter other@0, enter same@1"),
    case("computed", "a count as a trait, and an audience over it", &[
        r#"n := count("X" in last 10m)"#, "a = computed.n > 1",
    ], "Y@0, X@1, X@3", "n=1@1, enter a@3, n=2@3, exit a@11, n=1@11, n=0@13"),
    case("computed", "lifetime counts of two people add up", &[r#"n := count("X")"#],
        "X@0, X@1, q: X@1, merge q@2", "n=1@0, n=2@1, q n=1@1, n=3@2"),
    case("undo", "a merge that was wrong", THREE, "X@0, X@4, q: X@8, merge q@9, undo q@9:30",
        "enter a@9, exit a@9:30"),
    // Bugs, with the smallest input that failed.
    case("bug", "asking for an audience that a first event keeps from its initial truth", &[
        r#"lazy = not did("X")"#, r#"busy = not in audience("lazy")"#,
    ], "X@0", "enter busy@0"),
    case("bug", "the same through two references", &[
        r#"lazy = not did("X")"#, r#"busy = not in audience("lazy")"#, r#"also = in audience("busy")"#,
    ], "X@0", "enter also@0, enter busy@0"),
];

/// Every number of the page's list.
const NUMBERS: &str = "1 2 3 4 5 8 9 10 12 13 14 15 17 18 20 21 22 23 24 26 27 29 30 31 33 34 36 37 38 39 40 41 42 44 45 \
                       46 47 48 50 51 52 54 56";

/// What the table cannot play: the case, the file below `crates/`, the test that holds it.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("1", "audience/tests/worked_cases.rs", "a_member_until_the_last_millisecond"),
    ("39", "audience/tests/worked_cases.rs", "circles_and_missing_references_are_refused"),
    ("40", "audience/tests/worked_cases.rs", "circles_and_missing_references_are_refused"),
    ("54", "audience/tests/work.rs", "audiences_on_other_events_change_no_count"),
    ("56", "fold/tests/time.rs", "case_56_a_clock_stepped_back_changes_nothing"),
];

/// Cases of primitives that are not evaluated yet, each with its condition.
const NOT_YET: &[(&str, &str)] = &[
    ("15", r#"sum("X".amount in last 10m) >= 100"#),
    ("17", r#"avg("X".x in last 10m) > 5"#),
    ("18", r#"min("X".price in last 10m) < 5"#),
    ("20", r#"unique("X".sku in last 10m) >= 2"#),
    ("21", r#"most_frequent("X".v) = "a""#),
    ("22", r#"first("X".v) = "a""#),
    ("23", r#"last("X".v) = "a""#),
    ("24", r#"did("A" then "B" within 5m in last 60m)"#),
    ("26", r#"did("A" then "B" within 5m without "C")"#),
    ("27", r#"did("A" then "B")"#),
    ("29", r#"did("A" then "B" within 5m)"#),
    ("30", r#"did("A" then not "B" within 5m in last 60m)"#),
    ("31", r#"did("A" then not "B" within 5m in last 60m)"#),
    ("33", r#"did("A" then not "B" within 5m same p)"#),
    ("34", r#"count("X" in session 30m) >= 3"#),
    ("37", "traits.trial_end within next 3d"),
    ("44", r#"did("A" then "B")"#),
    ("51", r#"count("X" today) >= 1"#),
];

/// `9:59.999` in milliseconds.
fn millis(text: &str) -> i64 {
    let (minutes, rest) = text.split_once(':').unwrap_or((text, "0"));
    let (seconds, ms) = rest.split_once('.').unwrap_or((rest, "0"));
    minutes.parse::<i64>().unwrap() * 60_000
        + seconds.parse::<i64>().unwrap() * 1_000
        + ms.parse::<i64>().unwrap()
}

fn minutes(ms: i64) -> String {
    let (m, s, ms) = (ms.div_euclid(60_000), ms.rem_euclid(60_000) / 1_000, ms.rem_euclid(1_000));
    match (s, ms) {
        (0, 0) => format!("{m}"),
        (s, 0) => format!("{m}:{s:02}"),
        (s, ms) => format!("{m}:{s:02}.{ms:03}"),
    }
}

fn definitions(texts: &[&str]) -> onefold_types::workspace::Workspace {
    let computed: Vec<(&str, &str)> = texts.iter().filter_map(|text| text.split_once(" := ")).collect();
    let audiences = texts.iter().filter(|text| !text.contains(" := "));
    let audiences: Vec<(&str, &str)> = audiences.map(|text| text.split_once(" = ").unwrap()).collect();
    workspace(&audiences, &computed)
}

fn play(case: &Case, pace: Pace) -> String {
    let mut engine = Engine::new(definitions(case.definitions), pace);
    let mut messages = Vec::new();
    let mut end = 0;
    for step in case.input.split(", ") {
        let (what, when) = step.rsplit_once('@').unwrap();
        let (ts, rt) = when.split_once(" rt ").unwrap_or((when, when));
        let (ts, rt) = (millis(ts), millis(rt));
        // Two profiles are told one after the other; only their own order counts.
        let rt = rt.max(if engine.now == i64::MIN { rt } else { engine.now });
        end = end.max(rt);
        engine.begin(rt);
        let (who, what) = what.strip_prefix("q: ").map_or((1, what), |what| (2, what));
        let id = format!("m{}", messages.len());
        let words: Vec<&str> = what.splitn(2, ' ').collect();
        let mine = |id: &str| messages.iter().any(|(owner, m)| *owner == 1 && *m == *id);
        match words.as_slice() {
            ["wait"] => {}
            ["again", number] => {
                engine.observe(1, track(&format!("m{number}"), ts, rt, "X", json!({})));
            }
            ["merge", "q"] => engine.merge(2, 1),
            ["undo", "q"] => engine.split(1, Some(2), |event| mine(&event.message_id)),
            ["delete", number] => {
                let id = format!("m{number}");
                engine.split(1, None, |event| event.message_id != id);
            }
            ["apply", text] => engine.apply(definitions(&[text])),
            ["plan", plan] => {
                engine.observe(who, identify(&id, ts, rt, json!({ "plan": plan })));
                messages.push((who, id));
            }
            _ => {
                let (name, properties) = what.find('{').map_or((what, "{}"), |at| what.split_at(at));
                let properties: Json = serde_json::from_str(properties).unwrap();
                engine.observe(who, track(&id, ts, rt, name, properties));
                messages.push((who, id));
            }
        }
        engine.end();
    }
    engine.run_timers(end + 100 * 60_000);
    engine.check_sent();
    let mut sent: Vec<String> = Vec::new();
    engine.sent.sort_by(|a, b| {
        (a.effective, a.profile, &a.key, &a.what).cmp(&(b.effective, b.profile, &b.key, &b.what))
    });
    for Sent { profile, effective, key, what, .. } in &engine.sent {
        let who = if *profile == 2 { "q " } else { "" };
        sent.push(match what {
            What::Entered => format!("{who}enter {key}@{}", minutes(*effective)),
            What::Exited => format!("{who}exit {key}@{}", minutes(*effective)),
            What::Value(value) => format!("{who}{key}={value}@{}", minutes(*effective)),
        });
    }
    sent.join(", ")
}

#[test]
fn the_worked_cases() {
    for case in CASES {
        for pace in [Pace::Eager, Pace::Lazy] {
            assert_eq!(play(case, pace), case.sent, "case {}, {pace:?}: {}", case.number, case.says);
        }
    }
}

#[test]
fn every_case_of_the_page_is_a_row_or_has_its_test_elsewhere() {
    let elsewhere = ELSEWHERE.iter().map(|(number, ..)| *number);
    let not_yet = NOT_YET.iter().map(|(number, _)| *number);
    let numbered = |case: &&Case| case.number.parse::<u32>().is_ok();
    let rows = CASES.iter().filter(numbered).map(|case| case.number);
    assert_eq!(
        rows.chain(elsewhere).chain(not_yet).collect::<BTreeSet<_>>(),
        NUMBERS.split_whitespace().collect()
    );
    for (number, file, test) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "case {number}: {file} has no test {test}");
    }
}

/// A case is listed as not yet played for as long as its condition is refused, and no longer.
#[test]
fn what_is_not_played_yet_is_refused() {
    for (number, condition) in NOT_YET {
        let parsed = parse(condition).unwrap_or_else(|error| panic!("{}", error.render(condition)));
        assert_eq!(check_condition(&parsed), Ok(()), "case {number}");
        assert!(!unsupported(&parsed).is_empty(), "case {number} can be played now: make it a row of CASES");
    }
}

/// Case 1 to the millisecond.
#[test]
fn a_member_until_the_last_millisecond() {
    let mut engine = Engine::new(definitions(ONE), Pace::Eager);
    engine.record(1, track("m", 0, 0, "X", json!({})));
    engine.run_timers(600_000);
    assert_eq!(engine.members(1).len(), 1, "at 9:59.999");
    engine.run_timers(600_001);
    assert_eq!(engine.members(1).len(), 0, "at 10:00.000");
}

/// Cases 39 and 40: an edit that makes a circle is refused and names it; so is deleting what is asked for.
#[test]
fn circles_and_missing_references_are_refused() {
    let engine = Engine::new(definitions(&[r#"a1 = in audience("a2")"#, r#"a2 = did("X")"#]), Pace::Eager);
    let refused = |texts: &[&str]| {
        let mut catalogue = engine.catalogue.clone();
        catalogue.workspace = definitions(texts);
        Plan::compile(&catalogue).unwrap_err().iter().map(ToString::to_string).collect::<String>()
    };
    let circle = refused(&[r#"a1 = in audience("a2")"#, r#"a2 = not in audience("a1")"#]);
    assert_eq!(circle, "audiences ask for each other in a circle: a1 → a2 → a1");
    assert_eq!(refused(&[r#"a1 = in audience("a2")"#]), "there is no audience `a2`; did you mean `a1`?",);
}

/// Bugs: constants at the edge of what a number can be ended in a panic.
#[test]
fn constants_that_no_count_reaches_are_refused_or_false() {
    for number in ["79228162514264337593543950335", "79228162514264337593543950334.5", "18446744073709551616"]
    {
        for op in [">", ">=", "<", "<=", "=", "!="] {
            let text = format!("a = count(\"X\") {op} {number}");
            drop(Plan::primitive_texts(&definitions(&[&text])));
        }
    }
    let refused = Plan::primitive_texts(&definitions(&[r#"a = count("X") > 79228162514264337593543950335"#]));
    let message = refused.unwrap_err()[0].to_string();
    assert!(message.starts_with("the number is larger than a count can be"), "{message}");
}

/// Bug: a constant of more digits than a number keeps was rounded; now it is refused.
#[test]
fn a_constant_is_never_rounded() {
    let text = format!("a = traits.n = 0.{}", "3".repeat(40));
    let message = Plan::primitive_texts(&definitions(&[&text])).unwrap_err()[0].to_string();
    assert!(message.starts_with("the number does not fit in 28 digits"), "{message}");
}

/// Bug: what holds initially was worked out anew for each reference: 2^60 steps here, and a frame for each level.
#[test]
fn references_may_be_deep_and_wide() {
    let chain = |length: usize, text: &dyn Fn(usize) -> String| {
        let mut audiences = vec![("a0".to_owned(), r#"not did("X")"#.to_owned())];
        audiences.extend((1..length).map(|at| (format!("a{at}"), text(at - 1))));
        let mut engine = Engine::new(workspace(&common::random::borrowed(&audiences), &[]), Pace::Lazy);
        engine.record(1, track("m0", 0, 0, "Y", json!({})));
        engine.members(1).len()
    };
    let twice = |at| format!("in audience(\"a{at}\") and (traits.b = 1 or in audience(\"a{at}\"))");
    assert_eq!(chain(60, &twice), 60);
    assert_eq!(chain(2_000, &|at| format!("in audience(\"a{at}\")")), 2_000);
}
