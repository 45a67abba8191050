//! The catalogue: one immutable snapshot of all control data, swapped whole.
//!
//! A snapshot is a log record, so every worker changes over at the same position. Ids in it are given once and kept
//! through edits and renames; ids of removed objects are never used again.

use crate::ids::{AudienceId, CatalogueVersion, DestinationId, PrimitiveId, SourceId, TraitId};
use crate::workspace::Workspace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Since which version changes of each object go to each destination, without a break since then.
pub type RoutesSince<Id> = BTreeMap<Id, BTreeMap<DestinationId, CatalogueVersion>>;

/// A snapshot of all control data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Its number, one more than its predecessor's.
    pub version: CatalogueVersion,
    /// What the operator wrote, `${NAME}` expanded.
    pub workspace: Workspace,
    /// The ids of audiences by key.
    pub audiences: BTreeMap<String, AudienceId>,
    /// The ids of computed traits by key.
    pub traits: BTreeMap<String, TraitId>,
    /// The ids of destinations by key.
    pub destinations: BTreeMap<String, DestinationId>,
    /// The ids of sources by key.
    pub sources: BTreeMap<String, SourceId>,
    /// The ids of audience primitives by canonical text.
    pub primitives: BTreeMap<String, PrimitiveId>,
    /// The definition versions of audiences: raised by an edit, part of effect ids.
    pub audience_versions: BTreeMap<AudienceId, u32>,
    /// The definition versions of computed traits.
    pub trait_versions: BTreeMap<TraitId, u32>,
    /// Since when membership changes of an audience go to a destination: a destination that was disabled, or did not name
    /// the audience for a while, is new to it again, and is told of the members that there are then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub audience_routes: RoutesSince<AudienceId>,
    /// The same of computed traits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trait_routes: RoutesSince<TraitId>,
    /// Audiences that this version ended, for they were removed or disabled, with those destinations that are still there of
    /// the ones that were told of their members: they are told that nobody is in them any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended_audiences: BTreeMap<AudienceId, Vec<DestinationId>>,
    /// The last keys of audiences that were removed, ever: what waits to be sent of one is told under it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed_audiences: BTreeMap<AudienceId, String>,
    /// The version of the identity rules: raised when they change.
    pub rules_version: u32,
    /// The next number for any of the ids above.
    pub next_id: u32,
    /// Who applied it.
    #[serde(default)]
    pub author: String,
}

impl Catalogue {
    /// Since which version membership changes of `audience` go to `destination`; 0 if that is not noted, as in a snapshot
    /// of before routes had versions.
    #[must_use]
    pub fn audience_since(&self, audience: AudienceId, destination: DestinationId) -> CatalogueVersion {
        since(&self.audience_routes, &audience, destination)
    }

    /// Since which version values of `computed_trait` go to `destination`; 0 if that is not noted.
    #[must_use]
    pub fn trait_since(&self, computed_trait: TraitId, destination: DestinationId) -> CatalogueVersion {
        since(&self.trait_routes, &computed_trait, destination)
    }
}

fn since<Id: Ord>(routes: &RoutesSince<Id>, id: &Id, destination: DestinationId) -> CatalogueVersion {
    routes.get(id).and_then(|routes| routes.get(&destination)).copied().unwrap_or_default()
}
