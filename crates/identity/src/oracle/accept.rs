//! Operator decisions: which are in force, and which are refused (I7, I11); deletions (I10).

use super::{OracleEvent, OracleOwner, Rule, resolve};
use crate::rules::Rules;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use onefold_types::workspace::Scope;
use std::collections::{BTreeMap, BTreeSet};

/// The decisions that count, normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Links by number.
    pub links: Vec<(Identifier, Identifier, u64)>,
    /// Cut pairs.
    pub cuts: Vec<(Identifier, Identifier)>,
    /// Pairs of values that count as one for the limit of their type.
    pub forced: Vec<(Identifier, Identifier)>,
    /// Blocked identifiers.
    pub blocked: BTreeSet<Identifier>,
    /// Ids of deleted messages.
    pub deleted: BTreeSet<String>,
}

impl InForce {
    /// Whether an operator cut these two.
    #[must_use]
    pub fn is_cut(&self, x: &Identifier, y: &Identifier) -> bool {
        self.cuts.iter().any(|(a, b)| (a, b) == (x, y) || (a, b) == (y, x))
    }

    /// The one value that stands for all that count as one with `id`, whoever is in whichever cluster.
    #[must_use]
    pub fn class_of(&self, id: &Identifier) -> Identifier {
        let mut class = BTreeSet::from([id.clone()]);
        loop {
            let size = class.len();
            for (a, b) in &self.forced {
                if class.contains(a) || class.contains(b) {
                    class.extend([a.clone(), b.clone()]);
                }
            }
            if class.len() == size {
                return class.into_iter().next().unwrap_or_else(|| id.clone());
            }
        }
    }
}

/// Which of the accepted decisions count: not those that were taken back, nor a link or cut with a later one of the same
/// pair, nor a block or unblock with a later one of the same identifier.
#[must_use]
pub fn in_force(operations: &[(u64, Decision)], rules: &Rules) -> InForce {
    let taken_back: BTreeSet<u64> = operations.iter().filter_map(|(_, decision)| undone(decision)).collect();
    let mut by_number: Vec<&(u64, Decision)> = operations.iter().collect();
    by_number.sort_by_key(|(number, _)| *number);
    let normal = |id: &Identifier| rules.normalise(&id.id_type, &id.value).ok();
    let mut found = InForce::default();
    let mut pairs: BTreeMap<(Identifier, Identifier), Option<u64>> = BTreeMap::new();
    for (number, decision) in by_number.into_iter().filter(|(number, _)| !taken_back.contains(number)) {
        match decision {
            Decision::Link { a, b } | Decision::Cut { a, b } => {
                if let (Some(a), Some(b)) = (normal(a), normal(b)) {
                    let link = matches!(decision, Decision::Link { .. }).then_some(*number);
                    pairs.insert(if a < b { (a, b) } else { (b, a) }, link);
                }
            }
            Decision::Force { a, b } => found.forced.extend(normal(a).zip(normal(b))),
            Decision::Block { id } => found.blocked.extend(normal(id)),
            Decision::Unblock { id } => {
                if let Some(id) = normal(id) {
                    found.blocked.remove(&id);
                }
            }
            Decision::DeleteMessage { message_id } => {
                found.deleted.insert(message_id.clone());
            }
            // What a deletion of a profile removes depends on when it was asked for: see `without_profile`.
            Decision::Undo { .. }
            | Decision::DeleteProfile { .. }
            | Decision::IssueCustomerKey { .. }
            | Decision::Release { .. } => {}
        }
    }
    for ((a, b), link) in pairs {
        match link {
            Some(number) => found.links.push((a, b, number)),
            None => found.cuts.push((a, b)),
        }
    }
    found.links.sort_by_key(|(_, _, number)| *number);
    found
}

const fn undone(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Undo { number } => Some(*number),
        _ => None,
    }
}

/// Why a decision is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that forbids it.
    pub rule: RefusedRule,
    /// The identifiers that show it.
    pub witnesses: Vec<Identifier>,
}

/// What forbids a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedRule {
    /// The rules block the value: there is no such identifier.
    Blocked,
    /// An operator blocks the identifier, so it cannot be linked.
    BlockedByOperator,
    /// No event has the identifier.
    NeverSeen,
    /// The two are one identifier.
    Same,
    /// The two are of different types.
    DifferentTypes,
    /// A limit, the size cap or a cut keeps the two apart.
    Apart(Rule),
    /// There is no decision of that number that can be taken back.
    NotThere,
    /// The decision was taken back already.
    Undone,
    /// The profile owns no event: it is no person's.
    OwnsNothing,
    /// The profile has no identifier of a person.
    Anonymous,
}

/// Whether `decision` would be taken after `operations`, the decisions accepted so far.
///
/// # Errors
/// The rule that forbids it.
pub fn accepts(
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    rules: &Rules,
    decision: &Decision,
) -> Result<(), Refusal> {
    match decision {
        Decision::Link { a, b } => {
            let (a, b) = two(rules, a, b)?;
            can_link(events, operations, rules, &a, &b)
        }
        Decision::Cut { a, b } => two(rules, a, b).map(|_| ()),
        Decision::Force { a, b } => {
            let (a, b) = two(rules, a, b)?;
            if a.id_type == b.id_type { Ok(()) } else { refuse(RefusedRule::DifferentTypes, [a, b]) }
        }
        Decision::Block { id } | Decision::Unblock { id } => normalised(rules, id).map(|_| ()),
        Decision::Undo { number } => can_undo(operations, *number),
        Decision::DeleteMessage { message_id } => {
            let there = events.iter().any(|event| event.message_id == *message_id);
            if there { Ok(()) } else { refuse(RefusedRule::NeverSeen, []) }
        }
        Decision::DeleteProfile { id } => {
            let id = normalised(rules, id)?;
            let there = resolve(events, operations, rules).cluster_of(&id).is_some();
            if there { Ok(()) } else { refuse(RefusedRule::NeverSeen, [id]) }
        }
        Decision::IssueCustomerKey { id } => has_customer_key(events, operations, rules, id),
        // About the quarantine, which identity knows nothing of.
        Decision::Release { .. } => Ok(()),
    }
}

fn refuse<T>(rule: RefusedRule, witnesses: impl Into<Vec<Identifier>>) -> Result<T, Refusal> {
    Err(Refusal { rule, witnesses: witnesses.into() })
}

fn normalised(rules: &Rules, id: &Identifier) -> Result<Identifier, Refusal> {
    rules.normalise(&id.id_type, &id.value).or_else(|_| refuse(RefusedRule::Blocked, [id.clone()]))
}

fn two(rules: &Rules, a: &Identifier, b: &Identifier) -> Result<(Identifier, Identifier), Refusal> {
    let (a, b) = (normalised(rules, a)?, normalised(rules, b)?);
    if a == b { refuse(RefusedRule::Same, [a]) } else { Ok((a, b)) }
}

/// A link is taken if, with it, the two are in one cluster.
fn can_link(
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    rules: &Rules,
    a: &Identifier,
    b: &Identifier,
) -> Result<(), Refusal> {
    let blocked = in_force(operations, rules).blocked;
    let before = resolve(events, operations, rules);
    for id in [a, b] {
        if blocked.contains(id) {
            return refuse(RefusedRule::BlockedByOperator, [id.clone()]);
        }
        if before.cluster_of(id).is_none() {
            return refuse(RefusedRule::NeverSeen, [id.clone()]);
        }
    }
    let number = operations.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let mut tried = operations.to_vec();
    tried.push((number, Decision::Link { a: a.clone(), b: b.clone() }));
    let after = resolve(events, &tried, rules);
    match after.edges.rejected.into_iter().find(|rejection| rejection.edge.operation == Some(number)) {
        Some(rejection) => {
            refuse(RefusedRule::Apart(rejection.rule), [rejection.witnesses.0, rejection.witnesses.1])
        }
        None => Ok(()),
    }
}

/// A person that is not anonymous has a customer key, or can have one.
fn has_customer_key(
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    rules: &Rules,
    id: &Identifier,
) -> Result<(), Refusal> {
    let id = normalised(rules, id)?;
    let resolution = resolve(events, operations, rules);
    let Some(cluster) = resolution.cluster_of(&id) else { return refuse(RefusedRule::NeverSeen, [id]) };
    let owns = |owner: &OracleOwner| matches!(owner, OracleOwner::Cluster(owner) if owner == cluster);
    if !resolution.owner.values().any(owns) {
        return refuse(RefusedRule::OwnsNothing, [id]);
    }
    let is_person = |member: &Identifier| rules.rule(&member.id_type).scope == Scope::Person;
    if cluster.iter().any(is_person) { Ok(()) } else { refuse(RefusedRule::Anonymous, [id]) }
}

fn can_undo(operations: &[(u64, Decision)], number: u64) -> Result<(), Refusal> {
    if operations.iter().any(|(_, decision)| undone(decision) == Some(number)) {
        return refuse(RefusedRule::Undone, []);
    }
    match operations.iter().find(|(known, _)| *known == number) {
        None => refuse(RefusedRule::NotThere, []),
        Some((
            _,
            Decision::Undo { .. }
            | Decision::DeleteMessage { .. }
            | Decision::DeleteProfile { .. }
            | Decision::IssueCustomerKey { .. }
            | Decision::Release { .. },
        )) => refuse(RefusedRule::NotThere, []),
        Some(_) => Ok(()),
    }
}

/// The evidence without one message.
#[must_use]
pub fn without_message(events: &[OracleEvent], message_id: &str) -> Vec<OracleEvent> {
    events.iter().filter(|event| event.message_id != message_id).cloned().collect()
}

/// The evidence without what the profile of `id` owns now.
#[must_use]
pub fn without_profile(
    events: &[OracleEvent],
    operations: &[(u64, Decision)],
    rules: &Rules,
    id: &Identifier,
) -> Vec<OracleEvent> {
    let resolution = resolve(events, operations, rules);
    let Some(cluster) = resolution.cluster_of(id) else { return events.to_vec() };
    let gone = OracleOwner::Cluster(cluster.clone());
    let owned = |event: &OracleEvent| resolution.owner.get(&event.message_id) == Some(&gone);
    events.iter().filter(|event| !owned(event)).cloned().collect()
}
