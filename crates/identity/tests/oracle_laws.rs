//! The laws of identity.md 1.2 on the definition itself, on random dense histories. That the engine equals the
//! definition at every step is `laws.rs`; here only that it does at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod common;

use common::comparable;
use common::dense::{History, Step, event, evidence, history};
use common::legal::is_legal;
use common::notation::DAY_MS;
use onefold_identity::oracle::{
    Cluster, Edge, NoOwnerReason, OracleEvent, OracleOwner, Resolution, Rule, accepts, in_force, resolve,
    without_message, without_profile,
};
use onefold_identity::rules::{Limit, Rules};
use onefold_types::decision::Decision;
use onefold_types::workspace::Scope;
use onefold_types::{Identifier, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{BTreeMap, BTreeSet};

fn settled(history: &History) -> (Rules, Vec<OracleEvent>, Vec<(u64, Decision)>, Resolution) {
    let (rules, events, operations) = (history.rules(), history.events(), history.operations());
    let resolution = resolve(&events, &operations, &rules);
    (rules, events, operations, resolution)
}

/// Sets of events that have, directly or by others, no identifier in common, no decision between them.
fn components(
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    rules: &Rules,
) -> Vec<Vec<OracleEvent>> {
    let mut parts: Vec<(BTreeSet<Identifier>, Vec<OracleEvent>)> = Vec::new();
    let mut add = |mut ids: BTreeSet<Identifier>, mut inside: Vec<OracleEvent>| {
        let (touched, apart): (Vec<_>, Vec<_>) =
            parts.drain(..).partition(|(known, _)| !known.is_disjoint(&ids));
        for (known, theirs) in touched {
            ids.extend(known);
            inside.extend(theirs);
        }
        parts = apart;
        parts.push((ids, inside));
    };
    for event in events {
        add(rules.usable(&event.ids).ids.into_iter().collect(), vec![event.clone()]);
    }
    for (_, decision) in operations {
        if let Decision::Link { a, b } | Decision::Cut { a, b } | Decision::Force { a, b } = decision {
            add(BTreeSet::from([a.clone(), b.clone()]), Vec::new());
        }
    }
    parts.into_iter().map(|(_, events)| events).collect()
}

/// The edges that came before all of class `rank`, with what became of them.
fn stronger_than(rank: u8, resolution: &Resolution, rules: &Rules) -> (BTreeSet<Edge>, BTreeSet<Edge>) {
    let stronger = |edge: &&Edge| {
        let rank_of = |id: &Identifier| rules.rule(&id.id_type).rank;
        edge.operation.is_some() || rank_of(&edge.u).max(rank_of(&edge.v)) < rank
    };
    let rejected = resolution.edges.rejected.iter().map(|rejection| &rejection.edge);
    (
        resolution.edges.accepted.iter().filter(stronger).cloned().collect(),
        rejected.filter(stronger).cloned().collect(),
    )
}

proptest! {
    #![proptest_config(common::cases(384))]

    #[test]
    fn i1_the_order_of_arrival_changes_nothing((history, events) in history(24).prop_flat_map(|history| {
        let events = history.events();
        (Just(history), Just(events).prop_shuffle())
    })) {
        let (rules, _, operations, resolution) = settled(&history);
        prop_assert_eq!(resolve(&events, &operations, &rules), resolution);
    }

    #[test]
    fn i2_a_message_that_was_seen_changes_nothing(history in history(20), again in any::<prop::sample::Index>(), other in event()) {
        let (rules, mut events, operations, resolution) = settled(&history);
        prop_assume!(!events.is_empty());
        let message_id = again.get(&events).message_id.clone();
        events.push(again.get(&events).clone());
        events.push(OracleEvent { message_id, ..other });
        prop_assert_eq!(resolve(&events, &operations, &rules), resolution);
    }

    #[test]
    fn i5_what_has_nothing_in_common_is_resolved_apart(history in history(20)) {
        let (rules, events, operations, whole) = settled(&history);
        let mut joined = Resolution::default();
        for part in components(&events, &operations, &rules) {
            let part = resolve(&part, &operations, &rules);
            joined.clusters.extend(part.clusters);
            joined.owner.extend(part.owner);
            joined.profile_anchor.extend(part.profile_anchor);
            joined.hubs.extend(part.hubs);
            joined.shared.extend(part.shared);
            joined.persons.extend(part.persons);
            joined.edges.accepted.extend(part.edges.accepted);
            joined.edges.rejected.extend(part.edges.rejected);
        }
        let sorted = |mut resolution: Resolution| {
            resolution.edges.accepted.sort();
            resolution.edges.rejected.sort();
            resolution
        };
        prop_assert_eq!(sorted(joined), sorted(whole));
    }

    #[test]
    fn i7_no_cluster_breaks_a_limit(history in history(24)) {
        let (rules, events, operations, resolution) = settled(&history);
        let decisions = in_force(&operations, &rules);
        for cluster in &resolution.clusters {
            prop_assert!(is_legal(cluster, &events, &decisions, &rules), "{:?}", cluster);
        }
        for rejection in &resolution.edges.rejected {
            let (x, y) = &rejection.witnesses;
            prop_assert!(!resolution.together(&rejection.edge.u, &rejection.edge.v), "{:?} was rejected", rejection);
            prop_assert!(!resolution.together(x, y), "witnesses {} and {} are together", x, y);
        }
    }

    #[test]
    fn i8_blocked_values_are_as_if_they_were_not_there(history in history(20)) {
        let (rules, mut events, operations, resolution) = settled(&history);
        for event in &mut events {
            event.ids.retain(|(id_type, value)| rules.normalise(id_type, value).is_ok());
        }
        prop_assert_eq!(resolve(&events, &operations, &rules), resolution);
    }

    #[test]
    fn i9_weak_evidence_changes_nothing_between_stronger_identifiers(
        history in evidence(16),
        person in prop::sample::select(&["u1", "u2", "e1", "e2", "c1"][..]),
        weak in prop::sample::subsequence(vec!["p1", "p2", "a1", "a2", "a9", "d1", "d9"], 1..=3),
    ) {
        let (rules, mut events, operations, before) = settled(&history);
        let mut ids = vec![common::notation::raw(person)];
        ids.extend(weak.into_iter().map(common::notation::raw));
        let class = ids[1..].iter().map(|(id_type, _)| rules.rule(id_type).rank).min().unwrap();
        events.push(OracleEvent { message_id: "weak".to_owned(), ts: Timestamp(100 * DAY_MS), ids });
        let after = resolve(&events, &operations, &rules);
        prop_assume!(before.hubs == after.hubs && before.shared == after.shared);
        prop_assert_eq!(stronger_than(class, &before, &rules), stronger_than(class, &after, &rules));
    }

    #[test]
    fn i10_what_is_taken_back_never_was(history in history(20), decision in common::dense::decision()) {
        let (rules, events, mut operations, resolution) = settled(&history);
        prop_assume!(!matches!(decision, Decision::Undo { .. }));
        prop_assume!(accepts(&events, &operations, &rules, &decision).is_ok());
        let number = operations.len() as u64 + 1;
        operations.push((number, decision));
        operations.push((number + 1, Decision::Undo { number }));
        prop_assert_eq!(resolve(&events, &operations, &rules), resolution);
    }

    #[test]
    fn i10_a_deleted_message_never_was(history in history(20), which in any::<prop::sample::Index>()) {
        let (rules, events, mut operations, _) = settled(&history);
        prop_assume!(!events.is_empty());
        let message_id = which.get(&events).message_id.clone();
        let without = resolve(&without_message(&events, &message_id), &operations, &rules);
        let delete = Decision::DeleteMessage { message_id };
        prop_assert_eq!(accepts(&events, &operations, &rules, &delete), Ok(()));
        operations.push((operations.len() as u64 + 1, delete));
        prop_assert_eq!(resolve(&events, &operations, &rules), without);
    }

    #[test]
    fn i10_a_deleted_profile_owns_nothing_and_others_keep_theirs(history in history(20), which in any::<prop::sample::Index>()) {
        let (rules, events, operations, resolution) = settled(&history);
        prop_assume!(!resolution.persons.is_empty());
        let persons: Vec<&Cluster> = resolution.persons.iter().collect();
        let gone = (*which.get(&persons)).clone();
        let left = without_profile(&events, &operations, &rules, gone.first().unwrap());
        let kept: BTreeSet<&String> = left.iter().map(|event| &event.message_id).collect();
        for (message_id, owner) in &resolution.owner {
            prop_assert_eq!(kept.contains(message_id), *owner != OracleOwner::Cluster(gone.clone()));
        }
    }

    #[test]
    fn i11_what_is_cut_is_apart_and_what_is_linked_is_together(history in history(24)) {
        let (rules, _, operations, resolution) = settled(&history);
        let decisions = in_force(&operations, &rules);
        for (x, y) in &decisions.cuts {
            prop_assert!(!resolution.together(x, y), "{} and {} were cut", x, y);
        }
        for (x, y, number) in &decisions.links {
            let seen = resolution.cluster_of(x).is_some() && resolution.cluster_of(y).is_some();
            let rejected = resolution.edges.rejected.iter().any(|rejection| rejection.edge.operation == Some(*number));
            prop_assert!(!seen || rejected || resolution.together(x, y), "{} and {} were linked", x, y);
        }
    }

    #[test]
    fn i11_a_link_that_is_accepted_joins_and_one_that_is_refused_could_not(history in history(20), decision in common::dense::decision()) {
        let (rules, events, mut operations, _) = settled(&history);
        let Decision::Link { a, b } = &decision else { return Ok(()) };
        if accepts(&events, &operations, &rules, &decision).is_ok() {
            let (a, b) = (a.clone(), b.clone());
            operations.push((operations.len() as u64 + 1, decision));
            prop_assert!(resolve(&events, &operations, &rules).together(&a, &b));
        }
    }

    #[test]
    fn i13_identifiers_and_events_are_partitioned(history in history(24)) {
        let (rules, events, operations, resolution) = settled(&history);
        let blocked = in_force(&operations, &rules).blocked;
        let mut known = BTreeSet::new();
        for event in &events {
            prop_assert!(resolution.owner.contains_key(&event.message_id));
            known.extend(rules.usable(&event.ids).ids.into_iter().filter(|id| !blocked.contains(id)));
        }
        prop_assert_eq!(resolution.owner.len(), events.len());
        let members: Vec<&Identifier> = resolution.clusters.iter().flatten().collect();
        prop_assert_eq!(members.len(), known.len());
        prop_assert_eq!(members.into_iter().cloned().collect::<BTreeSet<_>>(), known);
        for owner in resolution.owner.values() {
            if let OracleOwner::Cluster(cluster) = owner {
                prop_assert!(resolution.clusters.contains(cluster));
            }
        }
        let edges = resolution.edges.accepted.len();
        prop_assert_eq!(resolution.clusters.iter().map(|cluster| cluster.len() - 1).sum::<usize>(), edges);
    }

    #[test]
    fn a_hub_is_of_person_scope_and_a_shared_device_of_device_scope(history in history(24)) {
        let (rules, _, _, resolution) = settled(&history);
        let scope = |id: &Identifier| rules.rule(&id.id_type).scope;
        prop_assert!(resolution.hubs.iter().all(|id| scope(id) == Scope::Person));
        prop_assert!(resolution.shared.iter().all(|id| scope(id) == Scope::Device));
    }

    #[test]
    fn i4_the_engine_says_the_same(history in history(24)) {
        let (rules, events, operations, resolution) = settled(&history);
        let mut folded = common::engine::Folded::new();
        let mut number = 0;
        for step in &history.steps {
            match step {
                Step::Event(event) => folded.event(&rules, event),
                Step::Decide(decision) => number += u64::from(folded.decide(&rules, number + 1, decision)),
            }
        }
        prop_assert_eq!(number, operations.len() as u64, "decisions accepted");
        prop_assert_eq!(folded.resolution(&rules), comparable(resolution.clone()));
        // Decisions after all events: where they are all taken again, the state is the same. A later event can make an
        // identifier older and so bring it into a window, and then a link that was taken would be refused now.
        let mut replayed = common::engine::Folded::new();
        events.iter().for_each(|event| replayed.event(&rules, event));
        if operations.iter().all(|(number, decision)| replayed.decide(&rules, *number, decision)) {
            prop_assert_eq!(replayed.resolution(&rules), comparable(resolution));
        }
    }
}

/// The laws above say nothing of what the histories do not reach: a good share of them must.
#[test]
fn dense_histories_reach_every_rule() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..400 {
        let history = history(24).new_tree(&mut runner).unwrap().current();
        let (rules, _, operations, resolution) = settled(&history);
        let rejected =
            |what: fn(&Rule) -> bool| resolution.edges.rejected.iter().any(|edge| what(&edge.rule));
        let windowed = |id_type: &str| matches!(rules.rule(id_type).limit, Limit::Within(..));
        let by_window = resolution
            .edges
            .rejected
            .iter()
            .any(|edge| matches!(&edge.rule, Rule::Limit { id_type } if windowed(id_type)));
        let owners = || resolution.owner.values();
        let marks = [
            ("shared", !resolution.shared.is_empty()),
            ("hub", !resolution.hubs.is_empty()),
            ("limit", rejected(|rule| matches!(rule, Rule::Limit { .. }))),
            ("window", by_window),
            ("size", rejected(|rule| *rule == Rule::SizeCap)),
            ("cut", rejected(|rule| *rule == Rule::Cut)),
            ("link", resolution.edges.accepted.iter().any(|edge| edge.operation.is_some())),
            ("undo", operations.iter().any(|(_, decision)| matches!(decision, Decision::Undo { .. }))),
            ("force", !in_force(&operations, &rules).forced.is_empty()),
            ("block", !in_force(&operations, &rules).blocked.is_empty()),
            ("hub owner", owners().any(|owner| *owner == OracleOwner::None(NoOwnerReason::Hub))),
            ("no owner", owners().any(|owner| *owner == OracleOwner::None(NoOwnerReason::NoUsableId))),
        ];
        for (name, here) in marks {
            *reached.entry(name).or_default() += u32::from(here);
        }
    }
    eprintln!("{reached:?}");
    for (name, times) in reached {
        assert!(times >= 8, "only {times} of 400 histories reach: {name}");
    }
}
