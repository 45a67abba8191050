//! Hubs, and what follows when an identifier begins or ceases to count.

use super::limits::Kind;
use super::world::World;
use crate::graph::{Graph, Node, SeenWith};
use onefold_types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Values of one type listed in a node's record at least, before it only says "more".
const LISTED_MIN: usize = 4;

/// What follows from identifiers that began or ceased to count.
#[derive(Debug, Default)]
pub(crate) struct Flips {
    /// Nodes whose clusters must be looked at again.
    pub(crate) seeds: BTreeSet<NodeId>,
    /// Devices that may be shared now, or no longer.
    pub(crate) evaluate: BTreeSet<NodeId>,
    /// Anchors, old and new, of events that have another anchor now.
    pub(crate) anchors: BTreeSet<NodeId>,
    /// Devices whose logins have another anchor now.
    pub(crate) relink: BTreeSet<NodeId>,
}

/// Notes in each node of a new set what it was seen with.
pub(crate) fn note_seen<G: Graph>(world: &mut World<'_, G>, set: &[NodeId]) -> Result<(), G::Error> {
    let cap = LISTED_MIN.max(world.rules.hub_threshold() + 1);
    let mut with = Vec::with_capacity(set.len());
    for node in set {
        let record = world.node(*node)?;
        with.push((*node, world.kind_of(&record), record.id.id_type.clone()));
    }
    // Each node looks only at those that it notes, which are few: not at all of the set.
    let that = |wanted: fn(&Kind) -> bool| -> Vec<(NodeId, &str)> {
        let wanted = with.iter().filter(|(_, kind, _)| wanted(kind));
        wanted.map(|(value, _, id_type)| (*value, id_type.as_str())).collect()
    };
    let (unique, person_keys) = (that(|kind| kind.unique), that(|kind| kind.person_key));
    for (node, kind, _) in &with {
        if kind.person && kind.unique {
            continue;
        }
        let before = world.node(*node)?;
        for (value, value_type) in if kind.person { &unique } else { &person_keys } {
            if value != node {
                note_value(world, *node, *value, value_type, cap)?;
            }
        }
        let after = world.node(*node)?;
        if !kind.person && sees_several(&after) {
            // Whoever was seen with it from now on, and, as it becomes one of several persons, whoever was so far.
            let mut near: BTreeSet<NodeId> = person_keys.iter().map(|(value, _)| *value).collect();
            if !sees_several(&before) {
                near.extend(after.seen.values().flat_map(|seen| seen.values.iter().copied()));
            }
            for value in near {
                if !world.node(value)?.near_shared {
                    world.change(value, |record| record.near_shared = true)?;
                }
            }
        }
    }
    Ok(())
}

fn sees_several(record: &Node) -> bool {
    record.seen.values().any(|seen| seen.values.len() > 1)
}

fn note_value<G: Graph>(
    world: &mut World<'_, G>,
    node: NodeId,
    value: NodeId,
    value_type: &str,
    cap: usize,
) -> Result<(), G::Error> {
    let known = world.node(node)?;
    let listed =
        known.seen.get(value_type).is_some_and(|seen| seen.more || seen.values.binary_search(&value).is_ok());
    if listed {
        return Ok(());
    }
    world.change(node, |record| {
        let seen = record.seen.entry(value_type.to_owned()).or_default();
        match seen.values.binary_search(&value) {
            Ok(_) => {}
            Err(place) if seen.values.len() < cap => seen.values.insert(place, value),
            Err(_) => seen.more = true,
        }
    })
}

/// Builds anew, from its sets, what a node was seen with, in how many sets it is and when it was first seen in one.
pub(crate) fn recount_seen<G: Graph>(world: &mut World<'_, G>, node: NodeId) -> Result<(), G::Error> {
    let cap = LISTED_MIN.max(world.rules.hub_threshold() + 1);
    let kind = world.kind(node)?;
    let sets = world.sets(node)?;
    let mut by_type: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
    if !(kind.person && kind.unique) {
        for row in sets.iter() {
            for value in row.nodes.iter().filter(|value| **value != node) {
                let record = world.node(*value)?;
                let value_kind = world.kind_of(&record);
                if if kind.person { value_kind.unique } else { value_kind.person_key } {
                    by_type.entry(record.id.id_type.clone()).or_default().insert(*value);
                }
            }
        }
    }
    world.change(node, |record| {
        record.sets = u32::try_from(sets.len()).unwrap_or(u32::MAX);
        record.seen = by_type
            .into_iter()
            .map(|(id_type, values)| {
                let more = values.len() > cap;
                (id_type, SeenWith { values: values.into_iter().take(cap).collect(), more })
            })
            .collect();
    })
}

/// Whether a node is a hub.
pub(crate) fn is_hub<G: Graph>(world: &mut World<'_, G>, node: NodeId) -> Result<bool, G::Error> {
    let record = world.node(node)?;
    let kind = world.kind_of(&record);
    if !kind.person || kind.unique {
        return Ok(false);
    }
    let threshold = world.rules.hub_threshold();
    let mut more = false;
    for seen in record.seen.values() {
        let mut count = 0;
        for value in &seen.values {
            count += usize::from(!world.node(*value)?.blocked);
        }
        if count > threshold {
            return Ok(true);
        }
        more |= seen.more;
    }
    if !more {
        return Ok(false);
    }
    let mut by_type: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
    for row in world.sets(node)?.iter() {
        for value in &row.nodes {
            let record = world.node(*value)?;
            if *value != node && !record.blocked && world.kind_of(&record).unique {
                let values = by_type.entry(record.id.id_type.clone()).or_default();
                values.insert(*value);
                if values.len() > threshold {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Sets the hub flag of each of `nodes` anew; answers which counted before and which not, of those that changed.
pub(crate) fn look_for_hubs<G: Graph>(
    world: &mut World<'_, G>,
    nodes: impl IntoIterator<Item = NodeId>,
) -> Result<BTreeMap<NodeId, bool>, G::Error> {
    let mut was = BTreeMap::new();
    for node in nodes {
        let hub = is_hub(world, node)?;
        let record = world.node(node)?;
        if record.hub != hub {
            was.insert(node, !record.hub && !record.blocked);
            world.change(node, |record| record.hub = hub)?;
        }
    }
    Ok(was)
}

/// What follows: `was` says of each node whose flags changed whether it counted before; the records say it of now.
pub(crate) fn flips<G: Graph>(
    world: &mut World<'_, G>,
    was: &BTreeMap<NodeId, bool>,
) -> Result<Flips, G::Error> {
    let mut flips = Flips::default();
    for node in was.keys() {
        flips.seeds.insert(*node);
        flips.anchors.insert(*node);
        if !world.kind(*node)?.person {
            flips.relink.insert(*node);
            flips.evaluate.insert(*node);
        }
        for row in world.sets(*node)?.iter() {
            let mut old = None;
            for member in &row.nodes {
                let counted = match was.get(member) {
                    Some(counted) => *counted,
                    None => {
                        let record = world.node(*member)?;
                        !record.hub && !record.blocked
                    }
                };
                if counted {
                    old = Some(*member);
                    break;
                }
            }
            let new = world.effective(&row.nodes)?.first().copied();
            flips.seeds.extend(new);
            if old == new {
                continue;
            }
            flips.anchors.extend(old);
            flips.anchors.extend(new);
            for member in &row.nodes {
                flips.seeds.insert(*member);
                if !world.kind(*member)?.person {
                    flips.relink.insert(*member);
                }
            }
            if let Some(new) = new
                && new != row.nodes[0]
                && !world.node(new)?.stands_in
            {
                world.change(new, |record| record.stands_in = true)?;
            }
        }
    }
    Ok(flips)
}
