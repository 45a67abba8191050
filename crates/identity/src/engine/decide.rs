//! Operator decisions: judged when they come, and taken; or only taken, when an accepted one is replayed.
//!
//! A decision that was accepted stays in force whatever comes later: a later event may make what it says impossible, and
//! still later ones possible again. So a replay must not judge it anew: it would refuse what is only held back.

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
type Judged<G> = Result<Result<(), Refusal>, <G as Graph>::Error>;

fn refuse<T>(rule: impl Into<String>, witnesses: Vec<Identifier>) -> Result<T, Refusal> {
    Err(Refusal { rule: rule.into(), witnesses })
}

/// See [`super::decide`].
pub(super) fn decide<G: Graph>(world: &mut World<'_, G>, number: u64, decision: &Decision) -> Answer<G> {
    if let Err(refusal) = judge(world, decision)? {
        return Ok(Err(refusal));
    }
    enact(world, number, decision, true)
}

/// See [`super::take`].
pub(super) fn take<G: Graph>(
    world: &mut World<'_, G>,
    number: u64,
    decision: &Decision,
) -> Result<Changes, G::Error> {
    // Nothing is refused where nothing is judged.
    Ok(enact(world, number, decision, false)?.unwrap_or_default())
}

/// Everything that forbids a decision but what a link's place in the order forbids: that is tried.
fn judge<G: Graph>(world: &mut World<'_, G>, decision: &Decision) -> Judged<G> {
    match decision {
        Decision::Link { a, b } => match two(world, a, b) {
            Ok((a, b)) => judge_link(world, &a, &b),
            Err(refusal) => Ok(Err(refusal)),
        },
        Decision::Cut { a, b } => Ok(two(world, a, b).map(|_| ())),
        Decision::Force { a, b } => Ok(two(world, a, b).and_then(|(a, b)| {
            if a.id_type == b.id_type {
                return Ok(());
            }
            refuse("the two identifiers are of different types; expected two values of one type", vec![a, b])
        })),
        Decision::Block { id } | Decision::Unblock { id } => Ok(normalised(world, id).map(|_| ())),
        Decision::Undo { number } => match world.operation(*number)? {
            Some(operation) if operation.undone => {
                Ok(refuse(format!("decision {number} was taken back already"), Vec::new()))
            }
            Some(_) => Ok(Ok(())),
            None => Ok(refuse(format!("there is no decision {number} to take back"), Vec::new())),
        },
        Decision::DeleteMessage { .. }
        | Decision::DeleteProfile { .. }
        | Decision::IssueCustomerKey { .. }
        | Decision::Release { .. } => Ok(refuse("this is not a decision about the graph", Vec::new())),
    }
}

fn normalised<G: Graph>(world: &World<'_, G>, id: &Identifier) -> Result<Identifier, Refusal> {
    match world.rules.normalise(&id.id_type, &id.value) {
        Ok(id) => Ok(id),
        Err(_) => refuse("the identifier is blocked by the rules", vec![id.clone()]),
    }
}

fn two<G: Graph>(
    world: &World<'_, G>,
    a: &Identifier,
    b: &Identifier,
) -> Result<(Identifier, Identifier), Refusal> {
    let (a, b) = (normalised(world, a)?, normalised(world, b)?);
    if a == b {
        return refuse("the two identifiers are the same; expected two different ones", vec![a]);
    }
    Ok((a, b))
}

fn judge_link<G: Graph>(world: &mut World<'_, G>, a: &Identifier, b: &Identifier) -> Judged<G> {
    for id in [a, b] {
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
    Ok(Ok(()))
}

/// Records a decision and finds what follows. One that `may_fail` and is a link that its place in the order forbids is
/// refused, and nothing is written.
fn enact<G: Graph>(world: &mut World<'_, G>, number: u64, decision: &Decision, may_fail: bool) -> Answer<G> {
    let operation = match decision {
        Decision::Link { a, b } => between(world, number, Verb::Link, a, b)?,
        Decision::Cut { a, b } => between(world, number, Verb::Cut, a, b)?,
        Decision::Force { a, b } => between(world, number, Verb::Force, a, b)?,
        Decision::Block { id } => about(world, number, Verb::Block, id)?,
        Decision::Unblock { id } => about(world, number, Verb::Unblock, id)?,
        Decision::Undo { number } => return undo(world, *number).map(Ok),
        Decision::DeleteMessage { .. }
        | Decision::DeleteProfile { .. }
        | Decision::IssueCustomerKey { .. }
        | Decision::Release { .. } => {
            return Ok(Ok(Changes::default()));
        }
    };
    let (a, b, verb) = (operation.a, operation.b, operation.verb);
    let mut seeds = ends(world, verb, a, b)?;
    record(world, operation)?;
    seeds.extend(ends(world, verb, a, b)?);
    let refusable = (may_fail && verb == Verb::Link).then_some(number);
    consequences(world, verb, a, seeds, refusable)
}

/// A decision about two identifiers on nodes; one that means nothing under these rules is kept, so that it can be taken
/// back.
fn between<G: Graph>(
    world: &mut World<'_, G>,
    number: u64,
    verb: Verb,
    a: &Identifier,
    b: &Identifier,
) -> Result<Operation, G::Error> {
    let Ok((a, b)) = two(world, a, b) else { return Ok(void(number)) };
    let (a, b) = (world.node_for(&a)?, world.node_for(&b)?);
    Ok(Operation { number, verb, a, b, undone: false })
}

fn about<G: Graph>(
    world: &mut World<'_, G>,
    number: u64,
    verb: Verb,
    id: &Identifier,
) -> Result<Operation, G::Error> {
    let Ok(id) = normalised(world, id) else { return Ok(void(number)) };
    let node = world.node_for(&id)?;
    Ok(Operation { number, verb, a: node, b: node, undone: false })
}

fn void(number: u64) -> Operation {
    Operation { number, verb: Verb::Void, a: NodeId::default(), b: NodeId::default(), undone: false }
}

/// Notes a decision with its identifiers.
fn record<G: Graph>(world: &mut World<'_, G>, operation: Operation) -> Result<(), G::Error> {
    if operation.verb != Verb::Void {
        for node in BTreeSet::from([operation.a, operation.b]) {
            world.change(node, |record| record.operations.push(operation.number))?;
        }
    }
    world.set_operation(operation);
    Ok(())
}

fn undo<G: Graph>(world: &mut World<'_, G>, number: u64) -> Result<Changes, G::Error> {
    let operation = match world.operation(number)? {
        Some(operation) if !operation.undone => Operation::clone(&operation),
        _ => return Ok(Changes::default()),
    };
    let (a, b, verb) = (operation.a, operation.b, operation.verb);
    let mut seeds = ends(world, verb, a, b)?;
    world.set_operation(Operation { undone: true, ..operation });
    seeds.extend(ends(world, verb, a, b)?);
    Ok(consequences(world, verb, a, seeds, None)?.unwrap_or_default())
}

/// Nodes whose limits a decision touches: its two, and all values that count as one with them.
fn ends<G: Graph>(
    world: &mut World<'_, G>,
    verb: Verb,
    a: NodeId,
    b: NodeId,
) -> Result<BTreeSet<NodeId>, G::Error> {
    if verb == Verb::Void {
        return Ok(BTreeSet::new());
    }
    let mut ends = BTreeSet::from([a, b]);
    if verb == Verb::Force {
        ends.extend(world.class_of(a)?);
        ends.extend(world.class_of(b)?);
    }
    Ok(ends)
}

/// What follows from a decision's beginning or ceasing to count; `refusable` is a link that must not be rejected.
fn consequences<G: Graph>(
    world: &mut World<'_, G>,
    verb: Verb,
    node: NodeId,
    seeds: BTreeSet<NodeId>,
    refusable: Option<u64>,
) -> Answer<G> {
    let mut changes = Changes::default();
    let mut flips = Flips::default();
    if matches!(verb, Verb::Block | Verb::Unblock) {
        flips = block(world, node)?;
    }
    flips.seeds.extend(seeds);
    let repaired = repair(world, &flips.seeds, &flips.evaluate)?;
    if let Some(number) = refusable {
        let rejected = repaired.refused_links.iter().find(|(edge, _)| edge.key.operation == number);
        if let Some((_, breach)) = rejected {
            return Ok(Err(describe(world, breach)?));
        }
    }
    apply(world, repaired, &flips, None, None, &mut changes)?;
    finish(world, &mut changes)?;
    Ok(Ok(changes))
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
                    format!("{name}: at most {} within {} in one profile", limit.limit, written(ms))
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

/// A duration as a workspace writes it.
fn written(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (length, unit) = units.into_iter().find(|(length, _)| ms % length == 0).unwrap_or((1, "ms"));
    format!("{}{unit}", ms / length)
}
