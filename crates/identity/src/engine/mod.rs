//! The incremental engine: after every step the graph equals the naive resolution of everything seen so far (I4).
//!
//! [`observe`] folds one event, [`decide`] one operator decision, [`take`] one that was accepted before,
//! [`forget_message`] and [`forget_profile`] a deletion.
//! Each answers with [`Changes`]; [`owner_of`] and [`owned_ranges`] say whose events are.
//!
//! **Never here:** I/O, a clock, randomness, message bodies. All reads and writes go through [`Graph`].
//!
//! # Why it is exact
//!
//! - **L1 (heredity):** a subset of a legal cluster is legal, so a superset of an illegal one is illegal. Hence no edge
//!   inside a final cluster was ever rejected, the forest is the minimum spanning forest in canonical order, and an edge
//!   that is added, or made earlier, inside one final cluster changes no decision elsewhere.
//! - **L2:** a new edge between two final clusters whose union is legal merges them and changes nothing else.
//! - **L3:** otherwise the clusters at the edge's place decide. Illegal union: rejected, nothing changes. Legal: `repair`
//!   runs the definition again on the clusters touched, and on those alone that it changes.
//! - Hubs depend on direct sightings only; shared devices on the person clusters of the first phase only; so the three
//!   are found in that order, and a flip of either is a change of the edges at known nodes.
//!
//! The usual event, whose identifiers were all seen together before, reads its nodes and its set and writes nothing.
//!
//! Start with [`observe`], then `draft` (L1–L3), then `repair`.

mod changes;
mod decide;
mod draft;
mod flags;
mod forget;
mod limits;
mod owner;
mod repair;
mod settle;
mod sides;
mod timeline;
mod ways;
pub(crate) mod world;

pub use changes::{Changes, NoOwner, Observed, Owner, Range, Refusal, Transition};

use crate::graph::{Evidence, Graph, Stamp};
use crate::rules::Rules;
use draft::{Draft, Placed};
use flags::Flips;
use onefold_types::decision::Decision;
use onefold_types::{Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use repair::Repaired;
use settle::NewCluster;
use std::collections::{BTreeMap, BTreeSet};
use world::{SetRow, World, is_live};

pub(crate) use decide::describe;
pub(crate) use draft::path;

/// Folds an event with these usable identifiers, sorted as [`Rules::usable`] sorts them; its stream row comes after.
///
/// # Errors
/// What went wrong in the graph.
pub fn observe<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    ids: &[Identifier],
    ts: Timestamp,
    message_id: &str,
) -> Result<Observed, G::Error> {
    let mut changes = Changes::default();
    if ids.is_empty() {
        return Ok(Observed {
            stream: None,
            set: SetId(0),
            owner: Owner::None(NoOwner::NoUsableId),
            changes,
        });
    }
    let mut world = World::new(rules, graph);
    let world = &mut world;
    let at = Stamp::new(ts, message_id);
    let mut set = Vec::with_capacity(ids.len());
    for id in ids {
        set.push(world.node_for(id)?);
    }
    let news = notice(world, &set, &at)?;
    if news.matters() {
        take_in(world, &set, &at, &news, &mut changes)?;
    }
    log_in(world, &set, &at, &mut changes)?;
    let owner = owner::owner(world, &set, &at)?;
    finish(world, &mut changes)?;
    Ok(Observed { stream: set.first().copied(), set: news.row.set, owner, changes })
}

/// What an event says that was not known.
struct News {
    row: SetRow,
    /// The set was never seen.
    new_set: bool,
    /// Its edges are new or earlier in the order.
    edges: bool,
    /// Identifiers that are in no cluster yet, or whose first event this is now.
    fresh: Vec<NodeId>,
    /// More than edges changed: an identifier with a windowed limit is older than was known, or one that an operator
    /// linked was not seen before.
    repair: bool,
}

impl News {
    const fn matters(&self) -> bool {
        self.new_set || self.edges || !self.fresh.is_empty()
    }
}

/// Notes sightings in nodes and evidence.
fn notice<G: Graph>(world: &mut World<'_, G>, set: &[NodeId], at: &Stamp) -> Result<News, G::Error> {
    let mut fresh = Vec::new();
    let mut repair = false;
    let mut last_wins = false;
    for node in set {
        let record = world.node(*node)?;
        let kind = world.kind_of(&record);
        last_wins |= kind.last_wins;
        if *at < record.first() {
            // One that comes back, or comes after a decision named it, may have links in force.
            let decided = !record.is_seen() && !record.operations.is_empty();
            repair |= decided || (is_live(&record) && kind.within.is_some());
            world.change(*node, |record| {
                record.first_seen = at.ts;
                record.first_message.clone_from(&at.message_id);
            })?;
            fresh.push(*node);
        }
    }
    let row = |set_id, first: &Stamp, last_seen| SetRow {
        nodes: set.to_vec(),
        set: set_id,
        first: first.clone(),
        last_seen,
    };
    if set.len() < 2 {
        return Ok(News { row: row(SetId(0), at, at.ts), new_set: false, edges: false, fresh, repair });
    }
    let (known, new_set) = match world.graph.evidence(set)? {
        Some(known) => (Evidence::clone(&known), false),
        None => {
            let evidence = Evidence {
                set: world.graph.next_set(),
                first_seen: at.ts,
                first_message: at.message_id.clone(),
                last_seen: at.ts,
            };
            (evidence, true)
        }
    };
    let first = Stamp::new(known.first_seen, &known.first_message);
    let earlier = *at < first;
    let later = last_wins && at.ts > known.last_seen;
    let edges = new_set || later || at.ts < known.first_seen;
    let first = if earlier { at.clone() } else { first };
    let last_seen = if later { at.ts } else { known.last_seen };
    if new_set || earlier || later {
        let record = Evidence {
            set: known.set,
            first_seen: first.ts,
            first_message: first.message_id.clone(),
            last_seen,
        };
        world.graph.put_evidence(set, record)?;
        world.evidence_changed(set);
    }
    if new_set {
        for node in set {
            world.change(*node, |record| record.sets = record.sets.saturating_add(1))?;
        }
        flags::note_seen(world, set)?;
    }
    Ok(News { row: row(known.set, &first, last_seen), new_set, edges, fresh, repair })
}

/// Finds the clusters after the news.
fn take_in<G: Graph>(
    world: &mut World<'_, G>,
    set: &[NodeId],
    at: &Stamp,
    news: &News,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    let mut was = BTreeMap::new();
    if news.new_set {
        was = flags::look_for_hubs(world, set.iter().copied())?;
        if let Some(anchor) = world.effective(set)?.first().copied()
            && anchor != set[0]
        {
            world.change(anchor, |record| record.stands_in = true)?;
        }
    }
    if was.is_empty() && !news.repair {
        let mut draft = Draft::default();
        if place(world, &mut draft, set, news)? == Placed::Done {
            let (old, new) = draft.finish();
            return settle::settle(world, &old, new, None, changes);
        }
    }
    let mut flips = flags::flips(world, &was)?;
    flips.seeds.extend(set.iter().copied());
    flips.evaluate.extend(set.iter().copied());
    let repaired = repair::repair(world, &flips.seeds, &flips.evaluate)?;
    apply(world, repaired, &flips, Some((set, at)), None, changes)
}

/// Places the edges of a set one by one.
fn place<G: Graph>(
    world: &mut World<'_, G>,
    draft: &mut Draft,
    set: &[NodeId],
    news: &News,
) -> Result<Placed, G::Error> {
    for node in &news.fresh {
        if !world.node(*node)?.blocked {
            draft.touch(world, *node)?;
        }
    }
    if !news.edges {
        return Ok(Placed::Done);
    }
    let effective = world.effective(set)?;
    let Some((anchor, others)) = effective.split_first() else { return Ok(Placed::Done) };
    let mut device_edges = Vec::new();
    for other in others {
        let edge = world.edge(*anchor, *other, &news.row)?;
        if !edge.personal {
            device_edges.push(edge);
        } else if draft.place(world, edge)? == Placed::NeedsRepair {
            return Ok(Placed::NeedsRepair);
        }
    }
    if !draft.labels_hold(world, set)? {
        return Ok(Placed::NeedsRepair);
    }
    for edge in device_edges {
        let shared = world.node(edge.u)?.shared || world.node(edge.v)?.shared;
        if !shared && draft.place(world, edge)? == Placed::NeedsRepair {
            return Ok(Placed::NeedsRepair);
        }
    }
    Ok(Placed::Done)
}

/// Writes what a repair found, and what follows for logins and for whose events are.
fn apply<G: Graph>(
    world: &mut World<'_, G>,
    repaired: Repaired,
    flips: &Flips,
    now: Option<(&[NodeId], &Stamp)>,
    retired: Option<ProfileHandle>,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    for (device, shared) in &repaired.labels {
        world.change(*device, |record| record.shared = *shared)?;
    }
    let new = repaired.clusters.into_iter().map(|(members, forest)| NewCluster { members, forest }).collect();
    settle::settle(world, &repaired.handles, new, retired, changes)?;
    let affected: BTreeSet<NodeId> = flips.anchors.union(&flips.relink).copied().collect();
    for node in &affected {
        changes.rebuild.extend(timeline::stakeholders(world, *node)?);
    }
    for device in &flips.relink {
        timeline::rebuild_links(world, *device, now)?;
        changes.rebuild.extend(timeline::stakeholders(world, *device)?);
    }
    Ok(())
}

/// An event that a person anchors logs that person in on its devices.
fn log_in<G: Graph>(
    world: &mut World<'_, G>,
    set: &[NodeId],
    at: &Stamp,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    if set.len() < 2 {
        return Ok(());
    }
    let Some(anchor) = world.effective(set)?.first().copied() else { return Ok(()) };
    if !world.kind(anchor)?.person {
        return Ok(());
    }
    for node in set {
        if !world.kind(*node)?.person {
            timeline::add_link(world, *node, at, anchor, changes)?;
        }
    }
    Ok(())
}

/// Writes nodes and decisions; a profile that merged into another needs no rebuild of its own.
fn finish<G: Graph>(world: &mut World<'_, G>, changes: &mut Changes) -> Result<(), G::Error> {
    world.flush()?;
    for transition in &changes.transitions {
        if let Transition::Merged { from, .. } = transition {
            changes.rebuild.remove(from);
        }
    }
    Ok(())
}

/// Takes an operator decision, under `number`, or refuses it and changes nothing.
///
/// # Errors
/// What went wrong in the graph.
pub fn decide<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    number: u64,
    decision: &Decision,
) -> Result<Result<Changes, Refusal>, G::Error> {
    decide::decide(&mut World::new(rules, graph), number, decision)
}

/// Takes a decision that was accepted under `number` when it came, without judging it again: for a replay, whatever its
/// order, and for other rules. It stays in force also where it has no effect now: a link that a limit, the size cap or a
/// cut forbids joins as soon as nothing forbids it. A deletion is not about the graph and does nothing.
///
/// # Errors
/// What went wrong in the graph.
pub fn take<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    number: u64,
    decision: &Decision,
) -> Result<Changes, G::Error> {
    decide::take(&mut World::new(rules, graph), number, decision)
}

/// Takes back an event whose stream row the caller has removed.
///
/// # Errors
/// What went wrong in the graph.
pub fn forget_message<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    ids: &[Identifier],
    ts: Timestamp,
    message_id: &str,
) -> Result<Changes, G::Error> {
    forget::forget_message(&mut World::new(rules, graph), ids, &Stamp::new(ts, message_id))
}

/// Forgets a profile, all of whose stream rows ([`owned_ranges`]) the caller has removed: its identifiers get a higher
/// generation, and go if no other profile's event has them.
///
/// # Errors
/// What went wrong in the graph.
pub fn forget_profile<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    profile: ProfileHandle,
) -> Result<Changes, G::Error> {
    forget::forget_profile(&mut World::new(rules, graph), profile)
}

/// Whose an event with these nodes is.
///
/// # Errors
/// What went wrong in the graph.
pub fn owner_of<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    set: &[NodeId],
    at: &Stamp,
) -> Result<Owner, G::Error> {
    owner::owner(&mut World::new(rules, graph), set, at)
}

/// Whether [`owner_of`] these nodes can differ from one time to another: if one is a device that goes by timeline.
///
/// # Errors
/// What went wrong in the graph.
pub fn owner_varies<G: Graph>(rules: &Rules, graph: &mut G, set: &[NodeId]) -> Result<bool, G::Error> {
    owner::varies(&mut World::new(rules, graph), set)
}

/// Exactly the stream rows that a profile owns.
///
/// # Errors
/// What went wrong in the graph.
pub fn owned_ranges<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    profile: ProfileHandle,
) -> Result<Vec<Range>, G::Error> {
    owner::ranges(&mut World::new(rules, graph), profile)
}
