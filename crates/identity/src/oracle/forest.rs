//! Kruskal under constraints: an edge is accepted iff the union of its two clusters breaks nothing.

use super::{Cluster, Edge, Edges, Evidence, Rejection};
use onefold_types::Identifier;
use std::collections::BTreeSet;

/// The clusters so far.
pub(super) struct Forest<'a> {
    evidence: &'a Evidence<'a>,
    clusters: Vec<Cluster>,
    edges: Edges,
}

impl<'a> Forest<'a> {
    /// Each identifier alone.
    pub(super) fn new(evidence: &'a Evidence<'a>) -> Self {
        let clusters = evidence.first_seen.keys().map(|id| Cluster::from([id.clone()])).collect();
        Self { evidence, clusters, edges: Edges::default() }
    }

    fn index(&self, id: &Identifier) -> Option<usize> {
        self.clusters.iter().position(|cluster| cluster.contains(id))
    }

    /// Whether the two are in one cluster so far.
    pub(super) fn joined(&self, x: &Identifier, y: &Identifier) -> bool {
        self.index(x) == self.index(y)
    }

    /// Takes the next edge in canonical order.
    pub(super) fn place(&mut self, edge: &Edge) {
        let (Some(u), Some(v)) = (self.index(&edge.u), self.index(&edge.v)) else { return };
        if u == v {
            return;
        }
        match self.evidence.breach(&self.clusters[u], &self.clusters[v], edge) {
            Some((rule, witnesses)) => {
                self.edges.rejected.push(Rejection { edge: edge.clone(), rule, witnesses })
            }
            None => {
                let absorbed = std::mem::take(&mut self.clusters[v]);
                self.clusters[u].extend(absorbed);
                self.edges.accepted.push(edge.clone());
            }
        }
    }

    /// The clusters, and what became of the edges.
    pub(super) fn finish(self) -> (BTreeSet<Cluster>, Edges) {
        (self.clusters.into_iter().filter(|cluster| !cluster.is_empty()).collect(), self.edges)
    }
}
