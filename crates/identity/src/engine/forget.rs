//! Deletions: what the graph would be had the events never come (I10).

use super::changes::{Changes, Owner};
use super::flags::{self, Flips};
use super::owner::owner;
use super::repair::repair;
use super::timeline::{each_link, stakeholders};
use super::world::World;
use super::{apply, finish};
use crate::graph::{Evidence, Graph, Stamp};
use onefold_types::{EventRef, Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// See [`super::forget_message`].
pub(super) fn forget_message<G: Graph>(
    world: &mut World<'_, G>,
    ids: &[Identifier],
    at: &Stamp,
) -> Result<Changes, G::Error> {
    let mut changes = Changes::default();
    let mut set = Vec::with_capacity(ids.len());
    for id in ids {
        set.extend(world.graph.node_of(id)?);
    }
    if set.is_empty() || set.len() != ids.len() {
        return Ok(changes);
    }
    if let Owner::Profile(profile) = owner(world, &set, at)? {
        changes.rebuild.insert(profile);
    }
    let sets = if set.len() > 1 { BTreeSet::from([set.clone()]) } else { BTreeSet::new() };
    let nodes: BTreeSet<NodeId> = set.into_iter().collect();
    forget(world, &sets, &nodes, None, &mut changes)?;
    Ok(changes)
}

/// See [`super::forget_profile`].
pub(super) fn forget_profile<G: Graph>(
    world: &mut World<'_, G>,
    profile: ProfileHandle,
) -> Result<Changes, G::Error> {
    let mut changes = Changes::default();
    let Some(cluster) = world.cluster(profile)? else { return Ok(changes) };
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    let mut sets: BTreeSet<Vec<NodeId>> = BTreeSet::new();
    let mut devices: BTreeSet<NodeId> = BTreeSet::new();
    for member in &cluster.members {
        nodes.insert(member.node);
        world.change(member.node, |record| record.generation += 1)?;
        for row in world.sets(member.node)?.iter() {
            sets.insert(row.nodes.clone());
            devices.extend(row.nodes.iter().copied());
        }
    }
    // Events of devices that were this profile's by timeline went too.
    for device in devices {
        if nodes.contains(&device) || world.kind(device)?.person {
            continue;
        }
        let mut anchors = BTreeSet::new();
        each_link(world, device, &mut |link| {
            anchors.insert(link.anchor);
            ControlFlow::Continue(())
        })?;
        if anchors.is_disjoint(&nodes) {
            continue;
        }
        for row in world.sets(device)?.iter() {
            if world.effective(&row.nodes)?.first() == Some(&device) {
                sets.insert(row.nodes.clone());
            }
        }
        nodes.insert(device);
    }
    for set in &sets {
        nodes.extend(set.iter().copied());
    }
    forget(world, &sets, &nodes, Some(profile), &mut changes)?;
    changes.rebuild.remove(&profile);
    Ok(changes)
}

/// Rows of `sets`, or of the streams of `nodes`, were removed: finds what is left.
fn forget<G: Graph>(
    world: &mut World<'_, G>,
    sets: &BTreeSet<Vec<NodeId>>,
    nodes: &BTreeSet<NodeId>,
    retired: Option<ProfileHandle>,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    // Who had a share in a device's events, before its logins go.
    for node in nodes {
        if !world.kind(*node)?.person {
            changes.rebuild.extend(stakeholders(world, *node)?);
        }
    }
    for set in sets {
        recount_set(world, set)?;
    }
    let mut was = BTreeMap::new();
    for node in nodes {
        flags::recount_seen(world, *node)?;
        let before = world.node(*node)?;
        let first = first_event(world, *node)?;
        if first.as_ref() != Some(&before.first()) {
            let first = first.unwrap_or_else(|| Stamp { ts: Timestamp::MAX, message_id: String::new() });
            world.change(*node, |record| {
                record.first_seen = first.ts;
                record.first_message = first.message_id;
            })?;
        }
    }
    was.extend(flags::look_for_hubs(world, nodes.iter().copied())?);
    let mut flips: Flips = flags::flips(world, &was)?;
    for node in nodes {
        flips.seeds.insert(*node);
        if !world.kind(*node)?.person {
            flips.evaluate.insert(*node);
            flips.relink.insert(*node);
        }
    }
    let repaired = repair(world, &flips.seeds, &flips.evaluate)?;
    apply(world, repaired, &flips, None, retired, changes)?;
    finish(world, changes)
}

/// The evidence of a set from what its stream still has.
fn recount_set<G: Graph>(world: &mut World<'_, G>, set: &[NodeId]) -> Result<(), G::Error> {
    let Some(known) = world.graph.evidence(set)? else { return Ok(()) };
    let rows = rows_of(world, set[0], known.set)?;
    let first = earliest(world, &rows)?;
    match first {
        None => world.graph.remove_evidence(set)?,
        Some(first) => {
            let mut last_wins = false;
            for node in set {
                last_wins |= world.kind(*node)?.last_wins;
            }
            let last = rows.last().map_or(first.ts, |(ts, _)| *ts);
            let record = Evidence {
                set: known.set,
                first_seen: first.ts,
                first_message: first.message_id,
                last_seen: if last_wins { last } else { known.last_seen },
            };
            world.graph.put_evidence(set, record)?;
        }
    }
    world.evidence_changed(set);
    Ok(())
}

fn rows_of<G: Graph>(
    world: &mut World<'_, G>,
    stream: NodeId,
    set: SetId,
) -> Result<Vec<(Timestamp, EventRef)>, G::Error> {
    let mut rows = Vec::new();
    world.graph.stream(stream, Timestamp::MIN, Timestamp::MAX, &mut |row| {
        if row.set == set {
            rows.push((row.ts, row.at));
        }
        true
    })?;
    Ok(rows)
}

/// The first of rows in order of time, ties by message id.
fn earliest<G: Graph>(
    world: &mut World<'_, G>,
    rows: &[(Timestamp, EventRef)],
) -> Result<Option<Stamp>, G::Error> {
    let Some((first, _)) = rows.first() else { return Ok(None) };
    let mut earliest: Option<Stamp> = None;
    for (ts, at) in rows.iter().take_while(|(ts, _)| ts == first) {
        let stamp = Stamp { ts: *ts, message_id: world.graph.message_id(*at)? };
        if earliest.as_ref().is_none_or(|known| stamp < *known) {
            earliest = Some(stamp);
        }
    }
    Ok(earliest)
}

/// The first event that has `node`: of its sets, or alone in its own stream.
fn first_event<G: Graph>(world: &mut World<'_, G>, node: NodeId) -> Result<Option<Stamp>, G::Error> {
    let mut first = world.sets(node)?.iter().map(|row| row.first.clone()).min();
    let last = first.as_ref().map_or(Timestamp::MAX, |first| first.ts);
    let mut alone: Vec<(Timestamp, EventRef)> = Vec::new();
    world.graph.stream(node, Timestamp::MIN, last, &mut |row| {
        if row.set == SetId(0) {
            alone.push((row.ts, row.at));
        }
        alone.first().is_none_or(|(ts, _)| *ts == row.ts)
    })?;
    if let Some(stamp) = earliest(world, &alone)?
        && first.as_ref().is_none_or(|known| stamp < *known)
    {
        first = Some(stamp);
    }
    Ok(first)
}
