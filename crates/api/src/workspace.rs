//! The workspace: what is in force, what an apply changes, what an expression is.

use crate::{ByKey, Identifier};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The workspace in force.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct InForce {
    /// The version of the catalogue; 0 before the first apply.
    pub version: u32,
    /// Who applied it.
    pub author: String,
    /// What it says.
    pub workspace: Workspace,
}

/// A workspace, as in a workspace file; `***` stands for a secret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Workspace {
    /// The version of the file's shape: 1.
    pub version: u32,
    /// The workspace's key.
    pub workspace: String,
    /// IANA time zone for calendar windows.
    pub timezone: String,
    /// Where messages come from.
    pub sources: Vec<Object>,
    /// The identity rules, as in a workspace file.
    pub identity: Map<String, Value>,
    /// Values computed per profile.
    pub computed_traits: Vec<Object>,
    /// Who is in what.
    pub audiences: Vec<Object>,
    /// Where changes go.
    pub destinations: Vec<Object>,
}

/// A source, a computed trait, an audience or a destination. Its further members are those of a workspace file.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// The further members.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What an apply would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Planned {
    /// The objects that differ.
    pub changes: Vec<Difference>,
    /// What other identity rules would make of everybody; null if they are those in force.
    pub identity: Option<Preview>,
}

/// What an apply changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Applied {
    /// The objects that differed.
    pub changes: Vec<Difference>,
    /// What other identity rules made of everybody; null if they were those in force.
    pub identity: Option<Preview>,
    /// The version of the catalogue that is in force now.
    pub version: u32,
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// What is done to it.
    pub action: Action,
    /// Its part of the workspace file: `sources`, `computed_traits`, `audiences`, `destinations`, `identity`, `workspace`.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// The key that a renamed object had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Create,
    /// It is another.
    Change,
    /// It has another key.
    Rename,
    /// It goes.
    Remove,
}

/// What other identity rules make of everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preview {
    /// Profiles now, those that own no event included.
    pub profiles_before: usize,
    /// Profiles afterwards.
    pub profiles_after: usize,
    /// Profiles that come of several.
    pub merges: usize,
    /// Some of them.
    pub merge_examples: Vec<Example>,
    /// Profiles that become several.
    pub splits: usize,
    /// Some of them.
    pub split_examples: Vec<Example>,
    /// Messages that become another profile's, or no one's, or no longer no one's.
    pub moved_messages: usize,
    /// Identifiers that count no more.
    pub dropped_identifiers: usize,
    /// Identifiers that begin to count.
    pub gained_identifiers: usize,
}

/// Profiles that become one, or one that becomes several; each named by the identifier that its profile id is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Example {
    /// Before.
    pub from: Vec<Identifier>,
    /// After.
    pub into: Vec<Identifier>,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// The expression as Onefold writes it.
    pub canonical: String,
    /// What it gives.
    pub kind: ExpressionKind,
    /// The same in words.
    pub explanation: String,
    /// What may not be meant.
    pub notes: Vec<String>,
    /// What this release cannot do of it; with any of these no audience or trait can have it.
    pub unsupported: Vec<String>,
}

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpressionKind {
    /// True or false: an audience can have it.
    Condition,
    /// A number: a computed trait can have it.
    Value,
}

/// A page of the audiences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Audiences {
    /// The page.
    #[serde(flatten)]
    pub page: ByKey<Audience>,
    /// How far history is evaluated for new or edited audiences; null if that is done.
    pub backfill: Option<Backfill>,
}

/// An audience and how many are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Audience {
    /// Its key.
    pub key: String,
    /// Its name for people; may be empty.
    pub name: String,
    /// Its condition.
    #[serde(rename = "where")]
    pub condition: String,
    /// How many are in it.
    pub size: i64,
    /// Whether it does anything.
    pub enabled: bool,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Backfill {
    /// Profiles done.
    pub done: u64,
    /// Profiles to do in all.
    pub of: u64,
}
