//! A step on an overlay says what the step will change, and changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod common;
mod harness;

use common::dense::{Step, history, windowed_links};
use harness::Engine;
use onefold_identity::engine::{Changes, Observed, Owner, Transition, decide, observe};
use onefold_identity::graph::{MemoryGraph, Overlay};
use onefold_types::decision::Decision;
use onefold_types::{NodeId, ProfileHandle};
use proptest::prelude::*;

/// Numbers that the graph did not know before a step are any number: the overlay gives others.
struct Known {
    profiles: Vec<ProfileHandle>,
    nodes: MemoryGraph,
}

impl Known {
    fn of(engine: &Engine) -> Self {
        Self { profiles: engine.handles(), nodes: engine.graph.clone() }
    }

    fn profile(&self, profile: ProfileHandle) -> Option<ProfileHandle> {
        self.profiles.contains(&profile).then_some(profile)
    }

    fn node(&self, node: NodeId) -> Option<NodeId> {
        self.nodes.identifier(node).map(|_| node)
    }

    fn changes(&self, changes: &Changes) -> Vec<String> {
        let mut said: Vec<String> = changes
            .transitions
            .iter()
            .map(|transition| match transition {
                Transition::Merged { from, into } => {
                    format!("merged {:?} {:?}", self.profile(*from), self.profile(*into))
                }
                Transition::Split { from, into } => {
                    let into: Vec<_> = into.iter().map(|profile| self.profile(*profile)).collect();
                    format!("split {:?} {into:?}", self.profile(*from))
                }
                Transition::Moved { device, from, to, since, until } => {
                    let (from, to) = (from.map(|p| self.profile(p)), to.map(|p| self.profile(p)));
                    format!("moved {:?} {from:?} {to:?} {since:?} {until:?}", self.node(*device))
                }
                Transition::IdChanged { profile, from, to } => {
                    format!("id {:?} {:?} {:?}", self.profile(*profile), self.node(*from), self.node(*to))
                }
            })
            .collect();
        said.extend(changes.rebuild.iter().map(|profile| format!("rebuild {:?}", self.profile(*profile))));
        said
    }

    fn observed(&self, observed: &Observed) -> (Option<Option<NodeId>>, String, Vec<String>) {
        let owner = match observed.owner {
            Owner::Profile(profile) => format!("{:?}", self.profile(profile)),
            Owner::None(reason) => format!("{reason:?}"),
        };
        (observed.stream.map(|node| self.node(node)), owner, self.changes(&observed.changes))
    }
}

proptest! {
    #![proptest_config(common::cases(512))]

    #[test]
    fn an_overlay_foresees_each_step_and_changes_nothing(
        history in prop_oneof![history(24), windowed_links(20)],
    ) {
        let mut engine = Engine::new(&history.rules());
        let rules = engine.rules.clone();
        let mut number = 0;
        for step in &history.steps {
            let known = Known::of(&engine);
            let before = engine.graph.export();
            match step {
                Step::Event(event) => {
                    let ids = rules.usable(&event.ids).ids;
                    let mut overlay = Overlay::new(&mut engine.graph);
                    let Ok(foreseen) = observe(&rules, &mut overlay, &ids, event.ts, &event.message_id);
                    prop_assert_eq!(&engine.graph.export(), &before);
                    if let Some(observed) = engine.observe(event) {
                        prop_assert_eq!(known.observed(&foreseen), known.observed(&observed));
                    }
                }
                Step::Decide(decision) => {
                    let mut overlay = Overlay::new(&mut engine.graph);
                    let Ok(foreseen) = decide(&rules, &mut overlay, number + 1, decision);
                    prop_assert_eq!(&engine.graph.export(), &before);
                    if matches!(decision, Decision::DeleteMessage { .. } | Decision::DeleteProfile { .. }) {
                        engine.decide(number + 1, decision).unwrap();
                        continue;
                    }
                    let decided = engine.decide(number + 1, decision);
                    number += u64::from(decided.is_ok());
                    prop_assert_eq!(
                        foreseen.map(|changes| known.changes(&changes)),
                        decided.map(|changes| known.changes(&changes))
                    );
                }
            }
        }
    }
}
