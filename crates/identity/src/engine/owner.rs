//! Whose an event is, and which events are a profile's (identity.md 1.1 "event owner").

use super::changes::{NoOwner, Owner, Range};
use super::timeline::{login_sets, timeline_owner};
use super::world::World;
use crate::graph::{Graph, Link, Stamp};
use onefold_types::{EventRef, NodeId, ProfileHandle, SetId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

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

/// Whether whose an event with these identifiers is can depend on when it was.
pub(crate) fn varies<G: Graph>(world: &mut World<'_, G>, set: &[NodeId]) -> Result<bool, G::Error> {
    for node in set {
        let record = world.node(*node)?;
        if record.last_link.is_some() && world.cluster(record.cluster)?.is_some_and(|c| !c.has_person) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What part of what a node anchors is meant.
#[derive(Clone, Debug)]
struct Part {
    from: Stamp,
    to: Option<Stamp>,
}

impl Part {
    const fn all() -> Self {
        Self { from: Stamp::least(), to: None }
    }
}

/// Exactly the stream rows that a profile owns.
pub(crate) fn ranges<G: Graph>(
    world: &mut World<'_, G>,
    profile: ProfileHandle,
) -> Result<Vec<Range>, G::Error> {
    let mut ranges = Vec::new();
    let Some(cluster) = world.cluster(profile)? else { return Ok(ranges) };
    // Which members a device was seen with.
    let mut devices: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for member in &cluster.members {
        let record = world.node(member.node)?;
        let person = world.kind_of(&record).person;
        if person {
            for row in world.sets(member.node)?.iter() {
                for node in &row.nodes {
                    devices.entry(*node).or_default().insert(member.node);
                }
            }
        }
        if person || cluster.has_person {
            if !record.hub {
                anchored(world, member.node, &Part::all(), &mut ranges)?;
            }
        } else {
            let part = unclaimed(world, member.node)?;
            if let Some(part) = part {
                anchored(world, member.node, &part, &mut ranges)?;
            }
        }
    }
    for (device, persons) in devices {
        let record = world.node(device)?;
        let clustered = world.cluster(record.cluster)?.is_none_or(|cluster| cluster.has_person);
        if clustered || record.last_link.is_none() || world.kind_of(&record).person {
            continue;
        }
        for person in persons {
            for part in runs(world, device, person)? {
                anchored(world, device, &part, &mut ranges)?;
            }
        }
    }
    ranges.sort();
    Ok(ranges)
}

/// When the events of a device without a person are its own cluster's: as far as no login reaches.
fn unclaimed<G: Graph>(world: &mut World<'_, G>, device: NodeId) -> Result<Option<Part>, G::Error> {
    if world.node(device)?.last_link.is_none() {
        return Ok(Some(Part::all()));
    }
    let first = world.graph.link_after(device, &Stamp::least())?;
    Ok(match (first, world.rules.retro_window_ms()) {
        (Some(first), Some(window)) => {
            Some(Part { from: Stamp::least(), to: Some(reach_of(&first, window)) })
        }
        _ => None,
    })
}

/// The earliest event that a device's first login claims.
fn reach_of(first: &Link, window: i64) -> Stamp {
    Stamp { ts: first.at.ts.minus(window), message_id: String::new() }
}

/// The intervals in which `person`'s was the latest login on `device`, with what its first login claims before.
fn runs<G: Graph>(world: &mut World<'_, G>, device: NodeId, person: NodeId) -> Result<Vec<Part>, G::Error> {
    let mut logins: Vec<(Timestamp, EventRef)> = Vec::new();
    for (stream, sets) in login_sets(world, device, person)? {
        world.graph.stream(stream, Timestamp::MIN, Timestamp::MAX, &mut |row| {
            if sets.contains(&row.set) {
                logins.push((row.ts, row.at));
            }
            true
        })?;
    }
    logins.sort_unstable();
    let mut runs: BTreeMap<Stamp, Option<Stamp>> = BTreeMap::new();
    for (ts, event) in logins {
        // Most logins go on with a run that is known; only its ends need the message id.
        let inside = |(start, end): (&Stamp, &Option<Stamp>)| {
            start.ts < ts && end.as_ref().is_none_or(|end| ts < end.ts)
        };
        if runs.last_key_value().is_some_and(inside) {
            continue;
        }
        let at = Stamp { ts, message_id: world.graph.message_id(event)? };
        if let Some(link) = world.graph.link_at_or_before(device, &at)?
            && link.anchor == person
        {
            let end = world.graph.link_after(device, &link.at)?.map(|next| next.at);
            runs.insert(link.at, end);
        }
    }
    let first = world.graph.link_after(device, &Stamp::least())?;
    let mut parts = Vec::with_capacity(runs.len());
    for (start, to) in runs {
        let from = match (&first, world.rules.retro_window_ms()) {
            (Some(first), Some(window)) if first.at == start => reach_of(first, window),
            (Some(first), None) if first.at == start => Stamp::least(),
            _ => start,
        };
        parts.push(Part { from, to });
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
