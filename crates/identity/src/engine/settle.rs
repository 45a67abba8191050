//! From new clusters to handles, transitions, and who has to be rebuilt.
//!
//! Of the handles whose anchor went into one new cluster the oldest anchor's stays ("older wins"); the others merged
//! into it. A handle whose members went to several clusters was split. A profile is rebuilt if it lost an identifier or
//! gained one from a split, and where a device's events changed between "its cluster's" and "by timeline".

use super::changes::{Changes, Transition};
use super::timeline::stakeholders;
use super::world::World;
use crate::graph::{Cluster, ForestEdge, Graph, Member, NO_CLUSTER};
use onefold_types::{NodeId, ProfileHandle};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A cluster to be.
#[derive(Clone, Debug)]
pub(crate) struct NewCluster {
    pub(crate) members: Vec<NodeId>,
    pub(crate) forest: Vec<ForestEdge>,
}

/// How a device's own events are owned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is in no cluster.
    None,
    /// By the person of its cluster.
    Cluster,
    /// By timeline, else by its own cluster.
    Timeline,
}

struct Settlement {
    old: BTreeMap<ProfileHandle, Arc<Cluster>>,
    /// The old handle of each old member.
    was: BTreeMap<NodeId, ProfileHandle>,
    /// The new handle of each new member.
    is: BTreeMap<NodeId, ProfileHandle>,
    /// The new handle that carries on each old one.
    heir: BTreeMap<ProfileHandle, ProfileHandle>,
}

/// Replaces the clusters `old` by `new` and writes all that changed. `retired` is a handle that no one may carry on.
pub(crate) fn settle<G: Graph>(
    world: &mut World<'_, G>,
    old: &BTreeSet<ProfileHandle>,
    new: Vec<NewCluster>,
    retired: Option<ProfileHandle>,
    changes: &mut Changes,
) -> Result<(), G::Error> {
    let mut settlement =
        Settlement { old: BTreeMap::new(), was: BTreeMap::new(), is: BTreeMap::new(), heir: BTreeMap::new() };
    for handle in old {
        if let Some(cluster) = world.cluster(*handle)? {
            settlement.was.extend(cluster.members.iter().map(|member| (member.node, *handle)));
            settlement.old.insert(*handle, cluster);
        }
    }
    let handles = settlement.name(world, &new, retired)?;
    for (cluster, handle) in new.iter().zip(&handles) {
        settlement.is.extend(cluster.members.iter().map(|member| (*member, *handle)));
    }
    let mut modes = BTreeMap::new();
    for (cluster, handle) in new.into_iter().zip(&handles) {
        let built = settlement.build(world, cluster)?;
        modes.insert(*handle, built.has_person);
        settlement.write(world, *handle, built, changes)?;
    }
    settlement.remove(world)?;
    settlement.transitions(changes);
    settlement.rebuild(world, &modes, changes)
}

impl Settlement {
    /// A cluster's record; members that did not change are taken over as they were.
    fn build<G: Graph>(&self, world: &mut World<'_, G>, cluster: NewCluster) -> Result<Cluster, G::Error> {
        let mut members = Vec::with_capacity(cluster.members.len());
        let mut candidates = Vec::new();
        let mut sources: BTreeSet<ProfileHandle> = BTreeSet::new();
        let mut has_person = false;
        for node in cluster.members {
            let source = self.was.get(&node);
            sources.extend(source);
            let member =
                match source.and_then(|handle| self.old.get(handle)).filter(|_| !world.is_changed(node)) {
                    Some(old) => {
                        let found = old.members.binary_search_by_key(&node, |member| member.node);
                        found.ok().and_then(|index| old.members.get(index)).cloned()
                    }
                    None => None,
                };
            let member = match member {
                Some(member) => member,
                None => {
                    candidates.push(node);
                    let record = world.node(node)?;
                    Member {
                        node,
                        id_type: record.id.id_type.clone(),
                        first_seen: record.first_seen,
                        decided: !record.operations.is_empty(),
                    }
                }
            };
            let kind = world.kind_index(&member.id_type);
            has_person |= world.kind_at(kind).person;
            members.push(member);
        }
        members.sort_by_key(|member| member.node);
        // The oldest is an old anchor or one that changed, unless an old anchor went elsewhere or changed itself.
        let anchors: Vec<NodeId> =
            sources.iter().filter_map(|handle| self.old.get(handle)).map(|old| old.anchor).collect();
        let here = |anchor: &NodeId| members.binary_search_by_key(anchor, |member| member.node).is_ok();
        if anchors.iter().all(|anchor| here(anchor) && !world.is_changed(*anchor)) {
            candidates.extend(anchors);
        } else {
            candidates = members.iter().map(|member| member.node).collect();
        }
        let mut anchor = None;
        for node in candidates {
            anchor = match anchor {
                Some(oldest) if !world.older(node, oldest)? => Some(oldest),
                _ => Some(node),
            };
        }
        let mut forest = cluster.forest;
        forest.sort_unstable();
        Ok(Cluster { anchor: anchor.unwrap_or_default(), has_person, members, forest })
    }

    /// Gives each new cluster a handle.
    fn name<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        new: &[NewCluster],
        retired: Option<ProfileHandle>,
    ) -> Result<Vec<ProfileHandle>, G::Error> {
        let mut place: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (index, cluster) in new.iter().enumerate() {
            place.extend(cluster.members.iter().map(|member| (*member, index)));
        }
        // Where the old anchor went, or the oldest that is left.
        let mut claims: Vec<Vec<(NodeId, ProfileHandle)>> = vec![Vec::new(); new.len()];
        for (handle, cluster) in &self.old {
            if Some(*handle) == retired {
                continue;
            }
            let mut claimant = Some(cluster.anchor).filter(|anchor| place.contains_key(anchor));
            if claimant.is_none() {
                for member in cluster.members.iter().filter(|member| place.contains_key(&member.node)) {
                    let older = match claimant {
                        Some(oldest) => world.older(member.node, oldest)?,
                        None => true,
                    };
                    if older {
                        claimant = Some(member.node);
                    }
                }
            }
            if let Some((claimant, index)) =
                claimant.and_then(|node| place.get(&node).map(|index| (node, *index)))
            {
                claims[index].push((claimant, *handle));
            }
        }
        let mut handles = Vec::with_capacity(new.len());
        for claimants in claims {
            let mut oldest: Option<(NodeId, ProfileHandle)> = None;
            for (node, handle) in &claimants {
                let older = match oldest {
                    Some((best, _)) => world.older(*node, best)?,
                    None => true,
                };
                if older {
                    oldest = Some((*node, *handle));
                }
            }
            let handle = oldest.map_or_else(|| world.graph.next_profile(), |(_, handle)| handle);
            self.heir.extend(claimants.into_iter().map(|(_, old)| (old, handle)));
            handles.push(handle);
        }
        Ok(handles)
    }

    fn write<G: Graph>(
        &self,
        world: &mut World<'_, G>,
        handle: ProfileHandle,
        cluster: Cluster,
        changes: &mut Changes,
    ) -> Result<(), G::Error> {
        let before = self.old.get(&handle);
        if before.is_some_and(|before| **before == cluster) {
            return Ok(());
        }
        for member in &cluster.members {
            if self.was.get(&member.node) != Some(&handle) {
                world.change(member.node, |node| node.cluster = handle)?;
            }
        }
        let renamed = before.is_none_or(|before| before.anchor != cluster.anchor);
        if renamed {
            let anchor = world.node(cluster.anchor)?;
            world.graph.remember(cluster.anchor, &anchor)?;
            if let Some(before) = before {
                changes.transitions.push(Transition::IdChanged {
                    profile: handle,
                    from: before.anchor,
                    to: cluster.anchor,
                });
            }
        }
        world.graph.put_cluster(handle, cluster)
    }

    /// Removes clusters that no one carries on, and takes leavers out.
    fn remove<G: Graph>(&self, world: &mut World<'_, G>) -> Result<(), G::Error> {
        for (node, _) in self.was.iter().filter(|(node, _)| !self.is.contains_key(node)) {
            world.change(*node, |record| record.cluster = NO_CLUSTER)?;
        }
        let kept: BTreeSet<ProfileHandle> = self.is.values().copied().collect();
        for handle in self.old.keys().filter(|handle| !kept.contains(handle)) {
            world.graph.remove_cluster(*handle)?;
        }
        world.clusters_changed();
        Ok(())
    }

    /// Splits, then merges, before what [`Self::write`] noted.
    fn transitions(&self, changes: &mut Changes) {
        let mut splits = Vec::new();
        let mut merges = Vec::new();
        for (handle, cluster) in &self.old {
            let heir = self.heir.get(handle);
            let mut others: BTreeSet<ProfileHandle> =
                cluster.members.iter().filter_map(|member| self.is.get(&member.node)).copied().collect();
            if let Some(heir) = heir {
                others.remove(heir);
            }
            let left = cluster.members.iter().any(|member| !self.is.contains_key(&member.node));
            if !others.is_empty() || left {
                changes.rebuild.extend(others.iter().copied());
                // One that no one carries on has nothing left.
                changes.rebuild.insert(heir.copied().unwrap_or(*handle));
            }
            if !others.is_empty() {
                splits.push(Transition::Split { from: *handle, into: others.into_iter().collect() });
            }
            if let Some(heir) = heir.filter(|heir| *heir != handle) {
                merges.push(Transition::Merged { from: *handle, into: *heir });
            }
        }
        splits.extend(merges);
        splits.append(&mut changes.transitions);
        changes.transitions = splits;
    }

    /// Profiles whose share of a device's events changed with the device's mode.
    fn rebuild<G: Graph>(
        &self,
        world: &mut World<'_, G>,
        modes: &BTreeMap<ProfileHandle, bool>,
        changes: &mut Changes,
    ) -> Result<(), G::Error> {
        let nodes: BTreeSet<NodeId> = self.was.keys().chain(self.is.keys()).copied().collect();
        for node in nodes {
            let mode = |has_person: Option<bool>| match has_person {
                None => Mode::None,
                Some(true) => Mode::Cluster,
                Some(false) => Mode::Timeline,
            };
            let was = self.was.get(&node);
            let before = mode(was.and_then(|handle| self.old.get(handle)).map(|cluster| cluster.has_person));
            let after = mode(self.is.get(&node).and_then(|handle| modes.get(handle)).copied());
            if before == after || before == Mode::None || after == Mode::None {
                continue;
            }
            if world.kind(node)?.person {
                continue;
            }
            // Without a login its events were, and are, its own cluster's: what merges and splits say is all.
            if world.node(node)?.last_link.is_none() {
                continue;
            }
            // That its cluster lost or gained a person is a split or a merge, and was noted there.
            changes.rebuild.extend(stakeholders(world, node)?);
        }
        Ok(())
    }
}
