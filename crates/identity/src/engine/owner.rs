//! Whose an event is, and which events are a profile's (identity.md 1.1 "event owner").

use super::changes::{NoOwner, Owner, Range};
use super::timeline::{each_link, timeline_owner};
use super::world::World;
use crate::graph::{Graph, Link, NO_CLUSTER, Stamp};
use onefold_types::{NodeId, ProfileHandle, SetId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Whose an event with these identifiers is.
pub(crate) fn owner<G: Graph>(
    world: &mut World<'_, G>,
    set: &[NodeId],
    at: &Stamp,
) -> Result<Owner, G::Error> {
    let Some(anchor) = world.effective(set)?.first().copied() else {
        for node in set {
            if !world.node(*node)?.blocked {
                return Ok(Owner::None(NoOwner::Hub));
            }
        }
        return Ok(Owner::None(NoOwner::NoUsableId));
    };
    let record = world.node(anchor)?;
    let own = Owner::Profile(record.cluster);
    if world.kind_of(&record).person
        || world.cluster(record.cluster)?.is_none_or(|cluster| cluster.has_person)
    {
        return Ok(own);
    }
    match timeline_owner(world, anchor, at)? {
        Some(person) => Ok(Owner::Profile(world.node(person)?.cluster)),
        None => Ok(own),
    }
}

/// What part of what a node anchors is meant.
struct Part {
    from: Stamp,
    to: Option<Stamp>,
}

/// Exactly the stream rows that a profile owns.
pub(crate) fn ranges<G: Graph>(
    world: &mut World<'_, G>,
    profile: ProfileHandle,
) -> Result<Vec<Range>, G::Error> {
    let mut ranges = Vec::new();
    let Some(cluster) = world.cluster(profile)? else { return Ok(ranges) };
    let mut devices: BTreeSet<NodeId> = BTreeSet::new();
    for member in &cluster.members {
        let record = world.node(member.node)?;
        let person = world.kind_of(&record).person;
        if person {
            for row in world.sets(member.node)?.iter() {
                devices.extend(row.nodes.iter().copied());
            }
        }
        if person || cluster.has_person {
            if !record.hub {
                let all = Part { from: Stamp::least(), to: None };
                anchored(world, member.node, &all, &mut ranges)?;
            }
        } else {
            devices.insert(member.node);
        }
    }
    for device in devices {
        let record = world.node(device)?;
        let clustered = world.cluster(record.cluster)?.is_none_or(|cluster| cluster.has_person);
        if world.kind_of(&record).person || record.blocked || record.cluster == NO_CLUSTER || clustered {
            continue;
        }
        for part in intervals(world, device, profile)? {
            anchored(world, device, &part, &mut ranges)?;
        }
    }
    ranges.sort();
    Ok(ranges)
}

/// The intervals in which `profile` owns what a device without a person anchors.
fn intervals<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    profile: ProfileHandle,
) -> Result<Vec<Part>, G::Error> {
    let mut links: Vec<Link> = Vec::new();
    each_link(world, device, &mut |link| {
        links.push(link.clone());
        ControlFlow::Continue(())
    })?;
    let own = world.node(device)?.cluster == profile;
    let Some(first) = links.first() else {
        let all = Part { from: Stamp::least(), to: None };
        return Ok(if own { vec![all] } else { Vec::new() });
    };
    let mut parts = Vec::new();
    let mut from = Stamp::least();
    if let Some(window) = world.rules.retro_window_ms() {
        from = Stamp { ts: first.at.ts.minus(window), message_id: String::new() };
        if own {
            parts.push(Part { from: Stamp::least(), to: Some(from.clone()) });
        }
    }
    for (index, link) in links.iter().enumerate() {
        let to = links.get(index + 1).map(|next| next.at.clone());
        if world.node(link.anchor)?.cluster == profile {
            parts.push(Part { from: if index == 0 { from.clone() } else { link.at.clone() }, to });
        }
    }
    Ok(parts)
}

/// The rows that `node` anchors: its own stream, and rows of stronger identifiers that do not count.
fn anchored<G: Graph>(
    world: &mut World<'_, G>,
    node: NodeId,
    part: &Part,
    ranges: &mut Vec<Range>,
) -> Result<(), G::Error> {
    let range = |stream, sets| Range { stream, from: part.from.clone(), to: part.to.clone(), sets };
    ranges.push(range(node, None));
    if !world.node(node)?.stands_in {
        return Ok(());
    }
    let mut others: BTreeMap<NodeId, BTreeSet<SetId>> = BTreeMap::new();
    for row in world.sets(node)?.iter() {
        if row.nodes[0] != node && world.effective(&row.nodes)?.first() == Some(&node) {
            others.entry(row.nodes[0]).or_default().insert(row.set);
        }
    }
    ranges.extend(others.into_iter().map(|(stream, sets)| range(stream, Some(sets))));
    Ok(())
}
