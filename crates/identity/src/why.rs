//! Why two identifiers are one person, or why not (I12).
//!
//! **Never here:** messages. A hop names its sets; the caller finds their rows in the stream of each set's first node.

use crate::engine::path;
use crate::engine::world::{SetRow, World, is_live};
use crate::engine::{Refusal, describe};
use crate::graph::{ForestEdge, Graph, Stamp};
use crate::rules::Rules;
use onefold_types::{Identifier, NodeId, ProfileHandle, SetId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many identifiers a search of raw evidence looks at before it gives up.
const SEARCHED_MAX: usize = 20_000;

/// One hop from an identifier to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// From here.
    pub from: Identifier,
    /// To here.
    pub to: Identifier,
    /// What says so.
    pub because: Because,
}

/// What says that two identifiers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// An operator's decision.
    Operator {
        /// Its number.
        number: u64,
    },
    /// Events.
    Events {
        /// The sets that hold both, each with the stream that keeps its rows.
        sets: Vec<(NodeId, SetId)>,
        /// The first of the events.
        first: Stamp,
    },
}

/// Why two identifiers are apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// One of them was never seen, or is blocked.
    Unknown {
        /// Which.
        id: Identifier,
    },
    /// They are in one profile.
    Together,
    /// No chain of events or decisions leads from one to the other.
    NoEvidence,
    /// The search gave up before it came from one to the other: whether a chain leads there is not known.
    TooFar {
        /// How many identifiers were looked at.
        searched: usize,
    },
    /// The chain between them breaks here.
    Rejected {
        /// The hop that was not taken.
        hop: Hop,
        /// What forbids it.
        refusal: Refusal,
    },
}

/// The hops that join two identifiers of one profile; `None` if they are not in one.
///
/// # Errors
/// What went wrong in the graph.
pub fn why<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    x: &Identifier,
    y: &Identifier,
) -> Result<Option<Vec<Hop>>, G::Error> {
    let mut world = World::new(rules, graph);
    let (Some(from), Some(to)) = (world.graph.node_of(x)?, world.graph.node_of(y)?) else { return Ok(None) };
    let handle = world.node(from)?.cluster;
    if handle != world.node(to)?.cluster {
        return Ok(None);
    }
    let Some(cluster) = world.cluster(handle)? else { return Ok(None) };
    let mut hops = Vec::new();
    let mut at = from;
    for edge in path(&cluster.forest, from, to) {
        let next = if edge.u == at { edge.v } else { edge.u };
        hops.push(hop(&mut world, at, next, &edge)?);
        at = next;
    }
    Ok(Some(hops))
}

fn hop<G: Graph>(
    world: &mut World<'_, G>,
    from: NodeId,
    to: NodeId,
    edge: &ForestEdge,
) -> Result<Hop, G::Error> {
    let because = if edge.key.operation == u64::MAX {
        let mut sets = Vec::new();
        let mut first: Option<Stamp> = None;
        for row in edge_sets(world, edge)? {
            sets.push((row.nodes[0], row.set));
            if first.as_ref().is_none_or(|known| row.first < *known) {
                first = Some(row.first.clone());
            }
        }
        Because::Events { sets, first: first.unwrap_or_else(Stamp::least) }
    } else {
        Because::Operator { number: edge.key.operation }
    };
    Ok(Hop { from: world.node(from)?.id.clone(), to: world.node(to)?.id.clone(), because })
}

/// The sets that give an edge.
fn edge_sets<G: Graph>(world: &mut World<'_, G>, edge: &ForestEdge) -> Result<Vec<SetRow>, G::Error> {
    let fewer = if world.node(edge.u)?.sets <= world.node(edge.v)?.sets { edge.u } else { edge.v };
    let mut rows = Vec::new();
    for row in world.sets(fewer)?.iter() {
        let effective = world.effective(&row.nodes)?;
        if effective.first() == Some(&edge.u) && effective.contains(&edge.v) {
            rows.push(row.clone());
        }
    }
    Ok(rows)
}

/// Why two identifiers are not in one profile: the first rejected edge on a shortest chain of raw evidence.
///
/// # Errors
/// What went wrong in the graph.
pub fn why_not<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    x: &Identifier,
    y: &Identifier,
) -> Result<WhyNot, G::Error> {
    let mut world = World::new(rules, graph);
    let mut ends = Vec::with_capacity(2);
    for id in [x, y] {
        let node = world.graph.node_of(id)?;
        let record = node.map(|node| world.node(node)).transpose()?;
        match (node, record) {
            (Some(node), Some(record)) if is_live(&record) => ends.push(node),
            _ => return Ok(WhyNot::Unknown { id: id.clone() }),
        }
    }
    let (from, to) = (ends[0], ends[1]);
    if world.node(from)?.cluster == world.node(to)?.cluster {
        return Ok(WhyNot::Together);
    }
    let path = match raw_path(&mut world, from, to)? {
        Search::Found(path) => path,
        Search::Nothing => return Ok(WhyNot::NoEvidence),
        Search::GaveUp { searched } => return Ok(WhyNot::TooFar { searched }),
    };
    for edge in path {
        if world.node(edge.0)?.cluster == world.node(edge.1.u)?.cluster
            && world.node(edge.1.u)?.cluster == world.node(edge.1.v)?.cluster
        {
            continue;
        }
        let next = if edge.1.u == edge.0 { edge.1.v } else { edge.1.u };
        let hop = hop(&mut world, edge.0, next, &edge.1)?;
        if let Some(refusal) = rejection(&mut world, &edge.1)? {
            return Ok(WhyNot::Rejected { hop, refusal });
        }
    }
    Ok(WhyNot::NoEvidence)
}

/// What forbade an edge between two clusters, at its place in the order.
fn rejection<G: Graph>(world: &mut World<'_, G>, edge: &ForestEdge) -> Result<Option<Refusal>, G::Error> {
    let mut sides = Vec::with_capacity(2);
    for end in [edge.u, edge.v] {
        let handle = world.node(end)?.cluster;
        let Some(cluster) = world.cluster(handle)? else { return Ok(None) };
        let reached = world.reach(&cluster.forest, end, edge)?;
        sides.push(world.summary_of_all(reached)?);
    }
    let (Some(Some(a)), Some(Some(b))) = (sides.first(), sides.get(1)) else { return Ok(None) };
    match world.breach(a, b) {
        Some(breach) => describe(world, &breach).map(Some),
        None => Ok(None),
    }
}

/// What a search of raw evidence came to.
enum Search {
    /// A shortest chain of edges, accepted or not: each with the end it leaves from.
    Found(Vec<(NodeId, ForestEdge)>),
    /// Everything within reach was looked at.
    Nothing,
    /// [`SEARCHED_MAX`] identifiers were looked at.
    GaveUp { searched: usize },
}

fn raw_path<G: Graph>(world: &mut World<'_, G>, from: NodeId, to: NodeId) -> Result<Search, G::Error> {
    let mut came: BTreeMap<NodeId, (NodeId, ForestEdge)> = BTreeMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(next) = open.pop_front() {
        if came.contains_key(&to) {
            break;
        }
        if came.len() > SEARCHED_MAX {
            return Ok(Search::GaveUp { searched: came.len() });
        }
        for edge in live_edges(world, next)? {
            let other = if edge.u == next { edge.v } else { edge.u };
            if other != from && !came.contains_key(&other) {
                came.insert(other, (next, edge));
                open.push_back(other);
            }
        }
    }
    let mut hops = Vec::new();
    let mut at = to;
    while let Some((before, edge)) = came.get(&at) {
        hops.push((*before, *edge));
        at = *before;
    }
    hops.reverse();
    Ok(if hops.is_empty() { Search::Nothing } else { Search::Found(hops) })
}

/// The edges of a node that count: operator links, and what its sets give under the current flags.
fn live_edges<G: Graph>(world: &mut World<'_, G>, node: NodeId) -> Result<Vec<ForestEdge>, G::Error> {
    let mut edges: BTreeMap<(NodeId, NodeId), ForestEdge> =
        world.links(node)?.into_iter().map(|edge| ((edge.u, edge.v), edge)).collect();
    let record = world.node(node)?;
    if !record.hub && !record.shared {
        for row in world.sets(node)?.iter() {
            let effective = world.effective(&row.nodes)?;
            let Some((anchor, others)) = effective.split_first() else { continue };
            for other in others.iter().filter(|other| *anchor == node || **other == node) {
                if world.node(*anchor)?.shared || world.node(*other)?.shared {
                    continue;
                }
                let edge = world.edge(*anchor, *other, row)?;
                let known = edges.entry((*anchor, *other)).or_insert(edge);
                if edge.key < known.key {
                    *known = edge;
                }
            }
        }
    }
    Ok(edges.into_values().collect())
}

/// What can be reached from an identifier over accepted edges: its cluster, nearest first, with the hops it takes.
///
/// # Errors
/// What went wrong in the graph.
pub fn reachable<G: Graph>(
    rules: &Rules,
    graph: &mut G,
    profile: ProfileHandle,
    from: &Identifier,
) -> Result<Vec<(Identifier, usize)>, G::Error> {
    let mut world = World::new(rules, graph);
    let Some(start) = world.graph.node_of(from)? else { return Ok(Vec::new()) };
    let Some(cluster) = world.cluster(profile)? else { return Ok(Vec::new()) };
    let mut seen = BTreeSet::from([start]);
    let mut open = VecDeque::from([(start, 0)]);
    let mut found = Vec::new();
    while let Some((node, hops)) = open.pop_front() {
        found.push((world.node(node)?.id.clone(), hops));
        for edge in cluster.forest.iter().filter(|edge| edge.u == node || edge.v == node) {
            let other = if edge.u == node { edge.v } else { edge.u };
            if seen.insert(other) {
                open.push_back((other, hops + 1));
            }
        }
    }
    Ok(found)
}
