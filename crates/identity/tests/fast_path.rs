//! I6, the fast-path theorem: limits are hereditary, so a raw component that violates nothing and has no cut, shared or
//! hub node is exactly one profile: plain union-find is exact.
//!
//! Method: components by plain union-find and legality by all pairs, both written apart from the oracle; then the naive
//! resolution and the engine are held against them, on random dense histories.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;
mod harness;

use common::dense::{History, Step, history};
use common::legal::is_legal;
use common::raw::components;
use harness::Engine;
use onefold_identity::oracle::{Cluster, InForce, OracleEvent, Resolution, in_force, resolve};
use onefold_identity::rules::Rules;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// A history, and what the oracle makes of it.
struct Settled {
    rules: Rules,
    events: Vec<OracleEvent>,
    decisions: InForce,
    components: Vec<Cluster>,
    resolution: Resolution,
}

impl Settled {
    fn new(history: &History) -> Self {
        let (rules, events, operations) = (history.rules(), history.events(), history.operations());
        let decisions = in_force(&operations, &rules);
        let components = components(&events, &operations, &rules);
        let resolution = resolve(&events, &operations, &rules);
        Self { rules, events, decisions, components, resolution }
    }

    fn is_legal(&self, cluster: &Cluster) -> bool {
        // Whoever is blocked is in no component, and so in no cluster.
        is_legal(cluster, &self.events, &self.decisions, &self.rules)
    }

    /// Whether the theorem speaks of this component.
    fn is_clean(&self, component: &Cluster) -> bool {
        let flagged = |id| self.resolution.hubs.contains(id) || self.resolution.shared.contains(id);
        self.is_legal(component) && !component.iter().any(flagged)
    }
}

proptest! {
    #![proptest_config(common::cases(384))]

    #[test]
    fn i6_a_subset_of_a_legal_cluster_is_legal(
        history in history(24),
        picks in prop::collection::vec(any::<bool>(), 32),
    ) {
        let settled = Settled::new(&history);
        for cluster in settled.resolution.clusters.iter().chain(&settled.components) {
            if !settled.is_legal(cluster) {
                continue;
            }
            let picked = cluster.iter().zip(picks.iter().cycle()).filter(|(_, picked)| **picked);
            let subset: Cluster = picked.map(|(id, _)| id.clone()).collect();
            prop_assert!(settled.is_legal(&subset), "{:?} of {:?}", subset, cluster);
        }
    }

    #[test]
    fn i6_a_component_that_violates_nothing_is_one_profile(history in history(24)) {
        let settled = Settled::new(&history);
        let mut engine = Engine::new(&settled.rules);
        let mut number = 1;
        for step in &history.steps {
            match step {
                Step::Event(event) => drop(engine.observe(event)),
                Step::Decide(decision) => number += u64::from(engine.decide(number, decision).is_ok()),
            }
        }
        let found = engine.resolution();
        for component in settled.components.iter().filter(|component| settled.is_clean(component)) {
            prop_assert!(settled.resolution.clusters.contains(component), "oracle: {:?} is not one", component);
            prop_assert!(found.clusters.contains(component), "engine: {:?} is not one", component);
        }
        // And no profile reaches beyond its component.
        for cluster in settled.resolution.clusters.iter().chain(&found.clusters) {
            prop_assert!(settled.components.iter().any(|component| cluster.is_subset(component)));
        }
    }
}

/// The theorem must be asked of components of some size, and there must be others.
#[test]
fn dense_histories_have_clean_components_and_others() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut clean, mut other) = (0, 0);
    for _ in 0..400 {
        let settled = Settled::new(&history(24).new_tree(&mut runner).unwrap().current());
        for component in settled.components.iter().filter(|component| component.len() > 2) {
            if settled.is_clean(component) { clean += 1 } else { other += 1 }
        }
    }
    assert!(clean >= 40 && other >= 40, "{clean} components are clean, {other} are not");
}
