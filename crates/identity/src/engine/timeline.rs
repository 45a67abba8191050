//! Whose a device's events are when no person is in its cluster: the latest login's, else the next login's.
//!
//! Link rows are run-length coded: a row says "from here on the latest login is this anchor's". A login that equals the
//! row before it writes nothing; one that differs writes a row, and a second row where the run it broke goes on.

use super::changes::{Changes, Transition};
use super::world::World;
use crate::graph::{Graph, Link, NO_CLUSTER, Stamp};
use onefold_types::{EventRef, NodeId, ProfileHandle, SetId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The cluster that owns what `anchor`'s events own by timeline at `at`, for a device without a person.
pub(crate) fn timeline_owner<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    at: &Stamp,
) -> Result<Option<NodeId>, G::Error> {
    let Some(newest) = world.node(device)?.last_link.clone() else { return Ok(None) };
    if newest.at <= *at {
        return Ok(Some(newest.anchor));
    }
    if let Some(before) = world.graph.link_at_or_before(device, at)? {
        return Ok(Some(before.anchor));
    }
    let Some(after) = world.graph.link_after(device, at)? else { return Ok(None) };
    Ok(reaches_back(world, &after.at, at.ts).then_some(after.anchor))
}

/// Whether a login at `login` claims an earlier event at `ts`.
fn reaches_back<G: Graph>(world: &World<'_, G>, login: &Stamp, ts: Timestamp) -> bool {
    world.rules.retro_window_ms().is_none_or(|window| ts >= login.ts.minus(window))
}

/// Every profile that may own an event that `node` anchors.
pub(crate) fn stakeholders<G: Graph>(
    world: &mut World<'_, G>,
    node: NodeId,
) -> Result<BTreeSet<ProfileHandle>, G::Error> {
    let record = world.node(node)?;
    let mut holders = BTreeSet::from([record.cluster]);
    if record.last_link.is_some() {
        let mut anchors = BTreeSet::new();
        each_link(world, node, &mut |link| {
            anchors.insert(link.anchor);
            ControlFlow::Continue(())
        })?;
        for anchor in anchors {
            holders.insert(world.node(anchor)?.cluster);
        }
    }
    holders.remove(&NO_CLUSTER);
    Ok(holders)
}

/// Shows the link rows of a device in order.
pub(crate) fn each_link<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    visit: &mut dyn FnMut(&Link) -> ControlFlow<()>,
) -> Result<(), G::Error> {
    let mut at = Stamp::least();
    while let Some(link) = world.graph.link_after(device, &at)? {
        if visit(&link).is_break() {
            break;
        }
        at = link.at;
    }
    Ok(())
}

/// An event at `at` logs `anchor` in on `device`; the event's stream row is not there yet.
pub(crate) fn add_link<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    at: &Stamp,
    anchor: NodeId,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    let newest = world.node(device)?.last_link.clone();
    let (before, after) = match newest {
        None => (None, None),
        Some(newest) if newest.at <= *at => (Some(newest), None),
        Some(_) => (world.graph.link_at_or_before(device, at)?, world.graph.link_after(device, at)?),
    };
    if before.as_ref().is_some_and(|before| before.anchor == anchor) {
        return Ok(());
    }
    let link = Link { at: at.clone(), anchor };
    world.graph.put_link(device, &link)?;
    let resumed = match (&before, &after) {
        // With no later row and no later event of the old anchor nothing goes on; a stream knows.
        (Some(before), _) => {
            next_login(world, device, before.anchor, at, after.as_ref().map(|after| &after.at))?
        }
        (None, _) => None,
    };
    let mut until = after.clone();
    if let (Some(resumed), Some(before)) = (resumed, &before) {
        let again = Link { at: resumed, anchor: before.anchor };
        world.graph.put_link(device, &again)?;
        until = Some(again);
    } else if let Some(after) = &after
        && after.anchor == anchor
    {
        world.graph.remove_link(device, &after.at)?;
        until = world.graph.link_after(device, &after.at)?;
    }
    let newest = match &until {
        None => Some(link),
        Some(_) => world.graph.link_at_or_before(device, &end_of_time())?,
    };
    world.change(device, |record| record.last_link = newest)?;
    moved(world, device, at, anchor, (before, after, until), changes)
}

fn end_of_time() -> Stamp {
    Stamp { ts: Timestamp::MAX, message_id: String::from(char::MAX) }
}

/// Notes whose events a new login took.
fn moved<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    at: &Stamp,
    anchor: NodeId,
    (before, after, until): (Option<Link>, Option<Link>, Option<Link>),
    changes: &mut Changes,
) -> Result<(), G::Error> {
    let record = world.node(device)?;
    if world.cluster(record.cluster)?.is_some_and(|cluster| cluster.has_person) {
        return Ok(());
    }
    let to = world.node(anchor)?.cluster;
    let (since, old) = match (&before, &after) {
        (Some(before), _) => (at.clone(), before.anchor),
        (None, Some(after)) => (Stamp::least(), after.anchor),
        (None, None) => (Stamp::least(), device),
    };
    let from = world.node(old)?.cluster;
    if from == to && (before.is_some() || world.rules.retro_window_ms().is_none()) {
        return Ok(());
    }
    let until = until.map(|link| link.at);
    if record.stands_in || has_rows(world, device, &since, until.as_ref())? {
        // The device's own cluster owns what no login reaches back to.
        let owners = if before.is_none() { vec![from, to, record.cluster] } else { vec![from, to] };
        changes.rebuild.extend(owners.into_iter().filter(|owner| *owner != NO_CLUSTER));
        let some = |handle: ProfileHandle| (handle != NO_CLUSTER).then_some(handle);
        if from != to {
            changes.transitions.push(Transition::Moved {
                device,
                from: some(from),
                to: some(to),
                since,
                until,
            });
        }
    }
    Ok(())
}

/// Whether the device's own stream has an event from `since` up to, not including, `until`.
fn has_rows<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    since: &Stamp,
    until: Option<&Stamp>,
) -> Result<bool, G::Error> {
    let last = until.map_or(Timestamp::MAX, |until| until.ts);
    let mut sure = false;
    let mut edge: Vec<(Timestamp, EventRef)> = Vec::new();
    world.graph.stream(device, since.ts, last, &mut |row| {
        let on_edge = row.ts == since.ts || until.is_some_and(|until| until.ts == row.ts);
        if on_edge {
            edge.push((row.ts, row.at));
        }
        sure = !on_edge;
        !sure
    })?;
    for (ts, at) in edge {
        let stamp = Stamp { ts, message_id: world.graph.message_id(at)? };
        if sure || (stamp >= *since && until.is_none_or(|until| stamp < *until)) {
            return Ok(true);
        }
    }
    Ok(sure)
}

/// The sets that log `anchor` in on `device`, by the stream that keeps them.
pub(crate) fn login_sets<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    anchor: NodeId,
) -> Result<BTreeMap<NodeId, BTreeSet<SetId>>, G::Error> {
    let fewer = if world.node(device)?.sets <= world.node(anchor)?.sets { device } else { anchor };
    let mut by_stream: BTreeMap<NodeId, BTreeSet<SetId>> = BTreeMap::new();
    for row in world.sets(fewer)?.iter() {
        if row.nodes.contains(&device) && world.effective(&row.nodes)?.first() == Some(&anchor) {
            by_stream.entry(row.nodes[0]).or_default().insert(row.set);
        }
    }
    Ok(by_stream)
}

/// The next event after `at`, and before `until`, that logs `anchor` in on `device`.
fn next_login<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    anchor: NodeId,
    at: &Stamp,
    until: Option<&Stamp>,
) -> Result<Option<Stamp>, G::Error> {
    let mut next: Option<Stamp> = None;
    let last = until.map_or(Timestamp::MAX, |until| until.ts);
    if !world.node(anchor)?.stands_in {
        // All that it anchors lies in its own stream: mostly nothing is that late, and no set needs to be read.
        let mut any = false;
        world.graph.stream(anchor, at.ts, last, &mut |_| {
            any = true;
            false
        })?;
        if !any {
            return Ok(None);
        }
    }
    for (stream, sets) in login_sets(world, device, anchor)? {
        let mut found: Vec<(Timestamp, EventRef)> = Vec::new();
        world.graph.stream(stream, at.ts, last, &mut |row| {
            if found.iter().any(|(ts, _)| *ts > at.ts && row.ts > *ts) {
                return false;
            }
            if sets.contains(&row.set) {
                found.push((row.ts, row.at));
            }
            true
        })?;
        for (ts, event) in found {
            let stamp = Stamp { ts, message_id: world.graph.message_id(event)? };
            let inside = stamp > *at && until.is_none_or(|until| stamp < *until);
            if inside && next.as_ref().is_none_or(|next| stamp < *next) {
                next = Some(stamp);
            }
        }
    }
    Ok(next)
}

/// Builds the link rows of a device anew from the streams. `now` is an event whose row is not there yet.
pub(crate) fn rebuild_links<G: Graph>(
    world: &mut World<'_, G>,
    device: NodeId,
    now: Option<(&[NodeId], &Stamp)>,
) -> Result<(), G::Error> {
    let mut sets: BTreeMap<NodeId, BTreeMap<SetId, NodeId>> = BTreeMap::new();
    for row in world.sets(device)?.iter() {
        let Some(anchor) = world.effective(&row.nodes)?.first().copied() else { continue };
        if world.kind(anchor)?.person {
            sets.entry(row.nodes[0]).or_default().insert(row.set, anchor);
        }
    }
    let mut logins: Vec<(Stamp, NodeId)> = Vec::new();
    for (stream, anchors) in sets {
        let mut found = Vec::new();
        world.graph.stream(stream, Timestamp::MIN, Timestamp::MAX, &mut |row| {
            if let Some(anchor) = anchors.get(&row.set) {
                found.push((row.ts, row.at, *anchor));
            }
            true
        })?;
        for (ts, at, anchor) in found {
            logins.push((Stamp { ts, message_id: world.graph.message_id(at)? }, anchor));
        }
    }
    if let Some((set, at)) = now
        && set.contains(&device)
        && let Some(anchor) = world.effective(set)?.first().copied()
        && world.kind(anchor)?.person
    {
        logins.push((at.clone(), anchor));
    }
    logins.sort();
    logins.dedup();
    let mut rows: Vec<Link> = Vec::new();
    for (at, anchor) in logins {
        if rows.last().is_none_or(|last| last.anchor != anchor) {
            rows.push(Link { at, anchor });
        }
    }
    let mut old = Vec::new();
    each_link(world, device, &mut |link| {
        old.push(link.clone());
        ControlFlow::Continue(())
    })?;
    for link in old.iter().filter(|link| !rows.contains(link)) {
        world.graph.remove_link(device, &link.at)?;
    }
    for link in rows.iter().filter(|link| !old.contains(link)) {
        world.graph.put_link(device, link)?;
    }
    let newest = rows.pop();
    if world.node(device)?.last_link != newest {
        world.change(device, |record| record.last_link = newest)?;
    }
    Ok(())
}
