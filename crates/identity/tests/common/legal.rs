//! What a cluster may hold, straight from identity.md 1.1.

use onefold_identity::oracle::{Cluster, InForce, OracleEvent};
use onefold_identity::rules::{Limit, Rules};
use onefold_types::Identifier;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a cluster obeys every limit, written apart from the oracle: all windows, all classes, all pairs.
pub fn is_legal(cluster: &Cluster, events: &[OracleEvent], decisions: &InForce, rules: &Rules) -> bool {
    let first_seen = |id: &Identifier| {
        events
            .iter()
            .filter(|event| rules.usable(&event.ids).ids.contains(id))
            .map(|event| event.ts)
            .min()
            .unwrap()
    };
    let cut = cluster.iter().any(|x| cluster.iter().any(|y| decisions.is_cut(x, y)));
    let mut by_type: BTreeMap<&str, Vec<&Identifier>> = BTreeMap::new();
    for id in cluster {
        by_type.entry(&id.id_type).or_default().push(id);
    }
    let within = by_type.into_iter().all(|(id_type, values)| {
        let (most, width) = match rules.rule(id_type).limit {
            Limit::Ever(most) => (most, i64::MAX),
            Limit::Within(most, width) => (most, width),
        };
        values.iter().all(|start| {
            let inside = |id: &&&Identifier| {
                let gap = first_seen(id).0 - first_seen(start).0;
                0 <= gap && gap < width
            };
            let classes: BTreeSet<Identifier> =
                values.iter().filter(inside).map(|id| decisions.class_of(id)).collect();
            classes.len() <= most as usize
        })
    });
    within && !cut && (cluster.len() <= rules.size_cap() || cluster.len() == 1)
}
