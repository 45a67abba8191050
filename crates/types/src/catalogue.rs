//! The catalogue: one immutable snapshot of all control data, swapped whole.
//!
//! A snapshot is a log record, so every worker changes over at the same position. Ids in it are given once and kept
//! through edits and renames; ids of removed objects are never used again.

use crate::ids::{AudienceId, CatalogueVersion, DestinationId, PrimitiveId, SourceId, TraitId};
use crate::workspace::Workspace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The version of the identity rules: raised when they change.
    pub rules_version: u32,
    /// The next number for any of the ids above.
    pub next_id: u32,
    /// Who applied it.
    #[serde(default)]
    pub author: String,
}
