//! Operator decisions: taken, or refused with the rule that forbids them.

use super::changes::{Changes, Refusal};
use super::flags::{self, Flips};
use super::limits::{Breach, BreachRule};
use super::repair::repair;
use super::world::{World, is_live};
use super::{apply, finish};
use crate::graph::{Graph, Operation, Verb};
use onefold_types::decision::Decision;
use onefold_types::{Identifier, NodeId};
use std::collections::{BTreeMap, BTreeSet};

type Answer<G> = Result<Result<Changes, Refusal>, <G as Graph>::Error>;

fn refuse<T>(rule: impl Into<String>, witnesses: Vec<Identifier>) -> Result<T, Refusal> {
    Err(Refusal { rule: rule.into(), witnesses })
}

/// See [`super::decide`].
pub(super) fn decide<G: Graph>(world: &mut World<'_, G>, number: u64, decision: &Decision) -> Answer<G> {
    match decision {
        Decision::Link { a, b } => two(world, number, Verb::Link, a, b),
        Decision::Cut { a, b } => two(world, number, Verb::Cut, a, b),
        Decision::Force { a, b } => two(world, number, Verb::Force, a, b),
        Decision::Block { id } => one(world, number, Verb::Block, id),
        Decision::Unblock { id } => one(world, number, Verb::Unblock, id),
        Decision::Undo { number: taken } => undo(world, *taken),
        Decision::DeleteMessage { .. } | Decision::DeleteProfile { .. } | Decision::Release { .. } => {
            Ok(refuse("this is not a decision about the graph", Vec::new()))
        }
    }
}

fn normalised<G: Graph>(world: &World<'_, G>, id: &Identifier) -> Result<Identifier, Refusal> {
    match world.rules.normalise(&id.id_type, &id.value) {
        Ok(id) => Ok(id),
        Err(_) => refuse("the identifier is blocked by the rules", vec![id.clone()]),
    }
}

fn one<G: Graph>(world: &mut World<'_, G>, number: u64, verb: Verb, id: &Identifier) -> Answer<G> {
    let id = match normalised(world, id) {
        Ok(id) => id,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let node = world.node_for(&id)?;
    let operation = Operation { number, verb, a: node, b: node, undone: false };
    take(world, operation).map(Ok)
}

fn two<G: Graph>(
    world: &mut World<'_, G>,
    number: u64,
    verb: Verb,
    a: &Identifier,
    b: &Identifier,
) -> Answer<G> {
    let (a, b) = match (normalised(world, a), normalised(world, b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(refusal), _) | (_, Err(refusal)) => return Ok(Err(refusal)),
    };
    if a == b {
        return Ok(refuse("the two identifiers are the same; expected two different ones", vec![a]));
    }
    if verb == Verb::Force && a.id_type != b.id_type {
        return Ok(refuse(
            "the two identifiers are of different types; expected two values of one type",
            vec![a, b],
        ));
    }
    if verb == Verb::Link {
        for id in [&a, &b] {
            let known = match world.graph.node_of(id)? {
                Some(node) => Some(world.node(node)?),
                None => None,
            };
            match known {
                Some(record) if record.blocked => {
                    return Ok(refuse("the identifier is blocked by an operator", vec![id.clone()]));
                }
                Some(record) if record.is_seen() => {}
                _ => return Ok(refuse("the identifier was never seen", vec![id.clone()])),
            }
        }
    }
    let (x, y) = (world.node_for(&a)?, world.node_for(&b)?);
    let operation = Operation { number, verb, a: x, b: y, undone: false };
    if verb != Verb::Link {
        return take(world, operation).map(Ok);
    }
    // Tried first: a refused link is not recorded.
    record(world, operation)?;
    let seeds = BTreeSet::from([x, y]);
    let repaired = repair(world, &seeds, &BTreeSet::new())?;
    if let Some((_, breach)) = repaired.refused_links.iter().find(|(edge, _)| edge.key.operation == number) {
        return Ok(Err(describe(world, breach)?));
    }
    let mut changes = Changes::default();
    apply(world, repaired, &Flips::default(), None, None, &mut changes)?;
    finish(world, &mut changes)?;
    Ok(Ok(changes))
}

/// Notes a decision with its identifiers.
fn record<G: Graph>(world: &mut World<'_, G>, operation: Operation) -> Result<(), G::Error> {
    for node in BTreeSet::from([operation.a, operation.b]) {
        world.change(node, |record| record.operations.push(operation.number))?;
    }
    world.set_operation(operation);
    Ok(())
}

fn take<G: Graph>(world: &mut World<'_, G>, operation: Operation) -> Result<Changes, G::Error> {
    let (a, b, verb) = (operation.a, operation.b, operation.verb);
    let mut seeds = ends(world, verb, a, b)?;
    record(world, operation)?;
    seeds.extend(ends(world, verb, a, b)?);
    consequences(world, verb, a, seeds)
}

fn undo<G: Graph>(world: &mut World<'_, G>, number: u64) -> Answer<G> {
    let operation = match world.operation(number)? {
        Some(operation) if !operation.undone => Operation::clone(&operation),
        Some(_) => return Ok(refuse(format!("decision {number} was taken back already"), Vec::new())),
        None => return Ok(refuse(format!("there is no decision {number} to take back"), Vec::new())),
    };
    let (a, b, verb) = (operation.a, operation.b, operation.verb);
    let mut seeds = ends(world, verb, a, b)?;
    world.set_operation(Operation { undone: true, ..operation });
    seeds.extend(ends(world, verb, a, b)?);
    consequences(world, verb, a, seeds).map(Ok)
}

/// Nodes whose limits a decision touches: its two, and all values that count as one with them.
fn ends<G: Graph>(
    world: &mut World<'_, G>,
    verb: Verb,
    a: NodeId,
    b: NodeId,
) -> Result<BTreeSet<NodeId>, G::Error> {
    let mut ends = BTreeSet::from([a, b]);
    if verb == Verb::Force {
        ends.extend(world.class_of(a)?);
        ends.extend(world.class_of(b)?);
    }
    Ok(ends)
}

fn consequences<G: Graph>(
    world: &mut World<'_, G>,
    verb: Verb,
    node: NodeId,
    seeds: BTreeSet<NodeId>,
) -> Result<Changes, G::Error> {
    let mut changes = Changes::default();
    let mut flips = Flips::default();
    if matches!(verb, Verb::Block | Verb::Unblock) {
        flips = block(world, node)?;
    }
    flips.seeds.extend(seeds);
    let repaired = repair(world, &flips.seeds, &flips.evaluate)?;
    apply(world, repaired, &flips, None, None, &mut changes)?;
    finish(world, &mut changes)?;
    Ok(changes)
}

/// Blocks or unblocks a node as its latest decision says, and finds what that changes for hubs.
fn block<G: Graph>(world: &mut World<'_, G>, node: NodeId) -> Result<Flips, G::Error> {
    let mut latest: Option<(u64, bool)> = None;
    for operation in world.operations_of(node)? {
        if matches!(operation.verb, Verb::Block | Verb::Unblock)
            && latest.is_none_or(|(number, _)| operation.number > number)
        {
            latest = Some((operation.number, operation.verb == Verb::Block));
        }
    }
    let blocked = latest.is_some_and(|(_, blocked)| blocked);
    let before = world.node(node)?;
    if before.blocked == blocked {
        return Ok(Flips::default());
    }
    world.change(node, |record| record.blocked = blocked)?;
    let mut was = BTreeMap::from([(node, is_live(&before) && !before.hub)]);
    let mut others = BTreeSet::new();
    if world.kind(node)?.unique {
        for row in world.sets(node)?.iter() {
            others.extend(row.nodes.iter().copied().filter(|other| *other != node));
        }
    }
    was.extend(flags::look_for_hubs(world, others)?);
    flags::flips(world, &was)
}

/// A breach in words.
pub(crate) fn describe<G: Graph>(world: &mut World<'_, G>, breach: &Breach) -> Result<Refusal, G::Error> {
    let rule = match breach.rule {
        BreachRule::Limit(kind) => {
            let limit = world.kind_at(kind);
            let name = world.kind_name(kind);
            match limit.within {
                None => format!("{name}: at most {} in one profile", limit.limit),
                Some(ms) => {
                    format!("{name}: at most {} within {} h in one profile", limit.limit, ms / 3_600_000)
                }
            }
        }
        BreachRule::Size => format!("at most {} identifiers in one profile", world.rules.size_cap()),
        BreachRule::Cut => "an operator cut the two".to_owned(),
    };
    let (a, b) = breach.witnesses;
    let witnesses = vec![world.node(a)?.id.clone(), world.node(b)?.id.clone()];
    Ok(Refusal { rule, witnesses })
}
