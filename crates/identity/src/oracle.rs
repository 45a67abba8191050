//! The naive resolution, straight from the definitions of identity.md 1.1: what the engine is compared with.
//!
//! [`resolve`] is R(evidence, operator decisions, rules) = who is who and whose each event is; [`accepts`] says whether an
//! operator's decision is taken or refused. Slow and obvious: everything is computed from nothing at each call.
//!
//! **Never here:** an incremental trick, or code that the engine runs too: only [`Rules`] is shared. Nothing here depends
//! on the order of `events`, save that of two messages with one id the first counts.

use crate::rules::{Limit, Rules};
use onefold_types::decision::Decision;
use onefold_types::workspace::Scope;
use onefold_types::{Identifier, Timestamp};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

mod accept;
mod forest;

pub use accept::{InForce, Refusal, RefusedRule, accepts, in_force, without_message, without_profile};
use forest::Forest;

/// A message as identity sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleEvent {
    /// Its id.
    pub message_id: String,
    /// When it happened.
    pub ts: Timestamp,
    /// Type and raw value of each identifier it carries.
    pub ids: Vec<(String, String)>,
}

/// Identifiers of one profile.
pub type Cluster = BTreeSet<Identifier>;

/// Whose an event is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OracleOwner {
    /// This cluster's.
    Cluster(Cluster),
    /// No one's.
    None(NoOwnerReason),
}

/// Why an event is no one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoOwnerReason {
    /// All its usable identifiers are hubs.
    Hub,
    /// It has no usable identifier.
    NoUsableId,
}

/// A pair of identifiers that evidence or an operator joins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The stronger end.
    pub u: Identifier,
    /// The weaker end.
    pub v: Identifier,
    /// The number of the operator's link; `None` for what events say.
    pub operation: Option<u64>,
}

/// What forbids a union.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An operator's cut.
    Cut,
    /// The limit of a type.
    Limit {
        /// The type.
        id_type: String,
    },
    /// The size cap.
    SizeCap,
}

/// An edge that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// Which.
    pub edge: Edge,
    /// What forbids it.
    pub rule: Rule,
    /// An identifier of the one cluster and one of the other that show it.
    pub witnesses: (Identifier, Identifier),
}

/// Edges by what became of them; one whose ends were joined already is in neither list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// The constrained forest, in canonical order.
    pub accepted: Vec<Edge>,
    /// In canonical order.
    pub rejected: Vec<Rejection>,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// All clusters; they partition the identifiers.
    pub clusters: BTreeSet<Cluster>,
    /// Of each message.
    pub owner: BTreeMap<String, OracleOwner>,
    /// The identifier that each cluster's profile id is made of.
    pub profile_anchor: BTreeMap<Cluster, Identifier>,
    /// Identifiers that contribute no edges since too many people have them.
    pub hubs: BTreeSet<Identifier>,
    /// Devices that contribute no edges since more than one person uses them.
    pub shared: BTreeSet<Identifier>,
    /// What became of the edges.
    pub edges: Edges,
    /// Clusters that own an event.
    pub persons: BTreeSet<Cluster>,
}

impl Resolution {
    /// The cluster that holds `id`.
    #[must_use]
    pub fn cluster_of(&self, id: &Identifier) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.contains(id))
    }

    /// Whether the two are in one cluster.
    #[must_use]
    pub fn together(&self, x: &Identifier, y: &Identifier) -> bool {
        self.cluster_of(x).is_some_and(|cluster| cluster.contains(y))
    }
}

/// An event's place in time.
type At = (Timestamp, String);

/// What the definitions speak of.
struct Evidence<'a> {
    rules: &'a Rules,
    decisions: InForce,
    /// The usable identifiers of each event, in order of (time, message id).
    events: BTreeMap<At, Vec<Identifier>>,
    /// The first event of each identifier.
    first_seen: BTreeMap<Identifier, At>,
}

/// An edge with its place in the canonical order.
struct Placed {
    edge: Edge,
    /// Operator links first, by number; then (weaker rank, stronger rank, time).
    key: (u64, u8, u8, i64),
    /// An operator's link, or between two person-scope identifiers.
    personal: bool,
}

/// R(evidence, operator decisions, rules). `operations` are accepted decisions with their numbers, in any order.
#[must_use]
pub fn resolve(events: &[OracleEvent], operations: &[(u64, Decision)], rules: &Rules) -> Resolution {
    let evidence = Evidence::new(events, operations, rules);
    let hubs = evidence.hubs();
    let edges = evidence.edges(&hubs);

    let mut forest = Forest::new(&evidence);
    for placed in edges.iter().filter(|placed| placed.personal) {
        forest.place(&placed.edge);
    }
    let shared = evidence.shared(&forest);
    let is_shared = |edge: &Edge| shared.contains(&edge.u) || shared.contains(&edge.v);
    for placed in edges.iter().filter(|placed| !placed.personal && !is_shared(&placed.edge)) {
        forest.place(&placed.edge);
    }

    let (clusters, edges) = forest.finish();
    let owner = evidence.owners(&hubs, &clusters);
    let profile_anchor =
        clusters.iter().filter_map(|c| Some((c.clone(), evidence.anchor_of(c)?.clone()))).collect();
    let persons =
        clusters.iter().filter(|c| owner.values().any(|o| *o == OracleOwner::Cluster((*c).clone())));
    let persons = persons.cloned().collect();
    Resolution { clusters, owner, profile_anchor, hubs, shared, edges, persons }
}

impl<'a> Evidence<'a> {
    fn new(events: &[OracleEvent], operations: &[(u64, Decision)], rules: &'a Rules) -> Self {
        let decisions = in_force(operations, rules);
        let mut known = BTreeSet::new();
        let mut usable = BTreeMap::new();
        for event in events {
            if !known.insert(event.message_id.clone()) || decisions.deleted.contains(&event.message_id) {
                continue;
            }
            let ids = rules
                .usable(&event.ids)
                .ids
                .into_iter()
                .filter(|id| !decisions.blocked.contains(id))
                .collect();
            usable.insert((event.ts, event.message_id.clone()), ids);
        }
        let mut first_seen: BTreeMap<Identifier, At> = BTreeMap::new();
        for (at, ids) in &usable {
            let ids: &Vec<Identifier> = ids;
            for id in ids {
                first_seen.entry(id.clone()).or_insert_with(|| at.clone());
            }
        }
        Self { rules, decisions, events: usable, first_seen }
    }

    fn is_person(&self, id: &Identifier) -> bool {
        self.rules.rule(&id.id_type).scope == Scope::Person
    }

    /// The values, of types that `counts` names, that `id` is in one event with; by type.
    fn seen_with(
        &self,
        id: &Identifier,
        counts: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, BTreeSet<Identifier>> {
        let mut seen: BTreeMap<String, BTreeSet<Identifier>> = BTreeMap::new();
        for ids in self.events.values().filter(|ids| ids.contains(id)) {
            for other in ids.iter().filter(|other| *other != id && counts(&other.id_type)) {
                seen.entry(other.id_type.clone()).or_default().insert(other.clone());
            }
        }
        seen
    }

    /// A person-scope identifier, not of a unique type, directly seen with too many values of one unique type.
    fn hubs(&self) -> BTreeSet<Identifier> {
        let too_many = |values: &BTreeSet<Identifier>| values.len() > self.rules.hub_threshold();
        let candidates =
            self.first_seen.keys().filter(|id| self.is_person(id) && !self.rules.rule(&id.id_type).unique);
        let hub = |id: &&Identifier| {
            self.seen_with(id, |other| self.rules.rule(other).unique).values().any(too_many)
        };
        candidates.filter(hub).cloned().collect()
    }

    /// A device directly seen with values of one person key that are in different clusters.
    fn shared(&self, forest: &Forest<'_>) -> BTreeSet<Identifier> {
        let apart = |values: &BTreeSet<Identifier>| {
            values.iter().any(|x| values.iter().any(|y| !forest.joined(x, y)))
        };
        let devices = self.first_seen.keys().filter(|id| !self.is_person(id));
        let shared = |id: &&Identifier| {
            self.seen_with(id, |other| self.rules.rule(other).person_key).values().any(apart)
        };
        devices.filter(shared).cloned().collect()
    }

    /// All edges in canonical order: stars around the strongest identifier of each event that is no hub, and links.
    fn edges(&self, hubs: &BTreeSet<Identifier>) -> Vec<Placed> {
        let mut times: BTreeMap<(Identifier, Identifier), (i64, i64)> = BTreeMap::new();
        for ((ts, _), ids) in &self.events {
            let effective: Vec<&Identifier> = ids.iter().filter(|id| !hubs.contains(id)).collect();
            let Some((anchor, others)) = effective.split_first() else { continue };
            for other in others {
                let pair = ((*anchor).clone(), (*other).clone());
                let (first, last) = times.entry(pair).or_insert((ts.0, ts.0));
                *first = (*first).min(ts.0);
                *last = (*last).max(ts.0);
            }
        }
        let mut edges = Vec::new();
        for ((u, v), (first, last)) in times {
            let (a, b) = (self.rules.rule(&u.id_type), self.rules.rule(&v.id_type));
            let time = if a.last_wins || b.last_wins { last.saturating_neg() } else { first };
            let key = (u64::MAX, a.rank.max(b.rank), a.rank.min(b.rank), time);
            let personal = self.is_person(&u) && self.is_person(&v);
            edges.push(Placed { edge: Edge { u, v, operation: None }, key, personal });
        }
        for (x, y, number) in &self.decisions.links {
            if self.first_seen.contains_key(x) && self.first_seen.contains_key(y) {
                let (u, v) = if self.rules.order(x, y).is_lt() { (x, y) } else { (y, x) };
                let edge = Edge { u: u.clone(), v: v.clone(), operation: Some(*number) };
                edges.push(Placed { edge, key: (*number, 0, 0, 0), personal: true });
            }
        }
        edges.sort_by(|a, b| {
            let by_ends = || {
                self.rules.order(&a.edge.u, &b.edge.u).then_with(|| self.rules.order(&a.edge.v, &b.edge.v))
            };
            a.key.cmp(&b.key).then_with(by_ends)
        });
        edges
    }

    /// What forbids one cluster of these two, each of which is legal; witnesses are one of each.
    fn breach(&self, a: &Cluster, b: &Cluster, edge: &Edge) -> Option<(Rule, (Identifier, Identifier))> {
        for x in a {
            for y in b {
                if self.decisions.is_cut(x, y) {
                    return Some((Rule::Cut, (x.clone(), y.clone())));
                }
            }
        }
        let rank = |id: &Identifier| self.rules.rule(&id.id_type).rank;
        let types: BTreeSet<(u8, &String)> = a.iter().chain(b).map(|id| (rank(id), &id.id_type)).collect();
        for (_, id_type) in types {
            if let Some(witnesses) = self.breaks_limit(id_type, a, b) {
                return Some((Rule::Limit { id_type: id_type.clone() }, witnesses));
            }
        }
        let too_large = a.len() + b.len() > self.rules.size_cap();
        too_large.then(|| (Rule::SizeCap, (edge.u.clone(), edge.v.clone())))
    }

    /// Two values, one of each cluster, of more than the type's limit allows.
    fn breaks_limit(&self, id_type: &str, a: &Cluster, b: &Cluster) -> Option<(Identifier, Identifier)> {
        let values = |cluster: &Cluster| -> Vec<Identifier> {
            cluster.iter().filter(|id| id.id_type == id_type).cloned().collect()
        };
        let (a, b) = (values(a), values(b));
        let time = |id: &Identifier| self.first_seen.get(id).map_or(i64::MAX, |(ts, _)| ts.0);
        match self.rules.rule(id_type).limit {
            Limit::Ever(n) => self.too_many(n, &a, &b),
            Limit::Within(n, width) => {
                let starts: BTreeSet<i64> = a.iter().chain(&b).map(time).collect();
                starts.into_iter().find_map(|start| {
                    let inside = |id: &&Identifier| (start..start.saturating_add(width)).contains(&time(id));
                    let pick = |ids: &[Identifier]| ids.iter().filter(inside).cloned().collect::<Vec<_>>();
                    self.too_many(n, &pick(&a), &pick(&b))
                })
            }
        }
    }

    /// Two values, one of each list, that do not count as one, if both lists have more than `n` that do not.
    fn too_many(&self, n: u32, a: &[Identifier], b: &[Identifier]) -> Option<(Identifier, Identifier)> {
        let class = |id: &Identifier| self.decisions.class_of(id);
        let classes: BTreeSet<Identifier> = a.iter().chain(b).map(class).collect();
        if classes.len() <= n as usize {
            return None;
        }
        a.iter().find_map(|x| Some((x.clone(), b.iter().find(|y| class(x) != class(y))?.clone())))
    }

    /// The first-seen identifier: "older wins".
    fn anchor_of<'b>(&self, cluster: &'b Cluster) -> Option<&'b Identifier> {
        let older = |x: &&Identifier, y: &&Identifier| -> Ordering {
            self.first_seen.get(*x).cmp(&self.first_seen.get(*y)).then_with(|| self.rules.order(x, y))
        };
        cluster.iter().min_by(older)
    }

    fn owners(
        &self,
        hubs: &BTreeSet<Identifier>,
        clusters: &BTreeSet<Cluster>,
    ) -> BTreeMap<String, OracleOwner> {
        let mut owners = BTreeMap::new();
        for (at, ids) in &self.events {
            let owner = match self.owner(at, ids, hubs, clusters) {
                Ok(cluster) => OracleOwner::Cluster(cluster.clone()),
                Err(reason) => OracleOwner::None(reason),
            };
            owners.insert(at.1.clone(), owner);
        }
        owners
    }

    fn owner<'b>(
        &self,
        at: &At,
        ids: &[Identifier],
        hubs: &BTreeSet<Identifier>,
        clusters: &'b BTreeSet<Cluster>,
    ) -> Result<&'b Cluster, NoOwnerReason> {
        let cluster_of = |id: &Identifier| clusters.iter().find(|cluster| cluster.contains(id));
        let reason = if ids.is_empty() { NoOwnerReason::NoUsableId } else { NoOwnerReason::Hub };
        let anchor = ids.iter().find(|id| !hubs.contains(id)).ok_or(reason)?;
        let own = cluster_of(anchor).ok_or(reason)?;
        if own.iter().any(|id| self.is_person(id)) {
            return Ok(own);
        }
        let login = self.login(anchor, at, hubs);
        Ok(login.and_then(cluster_of).unwrap_or(own))
    }

    /// The person whose device this was at `at`: by the latest login at or before, else by the earliest after it.
    fn login(&self, device: &Identifier, at: &At, hubs: &BTreeSet<Identifier>) -> Option<&Identifier> {
        let mut before = None;
        let mut after = None;
        for (when, ids) in &self.events {
            let anchor = ids.iter().find(|id| !hubs.contains(id)).filter(|id| self.is_person(id));
            let Some(person) = anchor.filter(|_| ids.contains(device)) else { continue };
            if when <= at {
                before = Some(person);
            } else if after.is_none() {
                after = Some((when, person));
            }
        }
        let in_window = |when: &At| match self.rules.retro_window_ms() {
            None => true,
            Some(window) => at.0 >= when.0.minus(window),
        };
        before.or_else(|| after.filter(|(when, _)| in_window(when)).map(|(_, person)| person))
    }
}
