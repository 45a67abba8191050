//! The workspace file: what an operator writes (interface.md), as plain data.
//!
//! Reading YAML, expanding `${NAME}` and suggesting the nearest key live at the edge (crate `onefold`); here is the
//! shape, strict: a key that is not named here is an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A whole workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The version of the file's shape: 1.
    pub version: u32,
    /// The workspace's key.
    pub workspace: String,
    /// IANA time zone for calendar windows.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Where messages come from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Who is who.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Values computed per profile.
    #[serde(default)]
    pub computed_traits: Vec<ComputedTrait>,
    /// Who is in what.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// Where changes go.
    #[serde(default)]
    pub destinations: Vec<Destination>,
}

fn utc() -> String {
    "UTC".to_owned()
}

const fn yes() -> bool {
    true
}

/// What every object of a workspace can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// A name for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Free words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// A disabled object stays in the file and does nothing.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub enabled: bool,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            owner: String::new(),
            tags: Vec::new(),
            enabled: true,
        }
    }
}

/// What kind of client sends through a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// analytics.js and its like: the server fills in the client's address.
    Browser,
    /// A mobile client.
    Mobile,
    /// A server library.
    Server,
    /// Files.
    Import,
    /// Records of a CRM.
    Crm,
    /// Another system's webhooks.
    Webhook,
}

/// A source of messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its key.
    pub key: String,
    /// Its kind.
    pub kind: SourceKind,
    /// The live write keys: one, or several while rotating.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub write_key: Vec<String>,
    /// Audience and trait keys that a page may read about its own visitor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub personalize: Vec<String>,
    /// Origins that may call personalise from a page; empty means none, `"*"` any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Messages a second from this source before 429; absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Labels.
    #[serde(flatten)]
    pub labels: Labels,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(key) => vec![key],
        OneOrMany::Many(keys) => keys,
    })
}

/// Which identifiers are person keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// `user_id`.
    #[default]
    Product,
    /// `user_id` and `email`.
    B2b,
    /// `user_id`, `email` and `phone`.
    B2c,
}

/// The identity rules (identity.md 1.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Which types are person keys.
    #[serde(default)]
    pub preset: Preset,
    /// Rules merged over the preset by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<IdentifierRule>,
    /// Values, or `/regular expressions/`, that say nothing about anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// Distinct values of one unique type with which a person identifier may be seen before it is a hub.
    #[serde(default = "hub_default")]
    pub hub_threshold: u32,
    /// Identifiers in one profile at most.
    #[serde(default = "size_default")]
    pub size_cap: u32,
    /// How far back a login claims a device's earlier anonymous events (`30d`); absent means without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retro_window: Option<String>,
    /// ISO 3166 country for phone numbers without `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_region: Option<String>,
}

const fn hub_default() -> u32 {
    10
}

const fn size_default() -> u32 {
    1000
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            preset: Preset::default(),
            identifiers: Vec::new(),
            blocked: Vec::new(),
            hub_threshold: hub_default(),
            size_cap: size_default(),
            retro_window: None,
            phone_region: None,
        }
    }
}

/// Whether an identifier belongs to a person or to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// user_id, e-mail, phone, CRM and external ids.
    Person,
    /// anonymous ids, cookies, vendor ids, push tokens.
    Device,
}

/// One type's rule; what is absent comes from the preset, or the default for unnamed types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentifierRule {
    /// The identifier type.
    #[serde(rename = "type")]
    pub id_type: String,
    /// Strength, 1 is strongest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u8>,
    /// Person or device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How many distinct values one profile may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// … within which time (`7d`); absent means ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Whether two different values on one device mean two people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_key: Option<bool>,
    /// Of two conflicting links the most recent wins instead of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wins: Option<bool>,
    /// Shortest and longest value that counts, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<(u32, u32)>,
    /// `exact` (trim only), `lowercase`, `email`, `phone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<String>,
}

/// A computed trait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputedTrait {
    /// Its key.
    pub key: String,
    /// An expression of the audience language that has a value.
    pub value: String,
    /// The key it had: keeps its id and history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Labels.
    #[serde(flatten)]
    pub labels: Labels,
}

/// An audience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audience {
    /// Its key.
    pub key: String,
    /// A condition of the audience language.
    #[serde(rename = "where")]
    pub condition: String,
    /// The key it had: keeps members and history, sends no exits and entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Labels.
    #[serde(flatten)]
    pub labels: Labels,
}

/// A selection of keys: `"*"`, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Selection {
    /// `"*"`: all, later ones too.
    All(Star),
    /// These.
    Keys(Vec<String>),
}

/// The word `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Star {
    /// `*`
    #[serde(rename = "*")]
    Star,
}

impl Default for Selection {
    fn default() -> Self {
        Self::Keys(Vec::new())
    }
}

impl Selection {
    /// Whether `key` is selected.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::All(_) => true,
            Self::Keys(keys) => keys.iter().any(|k| k == key || k == "*"),
        }
    }

    /// Whether nothing is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Keys(keys) if keys.is_empty())
    }
}

/// A destination.
///
/// One that is new to an audience or a computed trait, because it is new itself, names it newly or was enabled again, is
/// told of the present members (`Audience Entered`, `initial: true`) and values, then of changes. What happens while it is
/// disabled is lost to it. Changes of plain traits and messages are sent as they come: those from before are not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// Its key.
    pub key: String,
    /// Its kind: `webhook`.
    pub kind: String,
    /// The kind's own settings; a kind knows its own shape.
    #[serde(default)]
    pub config: Value,
    /// Audiences whose membership changes are sent.
    #[serde(default, skip_serializing_if = "Selection::is_empty")]
    pub audiences: Selection,
    /// Traits, computed and plain, whose changes are sent.
    #[serde(default, skip_serializing_if = "Selection::is_empty")]
    pub traits: Selection,
    /// Event selectors of the audience language; a message that matches any is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Labels.
    #[serde(flatten)]
    pub labels: Labels,
}
