//! Who is who and why, and what other rules would make of it.

use super::names::{Everybody, Named};
use super::{Calm, Mismatch, agree, read};
use crate::dice::Dice;
use crate::model::Model;
use onefold_fold::rules_change::Preview;
use onefold_identity::oracle::{Cluster, OracleOwner, Rejection, Resolution, Rule};
use onefold_identity::why::{Because, Hop, WhyNot};
use onefold_log::Entry;
use onefold_log::record::Record;
use onefold_types::{Catalogue, Identifier};
use std::collections::{BTreeMap, BTreeSet};

/// What the engine foresees of a record that changes the rules of identity, with who was who before it.
pub(super) fn rules_change(
    model: &Model,
    calm: &Calm,
    entry: &Entry,
) -> Result<Option<(Resolution, Preview)>, Mismatch> {
    let (Ok(Record::Catalogue(json)), Some(current)) = (Record::decode(&entry.payload), &model.catalogue)
    else {
        return Ok(None);
    };
    let next: Catalogue = serde_json::from_slice(&json).unwrap();
    let (old, new) = (&current.workspace.identity, &next.workspace.identity);
    if next.version.0 != current.version.0 + 1 || old == new {
        return Ok(None);
    }
    let preview = calm.reader.preview(new).map_err(|error| format!("no preview: {error}"))?;
    Ok(Some((model.resolution.clone(), preview)))
}

/// I16: what was foreseen is what happened.
pub(super) fn previewed(before: &Resolution, after: &Resolution, preview: &Preview) -> Result<(), Mismatch> {
    let several = |one: &Resolution, other: &Resolution| {
        let meets = |cluster: &Cluster| other.clusters.iter().filter(|c| !c.is_disjoint(cluster)).count();
        one.clusters.iter().filter(|cluster| meets(cluster) > 1).count()
    };
    let lacks = |one: &Resolution, other: &Resolution| {
        one.clusters.iter().flatten().filter(|id| other.cluster_of(id).is_none()).count()
    };
    agree!(before.clusters.len(), preview.profiles_before, "profiles before");
    agree!(after.clusters.len(), preview.profiles_after, "profiles after");
    agree!(several(after, before), preview.merges, "merges");
    agree!(several(before, after), preview.splits, "splits");
    agree!(lacks(before, after), preview.dropped_identifiers, "identifiers that count no more");
    agree!(lacks(after, before), preview.gained_identifiers, "identifiers that begin to count");
    let owners = |resolution: &Resolution| -> BTreeMap<String, Option<Identifier>> {
        let anchor = |owner: &OracleOwner| match owner {
            OracleOwner::Cluster(cluster) => resolution.profile_anchor.get(cluster).cloned(),
            _ => None,
        };
        resolution.owner.iter().map(|(message, owner)| (message.clone(), anchor(owner))).collect()
    };
    let (old, new) = (owners(before), owners(after));
    let moved = new.iter().filter(|(message, owner)| old.get(*message) != Some(owner)).count();
    agree!(moved, preview.moved_messages, "messages that move");
    Ok(())
}

/// Who is who: every cluster, and its profile id.
pub(super) fn clusters(model: &Model, calm: &Calm) -> Result<Everybody, Mismatch> {
    let mut everybody = Everybody::new();
    let mut handles: BTreeMap<u64, &Identifier> = BTreeMap::new();
    for cluster in &model.resolution.clusters {
        let first = cluster.first().expect("a cluster is not empty");
        let person = read(calm, |query| match query.find(&first.id_type, &first.value)? {
            Some(handle) => query.person(handle),
            None => Ok(None),
        })?;
        let Some(person) = person else {
            return Err(format!("identity: {first} is known, but the engine does not find it"));
        };
        let ids: BTreeSet<Identifier> = person.ids.iter().cloned().collect();
        agree!(cluster, &ids, "identity: who is {first}");
        if let Some(other) = handles.insert(person.handle.0, first) {
            return Err(format!("identity: {first} and {other} are two, the engine has one profile of both"));
        }
        let anchor = &model.resolution.profile_anchor[cluster];
        let generation = model.generations.get(anchor).copied().unwrap_or(0);
        let id = onefold_identity::rules::profile_id(&[7; 32], anchor, generation);
        agree!(id, person.profile_id, "identity: the profile id of {first}, made of {anchor}");
        let mut sorted = person.ids.clone();
        sorted.sort_by(|a, b| model.rules.order(a, b));
        agree!(sorted, person.ids, "identity: identifiers strongest first");
        everybody.insert(person.handle.0, Named { ids: sorted, profile_id: id });
    }
    Ok(everybody)
}

/// Why two identifiers are one person, or not.
pub(super) fn reasons(model: &Model, calm: &Calm, dice: &mut Dice) -> Result<(), Mismatch> {
    let ids: Vec<&Identifier> = model.resolution.clusters.iter().flatten().collect();
    if ids.len() < 2 {
        return Ok(());
    }
    let edges = &model.resolution.edges;
    let is = |from: &Identifier, to: &Identifier, u: &Identifier, v: &Identifier| {
        (from == u && to == v) || (from == v && to == u)
    };
    for _ in 0..3 {
        let (x, y) = (*dice.pick(&ids), *dice.pick(&ids));
        if x == y {
            continue;
        }
        let together = model.resolution.together(x, y);
        let (why, why_not) = read(calm, |query| Ok((query.why(x, y)?, query.why_not(x, y)?)))?;
        agree!(together, why.is_some(), "why: whether {x} and {y} are one");
        if let Some(hops) = &why {
            replayed(model, calm, x, y, hops)?;
        }
        for hop in why.iter().flatten() {
            let known = edges.accepted.iter().any(|edge| is(&hop.from, &hop.to, &edge.u, &edge.v));
            if !known {
                return Err(format!("why {x} is {y}: the hop {} – {} is no accepted edge", hop.from, hop.to));
            }
        }
        match why_not {
            WhyNot::Together => agree!(together, true, "why not: whether {x} and {y} are one"),
            WhyNot::Unknown { id } => return Err(format!("why not {x} and {y}: {id} is known")),
            WhyNot::NoEvidence => {
                agree!(together, false, "why not: whether {x} and {y} are one");
                if connected(model, x, y) {
                    return Err(format!(
                        "why not {x} and {y}: the engine says that nothing joins them; rejected edges: {:?}",
                        edges.rejected
                    ));
                }
            }
            WhyNot::TooFar { searched } => {
                return Err(format!(
                    "why not {x} and {y}: gave up after {searched}, with {} known",
                    ids.len()
                ));
            }
            WhyNot::Rejected { hop, refusal } => {
                let known = |r: &&Rejection| is(&hop.from, &hop.to, &r.edge.u, &r.edge.v);
                let says = |r: &Rejection| match &r.rule {
                    Rule::Cut => refusal.rule.contains(" cut "),
                    Rule::Limit { id_type } => refusal.rule.starts_with(&format!("{id_type}: ")),
                    Rule::SizeCap => refusal.rule.contains(" identifiers in one profile"),
                };
                if !edges.rejected.iter().filter(known).any(says) || !model.resolution.together(x, &hop.from)
                {
                    return Err(format!(
                        "why not {x} and {y}: {} – {} is not the first rejected edge, for `{}`; those are {:?}",
                        hop.from, hop.to, refusal.rule, edges.rejected
                    ));
                }
            }
        }
    }
    Ok(())
}

/// I12: a graph of nothing but what an explanation names joins the two, unless it has conflicts that the whole had not.
fn replayed(
    model: &Model,
    calm: &Calm,
    x: &Identifier,
    y: &Identifier,
    hops: &[Hop],
) -> Result<(), Mismatch> {
    let (mut messages, mut links) = (BTreeSet::new(), BTreeSet::new());
    for hop in hops {
        match &hop.because {
            Because::Operator { number } => {
                links.insert(*number);
                messages.extend([&hop.from, &hop.to].into_iter().filter_map(|end| model.first_with(end)));
            }
            Because::Events { sets, .. } => {
                messages.extend(read(calm, |query| query.messages_of(sets, usize::MAX))?.1);
            }
        }
    }
    let alone = model.replayed(&messages, &links);
    let conflicts = !(alone.edges.rejected.is_empty() && alone.hubs.is_empty() && alone.shared.is_empty());
    if conflicts || alone.together(x, y) {
        return Ok(());
    }
    Err(format!("why {x} is {y}: messages {messages:?} and links {links:?} do not join them"))
}

/// Whether a chain of edges, accepted or rejected, leads from one to the other.
fn connected(model: &Model, x: &Identifier, y: &Identifier) -> bool {
    let edges = &model.resolution.edges;
    let all = edges.accepted.iter().chain(edges.rejected.iter().map(|rejection| &rejection.edge));
    let all: Vec<_> = all.collect();
    let mut reached = BTreeSet::from([x]);
    loop {
        let size = reached.len();
        for edge in &all {
            if reached.contains(&edge.u) || reached.contains(&edge.v) {
                reached.extend([&edge.u, &edge.v]);
            }
        }
        if reached.len() == size {
            return reached.contains(y);
        }
    }
}
