//! The laws of audiences.md 1.3 for one profile's state and for a few profiles together.
//!
//! Method: worlds of a few milliseconds, in which boundaries collide all the time, so that *every* instant is compared
//! with the naive oracle. `PROPTEST_CASES` raises the number of worlds.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::redundant_clone,
    reason = "a test says what it expects"
)]

mod common;

use common::random::{Said, Step, condition, definitions, said, script};
use common::{Engine, Pace, PlainTraits, Sent, What, compile, track, workspace};
use onefold_audience::oracle::{Definitions, OracleEvent};
use onefold_audience::{FlipKind, Plan, State, Touched};
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

/// How long a world is looked at after its last record: longer than every window.
const REST_MS: i64 = 25;

/// Runs a script; looks at every millisecond if the pace is eager.
fn run(first: &Workspace, steps: &[(i64, Step)], pace: Pace) -> Engine {
    let mut engine = Engine::new(first.clone(), pace);
    let mut owner: Vec<(u64, OracleEvent)> = Vec::new();
    let mut at = 0;
    engine.begin(at);
    for (gap, step) in steps {
        if *gap > 0 {
            engine.end();
            look(&mut engine, at, at + gap, pace);
            at += gap;
            engine.begin(at);
        }
        take(&mut engine, &mut owner, step, at);
    }
    engine.end();
    look(&mut engine, at, at + REST_MS, pace);
    engine.run_timers(at + REST_MS);
    engine
}

/// From `at`, which was settled, to before `until`.
fn look(engine: &mut Engine, at: i64, until: i64, pace: Pace) {
    if pace == Pace::Lazy {
        return;
    }
    for at in at..until {
        let sent = engine.sent.len();
        engine.run_timers(at + 1);
        engine.check(at);
        assert!(engine.sent[sent..].iter().all(|sent| sent.effective == at), "B2: effective at its boundary");
    }
    engine.check_sent();
}

fn take(engine: &mut Engine, owner: &mut Vec<(u64, OracleEvent)>, step: &Step, at: i64) {
    match step {
        Step::Event { who, said, late } => {
            let event = said.at(&format!("m{}", owner.len() * 7 % 64), at - late, at);
            owner.push((*who, event.clone()));
            engine.observe(*who, event);
        }
        Step::Again(which) if !owner.is_empty() => {
            let (who, mut event) = which.get(owner).clone();
            event.rt = Timestamp(at);
            engine.observe(who, event);
        }
        Step::Merge { from, into } => engine.merge(*from, *into),
        Step::Undo { merged, from } if merged != from => {
            let ids: BTreeSet<&str> =
                owner.iter().filter(|(who, _)| who == from).map(|(_, e)| e.message_id.as_str()).collect();
            engine.split(*merged, Some(*from), |event| !ids.contains(event.message_id.as_str()));
        }
        Step::Delete(which) if !owner.is_empty() => {
            let id = &which.get(owner).1.message_id;
            for handle in engine.profiles.keys().copied().collect::<Vec<_>>() {
                if engine.profiles[&handle].events.iter().any(|event| event.message_id == *id) {
                    engine.split(handle, None, |event| event.message_id != *id);
                }
            }
        }
        Step::Apply(definitions) => {
            engine.end();
            engine.apply((**definitions).clone());
            engine.begin(at);
        }
        Step::Restart => engine.restart(),
        Step::Again(_) | Step::Undo { .. } | Step::Delete(_) => {}
    }
}

fn sorted(mut sent: Vec<Sent>) -> Vec<Sent> {
    sent.sort();
    sent
}

/// Without the numbers that a catalogue happened to give.
fn unnumbered(sent: Vec<Sent>) -> Vec<Sent> {
    sorted(sent.into_iter().map(|sent| Sent { id: 0, ..sent }).collect())
}

/// A state with some events, settled at `now`.
fn state_of(plan: &Plan, events: &[OracleEvent], now: i64) -> State {
    let mut state = State::default();
    let mut touched = Touched::default();
    plan.begin(&mut state, &mut touched);
    for event in events {
        feed(plan, &mut state, &mut touched, event);
    }
    plan.touch_everything(&mut touched);
    plan.settle(&mut state, &mut touched, &PlainTraits::of(events), Timestamp(now));
    state
}

fn feed(plan: &Plan, state: &mut State, touched: &mut Touched, event: &OracleEvent) {
    let body = event.body.to_string();
    plan.observe(state, touched, event.message_type, &event.name, body.as_bytes(), event.ts);
}

/// Two histories that are one from `now` on.
fn merged(plan: &Plan, a: &State, b: &State, events: &[OracleEvent], now: i64) -> State {
    let mut state = plan.merge(a, b);
    let mut touched = Touched::default();
    plan.touch_everything(&mut touched);
    plan.settle(&mut state, &mut touched, &PlainTraits::of(events), Timestamp(now));
    state
}

/// Up to a dozen events in `0..=40` with their ids.
fn events() -> impl Strategy<Value = Vec<OracleEvent>> {
    proptest::collection::vec((0..=40i64, 0..8i64, said()), 0..12).prop_map(|all: Vec<(i64, i64, Said)>| {
        let event = |(number, (rt, late, said)): (usize, &(i64, i64, Said))| {
            said.at(&format!("m{}", number * 5 % 13), rt - late, *rt)
        };
        let mut events: Vec<OracleEvent> = all.iter().enumerate().map(event).collect();
        events.sort_by_key(|event| event.rt);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 2, ..ProptestConfig::default() })]

    /// B1, B2, B4, B6, B7, B9, B10, B11, B12, B17 and B19: at every millisecond, after merges, splits, deletions, new
    /// definitions and restarts, everything is the oracle's; and nothing that was sent depends on when timers ran or
    /// definitions reached a profile.
    #[test]
    fn at_every_instant_it_is_the_oracles(first in definitions(), steps in script(1..28)) {
        let eager = run(&first, &steps, Pace::Eager);
        let lazy = run(&first, &steps, Pace::Lazy);
        lazy.check(eager.now.max(lazy.now) + REST_MS - 1);
        lazy.check_sent();
        prop_assert_eq!(sorted(eager.sent), sorted(lazy.sent));
    }
}

proptest! {
    /// B3: the state is a function of the set of events and the instant, not of the order of arrival or of what was
    /// settled in between.
    #[test]
    fn order_of_arrival_does_not_matter(
        first in definitions(),
        (in_order, shuffled) in events().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        settled in any::<u16>(),
    ) {
        let (_, plan) = compile(first);
        let expected = state_of(&plan, &in_order, 41);
        prop_assert_eq!(&state_of(&plan, &shuffled, 41), &expected);
        // One after another, settled here and there at instants that go on.
        let (mut state, mut touched) = (State::default(), Touched::default());
        plan.begin(&mut state, &mut touched);
        for (number, event) in in_order.iter().enumerate() {
            let traits = PlainTraits::of(&in_order[..number]);
            plan.run_timers(&mut state, &traits, event.rt);
            feed(&plan, &mut state, &mut touched, event);
            if settled >> number & 1 == 1 {
                plan.settle(&mut state, &mut touched, &traits, event.rt);
            }
        }
        plan.touch_everything(&mut touched);
        plan.settle(&mut state, &mut touched, &PlainTraits::of(&in_order), Timestamp(41));
        prop_assert_eq!(state, expected);
    }

    /// B5: merging is the state of both histories; commutative, associative, the empty profile changes nothing.
    #[test]
    fn merging_is_the_state_of_both_histories(first in definitions(), all in events(), part in any::<[u8; 12]>()) {
        let (_, plan) = compile(first);
        let of = |wanted: &[u8]| -> Vec<OracleEvent> {
            all.iter().zip(part).filter(|(_, part)| wanted.contains(&(part % 3))).map(|(e, _)| e.clone()).collect()
        };
        let parts: Vec<State> = [[0], [1], [2]].iter().map(|wanted| state_of(&plan, &of(wanted), 40)).collect();
        let (a, b, c) = (&parts[0], &parts[1], &parts[2]);
        let both = of(&[0, 1]);
        let ab = merged(&plan, a, b, &both, 40);
        prop_assert_eq!(&ab, &state_of(&plan, &both, 40));
        prop_assert_eq!(&ab, &merged(&plan, b, a, &both, 40));
        let bc = merged(&plan, b, c, &of(&[1, 2]), 40);
        prop_assert_eq!(merged(&plan, &ab, c, &all, 40), merged(&plan, a, &bc, &all, 40));
        prop_assert_eq!(&merged(&plan, a, &state_of(&plan, &[], 40), &of(&[0]), 40), a);
    }

    /// B6 and B7: rebuilding without some events gives what those events never gave; and adding them again, what was.
    #[test]
    fn a_rebuild_without_some_is_as_if_they_never_came(first in definitions(), all in events(), part in any::<u16>()) {
        let (_, plan) = compile(first);
        let before = state_of(&plan, &all, 40);
        let some: Vec<OracleEvent> =
            all.iter().enumerate().filter(|(at, _)| part >> at & 1 == 1).map(|(_, e)| e.clone()).collect();
        let rebuilt = |state: &State, events: &[OracleEvent]| {
            let (mut state, mut touched) = (state.clone().emptied(), Touched::default());
            plan.begin(&mut state, &mut touched);
            for event in events {
                feed(&plan, &mut state, &mut touched, event);
            }
            plan.touch_everything(&mut touched);
            let flips = plan.settle(&mut state, &mut touched, &PlainTraits::of(events), Timestamp(40));
            (state, flips)
        };
        let (without, away) = rebuilt(&before, &some);
        prop_assert_eq!(&without, &state_of(&plan, &some, 40));
        let (again, back) = rebuilt(&without, &all);
        prop_assert_eq!(&again, &before);
        // What went away comes back: as many changes, the opposite ones.
        let memberships = |flips: &[onefold_audience::Flip], entered: bool| -> BTreeSet<u32> {
            flips
                .iter()
                .filter_map(|flip| match flip.kind {
                    FlipKind::Entered(id) if entered => Some(id.0),
                    FlipKind::Exited(id) if !entered => Some(id.0),
                    _ => None,
                })
                .collect()
        };
        prop_assert_eq!(memberships(&away, true), memberships(&back, false));
        prop_assert_eq!(memberships(&away, false), memberships(&back, true));
    }

    /// B14: an edit sends the difference between the old members and the new ones, once, at the cut.
    #[test]
    fn an_edit_sends_the_difference(old in condition(0, 0), new in condition(0, 0), all in events()) {
        let (before, after) = (workspace(&[("a0", &old)], &[]), workspace(&[("a0", &new)], &[]));
        let mut engine = Engine::new(before.clone(), Pace::Eager);
        for event in &all {
            engine.record(1, event.clone());
        }
        engine.begin(41);
        engine.end();
        let (from, sent) = (engine.members(1), engine.sent.len());
        engine.apply(after);
        engine.run_timers(41);
        let to = engine.members(1);
        let what = if to.is_empty() { What::Exited } else { What::Entered };
        let expected: Vec<Sent> = from
            .symmetric_difference(&to)
            .map(|key| Sent { profile: 1, effective: 41, key: key.clone(), id: 0, what: what.clone() })
            .collect();
        prop_assert_eq!(unnumbered(engine.sent.split_off(sent)), expected);
    }

    /// B15: a definition means the same alone and among others that share its primitives.
    #[test]
    fn sharing_changes_nothing(conditions in proptest::collection::vec(condition(0, 0), 2..6), all in events()) {
        let keys: Vec<String> = (0..conditions.len()).map(|at| format!("a{at}")).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(conditions.iter().map(String::as_str)).collect();
        let play = |definitions: Workspace| {
            let mut engine = Engine::new(definitions, Pace::Eager);
            for event in &all {
                engine.record(1, event.clone());
            }
            engine.run_timers(80);
            engine.sent
        };
        let together = unnumbered(play(workspace(&pairs, &[])));
        let alone = pairs.iter().flat_map(|pair| play(workspace(&[*pair], &[]))).collect();
        prop_assert_eq!(together, unnumbered(alone));
    }

    /// B18: more events, a longer window and a smaller threshold never take anybody out of `count >= n`.
    #[test]
    fn thresholds_are_monotone(all in events(), more in events(), now in 0..60i64) {
        let texts: Vec<(String, String)> = (1..4)
            .flat_map(|n| [3, 6, 12].map(|w| (n, w)))
            .map(|(n, w)| (format!("n{n}w{w}"), format!("count(\"X\" in last {w}ms) >= {n}")))
            .collect();
        let pairs: Vec<(&str, &str)> = texts.iter().map(|(k, c)| (k.as_str(), c.as_str())).collect();
        let play = |events: &[OracleEvent]| {
            let mut engine = Engine::new(workspace(&pairs, &[]), Pace::Eager);
            for event in events.iter().filter(|event| event.rt.0 <= now) {
                engine.record(1, event.clone());
            }
            engine.run_timers(now + 1);
            engine.members(1)
        };
        let members = play(&all);
        for (n, w) in (1..4).flat_map(|n| [3, 6, 12].map(|w| (n, w))) {
            if members.contains(&format!("n{n}w{w}")) {
                let (fewer, longer) = (format!("n{}w{w}", n - 1), format!("n{n}w{}", w * 2));
                prop_assert!(n == 1 || members.contains(&fewer));
                prop_assert!(w == 12 || members.contains(&longer));
            }
        }
        let mut added = all.clone();
        added.extend(more.into_iter().map(|mut event| {
            event.message_id.insert(0, 'n');
            event
        }));
        added.sort_by_key(|event| event.rt);
        prop_assert!(play(&added).is_superset(&members));
    }

    /// The oracle's own ground: a negation is the complement, for whoever exists.
    #[test]
    fn the_oracle_negates(text in condition(0, 0), all in events(), now in 0..60i64) {
        let pairs = workspace(&[("yes", &text), ("no", &format!("not ({text})"))], &[]);
        let members = Definitions::parse(&pairs).unwrap().members(&all, Timestamp(now)).unwrap();
        prop_assert_eq!(members.len(), usize::from(all.iter().any(|event| event.rt.0 <= now)));
    }
}

/// B8: ten thousand audiences on other events are neither evaluated nor looked up one by one.
#[test]
fn audiences_on_other_events_cost_nothing() {
    let own: Vec<(String, String)> = (0..10)
        .map(|at| (format!("own{at}"), format!("count(\"X\" where a = {at} in last 7d) >= 2")))
        .collect();
    let others: Vec<(String, String)> = (0..10_000)
        .map(|at| (format!("other{at}"), format!("count(\"Y{}\" in last {}h) >= 3", at % 5_000, at + 1)))
        .collect();
    let play = |definitions: &[(String, String)]| {
        let pairs: Vec<(&str, &str)> = definitions.iter().map(|(k, c)| (k.as_str(), c.as_str())).collect();
        let mut engine = Engine::new(workspace(&pairs, &[]), Pace::Lazy);
        for at in 0..20 {
            engine.record(1, track(&format!("m{at}"), at, at, "X", json!({ "a": at % 3 })));
        }
        (engine.evaluations, unnumbered(engine.sent))
    };
    let mut all = own.clone();
    all.extend(others);
    let (alone, sent) = play(&own);
    assert_eq!(play(&all), (alone, sent));
    // Ten filters for each event; a formula for each of the three that flips.
    assert_eq!(alone, 20 * 10 + 3);
}

/// B8: an event of no interest costs no filter and no formula, even for a profile with much state.
#[test]
fn an_event_of_no_interest_costs_nothing() {
    let mut engine = Engine::new(
        workspace(&[("a", "count(\"X\" in last 9ms) >= 1 and traits.plan = \"pro\"")], &[]),
        Pace::Lazy,
    );
    engine.record(1, track("m0", 0, 0, "X", json!({})));
    let before = engine.evaluations;
    engine.record(1, track("m1", 1, 1, "Z", json!({ "a": 1 })));
    assert_eq!(engine.evaluations, before);
}

/// B11: a circle is refused and named, whatever its length; a reference to nothing, too.
#[test]
fn circles_and_dangling_references_are_refused() {
    let refused = |audiences: &[(&str, &str)]| -> String {
        let definitions = workspace(audiences, &[]);
        let mut catalogue = Catalogue { workspace: definitions.clone(), ..Catalogue::default() };
        for (number, key) in (1u32..).zip(audiences.iter().map(|(key, _)| key)) {
            catalogue.audiences.insert((*key).to_owned(), onefold_types::AudienceId(number));
        }
        Plan::compile(&catalogue).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(refused(&[("a", "in audience(\"a\")")]), "audiences ask for each other in a circle: a → a");
    assert_eq!(
        refused(&[("a", "not in audience(\"c\")"), ("b", "in audience(\"a\")"), ("c", "in audience(\"b\")")]),
        "audiences ask for each other in a circle: a → c → b → a"
    );
    assert_eq!(
        refused(&[("vip", "in audience(\"vipp\")")]).lines().next().unwrap_or_default(),
        "there is no audience `vipp`; did you mean `vip`?"
    );
}
