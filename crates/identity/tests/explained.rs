//! I12: why two identifiers are one person, replayed; why they are not, held against the oracle's rejections.
//!
//! An explanation must be enough: a graph of nothing but the messages (and links) that it names joins the two, in the
//! absence of conflicts, which a part of the evidence may have although the whole had none (a window that an earlier
//! sighting kept open, a device that only the rest shows to be one person's). What is apart is apart because of the first
//! rejected edge on a shortest raw chain, which the oracle rejected too, by the same rule, shown by two witnesses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;
mod harness;

use common::dense::{History, Step, history, windowed_links};
use common::notation::{events, id};
use common::raw::Raw;
use harness::Engine;
use onefold_identity::engine::Refusal;
use onefold_identity::oracle::{
    Cluster, Edge, InForce, OracleEvent, Rejection, Resolution, Rule, in_force, resolve,
};
use onefold_identity::rules::{Limit, Rules};
use onefold_identity::why::{Because, Hop, WhyNot, why, why_not};
use onefold_types::decision::Decision;
use onefold_types::workspace::IdentityConfig;
use onefold_types::{Identifier, NodeId, SetId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeSet;

/// A history, what the oracle makes of it, and the engine that folded it.
struct Settled {
    rules: Rules,
    events: Vec<OracleEvent>,
    operations: Vec<(u64, Decision)>,
    decisions: InForce,
    resolution: Resolution,
    raw: Raw,
    engine: Engine,
}

/// How much of an explanation is replayed.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Every message of every hop.
    All,
    /// The first message of each hop.
    First,
}

impl Settled {
    fn new(history: &History) -> Self {
        let (rules, events, operations) = (history.rules(), history.events(), history.operations());
        let resolution = resolve(&events, &operations, &rules);
        let mut engine = Engine::new(&rules);
        let mut number = 1;
        for step in &history.steps {
            match step {
                Step::Event(event) => drop(engine.observe(event)),
                Step::Decide(decision) => number += u64::from(engine.decide(number, decision).is_ok()),
            }
        }
        let raw = Raw::new(&events, &operations, &rules, &resolution);
        let decisions = in_force(&operations, &rules);
        Self { rules, events, operations, decisions, resolution, raw, engine }
    }

    fn ids(&self) -> Vec<Identifier> {
        self.resolution.clusters.iter().flatten().cloned().collect()
    }

    fn why(&mut self, x: &Identifier, y: &Identifier) -> Option<Vec<Hop>> {
        let Ok(hops) = why(&self.rules, &mut self.engine.graph, x, y);
        hops
    }

    /// Messages whose rows lie in these sets.
    fn messages_of(&self, sets: &[(NodeId, SetId)]) -> BTreeSet<String> {
        let rows = self.engine.graph.rows();
        rows.filter(|(stream, row, _)| sets.contains(&(*stream, row.set)))
            .map(|(.., id)| id.to_owned())
            .collect()
    }

    /// What an explanation names: messages, and numbers of links.
    fn named(&self, hops: &[Hop], form: Form) -> (BTreeSet<String>, BTreeSet<u64>) {
        let (mut messages, mut links) = (BTreeSet::new(), BTreeSet::new());
        for hop in hops {
            match (&hop.because, form) {
                (Because::Operator { number }, _) => drop(links.insert(*number)),
                (Because::Events { sets, .. }, Form::All) => messages.extend(self.messages_of(sets)),
                (Because::Events { first, .. }, Form::First) => {
                    messages.insert(first.message_id.clone());
                }
            }
        }
        (messages, links)
    }

    /// A graph of nothing but what an explanation names, and what the oracle makes of the same. What operators said of
    /// single values is no evidence and stays; a link needs its two ends, whoever saw them.
    fn replayed(&self, hops: &[Hop], form: Form) -> (Engine, Resolution) {
        let (mut messages, links) = self.named(hops, form);
        for hop in hops.iter().filter(|hop| matches!(hop.because, Because::Operator { .. })) {
            for end in [&hop.from, &hop.to] {
                let has_end = |event: &&OracleEvent| self.rules.usable(&event.ids).ids.contains(end);
                let seen =
                    self.events.iter().filter(has_end).min_by_key(|event| (event.ts, &event.message_id));
                messages.insert(seen.unwrap().message_id.clone());
            }
        }
        let events: Vec<OracleEvent> =
            self.events.iter().filter(|event| messages.contains(&event.message_id)).cloned().collect();
        let undone = |number: &u64| {
            self.operations
                .iter()
                .any(|(_, said)| matches!(said, Decision::Undo { number: n } if n == number))
        };
        let stays = |(number, decision): &&(u64, Decision)| match decision {
            Decision::Link { .. } => links.contains(number),
            Decision::Force { .. } | Decision::Block { .. } | Decision::Unblock { .. } => !undone(number),
            _ => false,
        };
        let operations: Vec<(u64, Decision)> = self.operations.iter().filter(stays).cloned().collect();
        let mut engine = Engine::new(&self.rules);
        events.iter().for_each(|event| drop(engine.observe(event)));
        operations.iter().for_each(|(number, decision)| drop(engine.take(*number, decision)));
        (engine, resolve(&events, &operations, &self.rules))
    }
}

fn has_conflicts(resolution: &Resolution) -> bool {
    !(resolution.edges.rejected.is_empty() && resolution.hubs.is_empty() && resolution.shared.is_empty())
}

/// Whether an edge is the one that a hop takes.
fn is_of(edge: &Edge, hop: &Hop) -> bool {
    let operation = match &hop.because {
        Because::Operator { number } => Some(*number),
        Because::Events { .. } => None,
    };
    let ends = [(&edge.u, &edge.v), (&edge.v, &edge.u)];
    edge.operation == operation && ends.contains(&(&hop.from, &hop.to))
}

/// The messages that give an edge: its ends are the strongest that counts and another one.
fn giving<'a>(settled: &'a Settled, edge: &Edge) -> Vec<&'a OracleEvent> {
    let gives = |event: &&OracleEvent| {
        let mut ids = settled.rules.usable(&event.ids).ids;
        ids.retain(|id| !settled.resolution.hubs.contains(id) && !settled.decisions.blocked.contains(id));
        ids.first() == Some(&edge.u) && ids.contains(&edge.v)
    };
    let mut found: Vec<&OracleEvent> = settled.events.iter().filter(gives).collect();
    found.sort_by_key(|event| (event.ts, &event.message_id));
    found
}

/// A rule of the oracle in the engine's words, as far as they tell rules apart.
fn is_said(rule: &Rule, refusal: &Refusal) -> bool {
    match rule {
        Rule::Cut => refusal.rule == "an operator cut the two",
        Rule::Limit { id_type } => refusal.rule.starts_with(&format!("{id_type}: at most ")),
        Rule::SizeCap => {
            refusal.rule.starts_with("at most ") && refusal.rule.ends_with(" identifiers in one profile")
        }
    }
}

/// Whether two identifiers, one of each side, show that `rule` forbids the union.
fn shows(settled: &Settled, rule: &Rule, sides: &[Cluster; 2], x: &Identifier, y: &Identifier) -> bool {
    let of_each =
        (sides[0].contains(x) && sides[1].contains(y)) || (sides[0].contains(y) && sides[1].contains(x));
    let shown = match rule {
        Rule::Cut => settled.decisions.is_cut(x, y),
        Rule::SizeCap => sides[0].len() + sides[1].len() > settled.rules.size_cap(),
        Rule::Limit { id_type } => {
            let seen = |id: &Identifier| {
                let has = |event: &&OracleEvent| settled.rules.usable(&event.ids).ids.contains(id);
                settled.events.iter().filter(has).map(|event| event.ts.0).min().unwrap()
            };
            let (most, width) = match settled.rules.rule(id_type).limit {
                Limit::Ever(most) => (most, i64::MAX),
                Limit::Within(most, width) => (most, width),
            };
            let class = |id: &Identifier| settled.decisions.class_of(id);
            let values = || sides.iter().flatten().filter(|id| id.id_type == *id_type);
            // Some window has both, and more values than it may.
            let too_full = values().any(|start| {
                let inside = |id: &Identifier| (0..width).contains(&(seen(id) - seen(start)));
                let classes: BTreeSet<Identifier> = values().filter(|id| inside(id)).map(class).collect();
                inside(x) && inside(y) && classes.len() > most as usize
            });
            x.id_type == *id_type && y.id_type == *id_type && class(x) != class(y) && too_full
        }
    };
    of_each && shown
}

fn assert_together(settled: &mut Settled, x: &Identifier, y: &Identifier) {
    let hops = settled.why(x, y).unwrap();
    let mut at = vec![x.clone()];
    for hop in &hops {
        assert_eq!(&hop.from, at.last().unwrap(), "the hops hang together");
        assert!(!at.contains(&hop.to), "no identifier comes twice: the path of a forest");
        at.push(hop.to.clone());
        let edge = settled.resolution.edges.accepted.iter().find(|edge| is_of(edge, hop));
        let edge = edge.unwrap_or_else(|| panic!("{hop:?} is no accepted edge"));
        if let Because::Events { sets, first } = &hop.because {
            let giving = giving(settled, edge);
            let ids: BTreeSet<String> = giving.iter().map(|event| event.message_id.clone()).collect();
            assert_eq!(settled.messages_of(sets), ids, "every message that says so, and no other");
            assert_eq!((first.ts, &first.message_id), (giving[0].ts, &giving[0].message_id), "the first");
        }
    }
    assert_eq!(at.last().unwrap(), y, "the hops arrive");
    for form in [Form::All, Form::First] {
        let (mut engine, resolution) = settled.replayed(&hops, form);
        let found = engine.resolution();
        assert_eq!(found.clusters, resolution.clusters, "I4 of the replay");
        if !has_conflicts(&resolution) {
            assert!(found.together(x, y), "{form:?} messages of {hops:#?} do not join {x} and {y}");
        }
    }
}

fn assert_apart(settled: &mut Settled, x: &Identifier, y: &Identifier) {
    assert_eq!(settled.why(x, y), None);
    let Ok(answer) = why_not(&settled.rules, &mut settled.engine.graph, x, y);
    let (from_x, from_y) = (settled.raw.distances(x), settled.raw.distances(y));
    let WhyNot::Rejected { hop, refusal } = answer else {
        assert_eq!(answer, WhyNot::NoEvidence);
        assert!(!from_x.contains_key(y), "a raw chain leads from {x} to {y}");
        return;
    };
    let rejected = &settled.resolution.edges.rejected;
    let Some(Rejection { edge, rule, .. }) = rejected.iter().find(|rejection| is_of(&rejection.edge, &hop))
    else {
        panic!("{hop:?} was not rejected; these were: {rejected:#?}");
    };
    assert_eq!(
        from_x[&hop.from] + 1 + from_y[&hop.to],
        from_x[y],
        "{} – {} lies on a shortest chain from {x} to {y}",
        hop.from,
        hop.to
    );
    assert!(settled.resolution.together(x, &hop.from), "{hop:?} is the first that breaks it");
    assert!(is_said(rule, &refusal), "oracle: {rule:?}, engine: {refusal:?}");
    let sides = [&edge.u, &edge.v].map(|end| settled.raw.side(edge, end, &settled.resolution.edges.accepted));
    let [a, b] = &refusal.witnesses[..] else { panic!("two witnesses, not {:?}", refusal.witnesses) };
    assert!(shows(settled, rule, &sides, a, b), "{a} and {b} do not show {rule:?} of {sides:#?}");
}

fn assert_explained(history: &History) {
    let mut settled = Settled::new(history);
    let ids = settled.ids();
    for x in &ids {
        for y in ids.iter().filter(|y| *y != x) {
            if settled.resolution.together(x, y) {
                assert_together(&mut settled, x, y);
            } else {
                assert_apart(&mut settled, x, y);
            }
        }
    }
}

proptest! {
    #![proptest_config(common::cases(192))]

    #[test]
    fn i12_an_explanation_replayed_joins_and_a_rejection_is_the_oracles(history in history(20)) {
        assert_explained(&history);
    }

    #[test]
    fn i12_so_it_is_with_windows_and_links(history in windowed_links(16)) {
        assert_explained(&history);
    }
}

/// The replay is worth something only if most explanations have no conflict and some have several hops.
#[test]
fn most_explanations_can_be_replayed() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut replayed, mut conflicts, mut long) = (0, 0, 0);
    for _ in 0..60 {
        let mut settled = Settled::new(&history(20).new_tree(&mut runner).unwrap().current());
        let ids = settled.ids();
        for (x, y) in ids.iter().flat_map(|x| ids.iter().filter(move |y| x < *y).map(move |y| (x, y))) {
            let Some(hops) = settled.why(x, y) else { continue };
            if has_conflicts(&settled.replayed(&hops, Form::First).1) {
                conflicts += 1;
                continue;
            }
            replayed += 1;
            long += u32::from(hops.len() > 1);
        }
    }
    assert!(
        replayed > 4 * conflicts && long >= 30,
        "{replayed}, of several hops {long}, conflicts {conflicts}"
    );
}

/// A window shorter than an hour was told as "within 0 h".
#[test]
fn a_refusal_names_the_window_as_a_workspace_writes_it() {
    for (within, written) in [("30m", "30m"), ("36h", "36h"), ("1w", "7d"), ("1500ms", "1500ms")] {
        let mut config = IdentityConfig::default();
        config.identifiers.push(
            serde_json::from_value(serde_json::json!({ "type": "email", "limit": 1, "within": within }))
                .unwrap(),
        );
        let rules = Rules::compile(&config).unwrap();
        let mut engine = Engine::new(&rules);
        events("0:e1; 0:e2").iter().for_each(|event| drop(engine.observe(event)));
        let refusal = engine.decide(1, &Decision::Link { a: id("e1"), b: id("e2") }).unwrap_err();
        assert_eq!(refusal.rule, format!("email: at most 1 within {written} in one profile"));
        assert_eq!(refusal.witnesses, [id("e1"), id("e2")]);
    }
}

/// What forbids the first rejected hop between two identifiers, when `seen` is all there is, and these decisions.
fn refused(limit: serde_json::Value, seen: &str, decisions: &[Decision], x: &str, y: &str) -> Refusal {
    let mut config = IdentityConfig::default();
    config.identifiers.extend((!limit.is_null()).then(|| serde_json::from_value(limit).unwrap()));
    let rules = Rules::compile(&config).unwrap();
    let mut engine = Engine::new(&rules);
    events(seen).iter().for_each(|event| drop(engine.observe(event)));
    for (number, decision) in (1..).zip(decisions) {
        engine.decide(number, decision).unwrap();
    }
    let Ok(answer) = why_not(&rules, &mut engine.graph, &id(x), &id(y));
    let WhyNot::Rejected { refusal, .. } = answer else { panic!("{seen}: {answer:?}") };
    refusal
}

/// The first value of a side is not always a witness: two that no window holds together show nothing.
#[test]
fn witnesses_are_two_of_one_window() {
    let limit = serde_json::json!({ "type": "email", "limit": 1, "within": "2d" });
    let refusal = refused(limit, "0:e1,l1; 10:e3,l1; 9:e2,p1; 20:l1,p1", &[], "e2", "l1");
    assert_eq!(refusal.witnesses, [id("e2"), id("e3")], "{}", refusal.rule);
}

/// Nor are two values that an operator said count as one.
#[test]
fn witnesses_are_not_two_values_that_count_as_one() {
    let limit = serde_json::json!({ "type": "email", "limit": 2 });
    let forced = [Decision::Force { a: id("e1"), b: id("e2") }];
    let seen = "0:e1,l1; 1:e2,u1; 2:e3,l1; 3:e4,u1; 4:u1,p1; 5:l1,p1";
    let refusal = refused(limit, seen, &forced, "l1", "u1");
    assert_eq!(refusal.witnesses, [id("e1"), id("e4")], "{}", refusal.rule);
}

/// Where several limits are broken, that of the strongest type is named, whatever came first: I1 holds for reasons too.
#[test]
fn of_several_broken_limits_the_strongest_type_is_named() {
    for seen in [
        "0:u1,c1; 0:u2,c2; 1:u1,p1; 2:u2,p1",
        "0:c2,p2; 0:u2,c2; 2:u2,p1; 0:u1,c1; 1:u1,p1",
        "0:c1; 0:c2; 2:u2,p1; 0:u1,c1; 0:u2,c2; 1:u1,p1",
    ] {
        let refusal = refused(serde_json::Value::Null, seen, &[], "u1", "u2");
        assert_eq!(refusal.rule, "user_id: at most 1 in one profile", "{seen}");
    }
}
