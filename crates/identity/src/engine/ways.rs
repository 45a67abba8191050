//! The last edge in canonical order on the way from one node to each other of its tree: what an edge between the two
//! would take the place of.
//!
//! The edges of one event all begin at its anchor, so the tree is walked once for all of them, and of an exchange only
//! what hangs on the exchanged edge.

use super::world::World;
use crate::graph::{ForestEdge, Graph};
use onefold_types::NodeId;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ways {
    root: NodeId,
    near: BTreeMap<NodeId, Vec<ForestEdge>>,
    last: BTreeMap<NodeId, ForestEdge>,
}

impl Ways {
    /// The ways from `root` through `forest`.
    pub(crate) fn of<G: Graph>(
        world: &mut World<'_, G>,
        root: NodeId,
        forest: &[ForestEdge],
    ) -> Result<Self, G::Error> {
        let mut ways = Self { root, near: BTreeMap::new(), last: BTreeMap::new() };
        forest.iter().for_each(|edge| ways.add(*edge));
        ways.walk(world, root, None)?;
        Ok(ways)
    }

    /// Where they begin.
    pub(crate) const fn root(&self) -> NodeId {
        self.root
    }

    /// The last edge on the way to `node`; `None` if there is no way.
    pub(crate) fn last(&self, node: NodeId) -> Option<ForestEdge> {
        self.last.get(&node).copied()
    }

    /// The edge `new`, which begins at the root, takes the place of `old`, which is on the way to its other end.
    pub(crate) fn exchange<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        old: ForestEdge,
        new: ForestEdge,
    ) -> Result<(), G::Error> {
        for end in [old.u, old.v] {
            if let Some(edges) = self.near.get_mut(&end) {
                edges.retain(|edge| *edge != old);
            }
        }
        self.add(new);
        self.walk(world, self.far(new), Some(new))
    }

    /// The edge `new`, which begins at the root, joins another tree.
    pub(crate) fn join<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        tree: &[ForestEdge],
        new: ForestEdge,
    ) -> Result<(), G::Error> {
        tree.iter().for_each(|edge| self.add(*edge));
        self.add(new);
        self.walk(world, self.far(new), Some(new))
    }

    fn far(&self, edge: ForestEdge) -> NodeId {
        if edge.u == self.root { edge.v } else { edge.u }
    }

    fn add(&mut self, edge: ForestEdge) {
        self.near.entry(edge.u).or_default().push(edge);
        self.near.entry(edge.v).or_default().push(edge);
    }

    /// Goes on from `node`, which was come to through `came`, an edge at the root.
    fn walk<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        node: NodeId,
        came: Option<ForestEdge>,
    ) -> Result<(), G::Error> {
        self.last.extend(came.map(|edge| (node, edge)));
        let mut open = vec![(node, came)];
        while let Some((node, came)) = open.pop() {
            let last = self.last.get(&node).copied();
            for edge in self.near.get(&node).into_iter().flatten() {
                if Some(*edge) == came {
                    continue;
                }
                let latest = match last {
                    Some(last) if world.edge_order(&last, edge)?.is_gt() => last,
                    _ => *edge,
                };
                let other = if edge.u == node { edge.v } else { edge.u };
                self.last.insert(other, latest);
                open.push((other, Some(*edge)));
            }
        }
        Ok(())
    }
}
