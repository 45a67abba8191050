//! The raw graph: every edge that events and operators give, in canonical order, straight from identity.md 1.1, and what
//! a naive walk finds in it.

use onefold_identity::oracle::{Cluster, Edge, OracleEvent, Resolution, in_force};
use onefold_identity::rules::Rules;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use std::collections::{BTreeMap, BTreeSet};

/// Edges of evidence and of links in force, without those of hubs, shared devices and blocked values, in canonical order.
pub struct Raw {
    /// See the type.
    pub edges: Vec<Edge>,
}

impl Raw {
    /// Of a history of which the oracle says `resolution`.
    pub fn new(
        events: &[OracleEvent],
        operations: &[(u64, Decision)],
        rules: &Rules,
        resolution: &Resolution,
    ) -> Self {
        let decisions = in_force(operations, rules);
        let rank = |id: &Identifier| rules.rule(&id.id_type).rank;
        let last_wins = |id: &Identifier| rules.rule(&id.id_type).last_wins;
        let mut times: BTreeMap<(Identifier, Identifier), Vec<i64>> = BTreeMap::new();
        for event in events {
            let mut ids = rules.usable(&event.ids).ids;
            ids.retain(|id| !resolution.hubs.contains(id) && !decisions.blocked.contains(id));
            let Some((anchor, others)) = ids.split_first() else { continue };
            for other in others {
                times.entry((anchor.clone(), other.clone())).or_default().push(event.ts.0);
            }
        }
        let mut placed = Vec::new();
        for ((u, v), seen) in times {
            if resolution.shared.contains(&u) || resolution.shared.contains(&v) {
                continue;
            }
            let time = if last_wins(&u) || last_wins(&v) {
                -seen.iter().max().copied().unwrap()
            } else {
                seen.iter().min().copied().unwrap()
            };
            let key = (u64::MAX, rank(&u).max(rank(&v)), rank(&u).min(rank(&v)), time);
            placed.push((key, Edge { u, v, operation: None }));
        }
        for (a, b, number) in decisions.links {
            if resolution.cluster_of(&a).is_some() && resolution.cluster_of(&b).is_some() {
                let (u, v) = if rules.order(&a, &b).is_lt() { (a, b) } else { (b, a) };
                placed.push(((number, 0, 0, 0), Edge { u, v, operation: Some(number) }));
            }
        }
        placed.sort_by(|(a, x), (b, y)| {
            let ends = || rules.order(&x.u, &y.u).then_with(|| rules.order(&x.v, &y.v));
            a.cmp(b).then_with(ends)
        });
        Self { edges: placed.into_iter().map(|(_, edge)| edge).collect() }
    }

    /// What is joined with `end` by accepted edges that come before `edge`.
    pub fn side(&self, edge: &Edge, end: &Identifier, accepted: &[Edge]) -> Cluster {
        let before = self.edges.iter().take_while(|known| *known != edge);
        let before: Vec<&Edge> = before.filter(|known| accepted.contains(known)).collect();
        let mut side = Cluster::from([end.clone()]);
        loop {
            let size = side.len();
            for edge in &before {
                if side.contains(&edge.u) || side.contains(&edge.v) {
                    side.extend([edge.u.clone(), edge.v.clone()]);
                }
            }
            if side.len() == size {
                return side;
            }
        }
    }

    /// How many edges it takes from `from` to each identifier that can be reached.
    pub fn distances(&self, from: &Identifier) -> BTreeMap<Identifier, usize> {
        let mut known = BTreeMap::from([(from.clone(), 0)]);
        for distance in 0.. {
            let size = known.len();
            let rim: BTreeSet<Identifier> =
                known.iter().filter(|(_, at)| **at == distance).map(|(id, _)| id.clone()).collect();
            for edge in &self.edges {
                for (near, far) in [(&edge.u, &edge.v), (&edge.v, &edge.u)] {
                    if rim.contains(near) && !known.contains_key(far) {
                        known.insert(far.clone(), distance + 1);
                    }
                }
            }
            if known.len() == size {
                break;
            }
        }
        known
    }
}

/// Sets of identifiers that events and links join directly or by others, hubs and shared devices included: plain
/// union-find.
pub fn components(events: &[OracleEvent], operations: &[(u64, Decision)], rules: &Rules) -> Vec<Cluster> {
    let decisions = in_force(operations, rules);
    let mut found: Vec<Cluster> = Vec::new();
    let mut join = |ids: Cluster| {
        let (touched, mut apart): (Vec<Cluster>, Vec<Cluster>) =
            found.drain(..).partition(|known| !known.is_disjoint(&ids));
        let mut all = ids;
        all.extend(touched.into_iter().flatten());
        if !all.is_empty() {
            apart.push(all);
        }
        found = apart;
    };
    let usable = |event: &OracleEvent| -> Cluster {
        let ids = rules.usable(&event.ids).ids.into_iter();
        ids.filter(|id| !decisions.blocked.contains(id)).collect()
    };
    let seen: Cluster = events.iter().flat_map(usable).collect();
    events.iter().map(usable).for_each(&mut join);
    for (a, b, _) in &decisions.links {
        if seen.contains(a) && seen.contains(b) {
            join(Cluster::from([a.clone(), b.clone()]));
        }
    }
    found
}
