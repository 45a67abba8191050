//! Decisions that were accepted stay in force in every replay: whatever the order of events, and wherever among them the
//! decisions come, the graph equals the definition, which takes accepted decisions as given.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod common;
mod harness;

use common::dense::{History, Step, history, windowed_links};
use common::notation::{clusters, decisions, events, id};
use harness::Engine;
use onefold_identity::oracle::{self, OracleEvent};
use onefold_identity::rules::Rules;
use onefold_identity::why::{WhyNot, why_not};
use onefold_types::decision::Decision;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeMap;

fn any_history() -> impl Strategy<Value = History> {
    prop_oneof![history(24), windowed_links(20)]
}

/// The history as it happened: every decision judged when it came.
fn lived(history: &History) -> Engine {
    let mut engine = Engine::new(&history.rules());
    let mut number = 0;
    for step in &history.steps {
        match step {
            Step::Event(event) => drop(engine.observe(event)),
            Step::Decide(decision) => number += u64::from(engine.decide(number + 1, decision).is_ok()),
        }
    }
    engine
}

/// Events in an order of their own; decisions in theirs, the n-th after as many events as `places` says.
fn replayed(
    rules: &Rules,
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    places: &[prop::sample::Index],
) -> Engine {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(events.len() + 1)).collect();
    places.resize(operations.len(), events.len());
    places.sort_unstable();
    let mut decisions = places.into_iter().zip(operations).peekable();
    let mut engine = Engine::new(rules);
    for count in 0..=events.len() {
        while let Some((_, (number, decision))) = decisions.next_if(|(place, _)| *place <= count) {
            engine.take(*number, decision);
        }
        if let Some(event) = events.get(count) {
            engine.observe(event);
        }
    }
    engine
}

fn assert_defined(engine: &mut Engine, events: &[OracleEvent], operations: &[(u64, Decision)]) {
    let naive = oracle::resolve(events, operations, &engine.rules);
    let mut found = engine.resolution();
    found.edges.rejected.clone_from(&naive.edges.rejected);
    let order = |resolution: &mut oracle::Resolution| resolution.edges.accepted.sort();
    let mut naive = naive;
    order(&mut naive);
    order(&mut found);
    assert_eq!(found, naive);
}

proptest! {
    #![proptest_config(common::cases(256))]

    #[test]
    fn i15_accepted_decisions_hold_in_every_replay(
        (history, events) in any_history().prop_flat_map(|history| {
            let events = history.events();
            (Just(history), Just(events).prop_shuffle())
        }),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (rules, operations) = (history.rules(), history.operations());
        let mut live = lived(&history);
        let mut replayed = replayed(&rules, &events, &operations, &places);
        assert_defined(&mut replayed, &events, &operations);
        prop_assert_eq!(live.graph.export(), replayed.graph.export());
        prop_assert_eq!(live.owners(), replayed.owners());
    }

    /// What only a late event holds back comes back with an undo or a deletion: in the replay as in the graph that lived.
    #[test]
    fn i10_what_is_held_back_comes_back_in_the_replay_too(
        history in any_history(),
        undone in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        deleted in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let (rules, mut events, mut operations) = (history.rules(), history.events(), history.operations());
        let mut live = lived(&history);
        let mut replayed = replayed(&rules, &events, &operations, &[]);
        for index in deleted {
            if events.is_empty() {
                break;
            }
            let message_id = events.remove(index.index(events.len())).message_id;
            live.delete_message(&message_id);
            replayed.delete_message(&message_id);
            assert_defined(&mut replayed, &events, &operations);
        }
        for index in undone {
            let Some(taken_back) = (!operations.is_empty()).then(|| operations[index.index(operations.len())].0) else {
                break;
            };
            let undo = Decision::Undo { number: taken_back };
            let allowed = oracle::accepts(&events, &operations, &rules, &undo).is_ok();
            let number = operations.len() as u64 + 1;
            prop_assert_eq!(live.decide(number, &undo).is_ok(), allowed);
            prop_assert_eq!(replayed.decide(number, &undo).is_ok(), allowed);
            if allowed {
                operations.push((number, undo));
            }
            assert_defined(&mut replayed, &events, &operations);
        }
        prop_assert_eq!(live.graph.export(), replayed.graph.export());
    }
}

/// The law above would hold of a replay that judges again if no history had a decision that a later event holds back.
#[test]
fn histories_hold_back_decisions_that_were_accepted() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut refused = 0;
    for _ in 0..600 {
        let history = any_history().new_tree(&mut runner).unwrap().current();
        let mut judged = Engine::new(&history.rules());
        for event in history.events() {
            judged.observe(&event);
        }
        let again = history.operations();
        refused +=
            u32::from(again.iter().any(|(number, decision)| judged.decide(*number, decision).is_err()));
    }
    assert!(refused >= 12, "only {refused} of 600 histories have one");
}

/// A link across a windowed limit, a late event that brings both values into one window, and its deletion.
#[test]
fn a_link_that_a_late_event_forbids_stays_in_force() {
    let config = r#"{"identifiers":[{"type":"phone","limit":1,"within":"2d"}]}"#;
    let rules = Rules::compile(&serde_json::from_str(config).unwrap()).unwrap();
    let (link, late) = (decisions("link p1 p2").remove(0), events("1:p2").remove(0));
    let late = OracleEvent { message_id: "late".to_owned(), ..late };
    let first = events("0:p1,a1; 5:p2,a2");
    let operations = [(1, link.clone())];

    let mut live = Engine::new(&rules);
    first.iter().for_each(|event| drop(live.observe(event)));
    assert!(live.decide(1, &link).is_ok());
    assert_eq!(live.resolution().clusters, clusters("{p1,p2,a1,a2}"));
    live.observe(&late);
    assert_eq!(live.resolution().clusters, clusters("{p1,a1} {p2,a2}"));
    let Ok(apart) = why_not(&rules, &mut live.graph, &id("p1"), &id("p2"));
    assert!(
        matches!(&apart, WhyNot::Rejected { refusal, .. } if refusal.rule.contains("phone")),
        "{apart:?}"
    );

    // A replay that has the late event in its place.
    let all: Vec<OracleEvent> = [&first[..1], std::slice::from_ref(&late), &first[1..]].concat();
    let mut replay = replayed(&rules, &all, &operations, &[]);
    assert_defined(&mut replay, &all, &operations);
    assert_eq!(replay.graph.export(), live.graph.export());
    let mut judging = replayed(&rules, &all, &[], &[]);
    assert!(judging.decide(1, &link).is_err(), "judged now, it would be refused, and lost");

    for engine in [&mut live, &mut replay] {
        engine.delete_message("late");
        assert_eq!(engine.resolution().clusters, clusters("{p1,p2,a1,a2}"));
    }
    judging.delete_message("late");
    assert_eq!(judging.resolution().clusters, clusters("{p1,a1} {p2,a2}"));
}

/// Under rules that block what a decision names it says nothing, to the end or until it is taken back.
#[test]
fn a_decision_about_a_value_that_other_rules_block_can_still_be_taken_back() {
    let config = r#"{"blocked":["e1@x.test"],"identifiers":[{"type":"nick","normalise":"lowercase"}]}"#;
    let rules = Rules::compile(&serde_json::from_str(config).unwrap()).unwrap();
    let nick = |value: &str| onefold_types::Identifier::new("nick", value);
    let given = events("0:u1,e1; 1:u2,e2; 2:u1,e2; 3:c1");
    let mut operations: Vec<(u64, Decision)> =
        (1..).zip(decisions("link e1 c1; cut u1 e1; block e1")).collect();
    operations.push((4, Decision::Cut { a: nick("Bob"), b: nick("bob") }));
    operations.push((5, Decision::Link { a: id("u2"), b: id("c1") }));
    let mut engine = replayed(&rules, &given, &operations, &[]);
    assert_defined(&mut engine, &given, &operations);
    for number in 1..=4 {
        let undo = Decision::Undo { number };
        assert_eq!(oracle::accepts(&given, &operations, &rules, &undo), Ok(()));
        assert!(engine.decide(number + 5, &undo).is_ok());
        assert!(engine.decide(number + 50, &undo).is_err(), "only once");
        operations.push((number + 5, undo));
        assert_defined(&mut engine, &given, &operations);
    }
    // Taken without being judged, what is not there is taken back in vain.
    assert_eq!(engine.take(20, &Decision::Undo { number: 19 }), onefold_identity::engine::Changes::default());
    let left: BTreeMap<_, _> = engine.owners();
    assert_eq!(left.len(), 4);
}
