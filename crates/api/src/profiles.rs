//! The profile API, in Segment's shapes, and personalise.

use crate::{Identifier, Page, Time};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The part that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Part {
    /// Of `traits`.
    Traits(Traits),
    /// Of `external_ids`.
    ExternalIds(Listed<ExternalId>),
    /// Of `events`, of users alone: the latest first.
    Events(Listed<Event>),
    /// Of `links`: of a user the accounts, of an account the users.
    Links(Listed<Link>),
    /// Of `audiences`, of users alone.
    Audiences(Listed<Membership>),
    /// Of a user's `metadata`.
    Person(Metadata<Person>),
    /// Of an account's `metadata`.
    Account(Metadata<Calls>),
}

/// A page of a list of the profile API.
pub type Listed<T> = Page<T, Cursor>;

/// Where the next page begins, as Segment says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cursor {
    /// The path of the list.
    pub url: String,
    /// Whether there is a next page.
    pub has_more: bool,
    /// Given as `cursor`, it asks for the next page; empty if this is the last one.
    pub next: String,
    /// Items of a page, at most.
    pub limit: usize,
}

/// A page of traits, in order of key.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Traits {
    /// By key: plain traits, computed traits, and audiences as booleans.
    pub traits: BTreeMap<String, Trait>,
    /// Where the next page begins.
    pub cursor: Cursor,
}

/// A trait: with `verbose` also where it comes from, else its value, which is any JSON.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Trait {
    /// With `verbose`.
    Sourced(Sourced),
    /// Its value: any JSON.
    Plain(Value),
}

/// A trait's value and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "TraitWithSource")]
pub struct Sourced {
    /// Any JSON.
    pub value: Value,
    /// The source's key; `onefold` of a computed trait and an audience.
    pub source_id: String,
    /// When a trait was set, when a computed trait last changed (null if it never did), since when someone is in an
    /// audience (null if not in it).
    pub updated_at: Option<Time>,
    /// The message that set a plain trait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// An identifier as Segment shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExternalId {
    /// Its value.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub id_type: String,
    /// Of what it is one.
    pub collection: Collection,
    /// How the value is written.
    pub encoding: Encoding,
}

/// People or accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    /// People.
    Users,
    /// Accounts.
    Accounts,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is.
    None,
}

/// An audience that someone is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Membership {
    /// The audience's key.
    pub key: String,
    /// Since when, if `verbose` is asked for; null if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Option<Time>>,
}

/// An account of a user, or a user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Link {
    /// What the other one is.
    pub to_collection: Collection,
    /// The earliest sign of it.
    pub since: Time,
    /// The identifiers of the other one.
    pub external_ids: Vec<ExternalId>,
}

/// What someone did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Event {
    /// The type of the call: `track`, `page`, `screen`, `identify`, `group`, `alias`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event's or page's name; may be empty.
    pub event: String,
    /// The message's id.
    pub message_id: String,
    /// When it happened.
    pub timestamp: Time,
    /// When it was received.
    pub received_at: Time,
    /// The source's key.
    pub source_id: String,
    /// As it was sent: any JSON.
    pub properties: Value,
    /// As it was sent: any JSON; null if there are none.
    pub traits: Value,
    /// As it was sent: any JSON.
    pub context: Value,
    /// The identifiers that it carries.
    pub external_ids: Vec<Identifier>,
    /// Why the stored message cannot be read, if it cannot: then its content is missing above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// What is known of a profile besides what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Metadata_of_{T}")]
pub struct Metadata<T> {
    /// The same.
    pub metadata: T,
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Person {
    /// Names the profile now; may change with a merge or a split.
    pub profile_id: String,
    /// The key that stays, once one was issued.
    pub customer_key: Option<String>,
    /// Events that the profile owns.
    pub events: u64,
    /// Those of them that retention has trimmed.
    pub events_trimmed: u64,
    /// By which messages it is known.
    #[serde(flatten)]
    pub calls: Calls,
}

/// The first and the last message that says anything of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Calls {
    /// When the first was.
    pub created_at: Option<Time>,
    /// When the last was.
    pub updated_at: Option<Time>,
    /// Always null.
    pub expires_at: Option<Time>,
    /// The first message, if it is still there.
    pub first_message_id: Option<String>,
    /// The last message, if it is still there.
    pub last_message_id: Option<String>,
    /// The source of the first.
    pub first_source_id: Option<String>,
    /// The source of the last.
    pub last_source_id: Option<String>,
}

/// What a page may know about its own visitor: of what its source lists under `personalize`, what is known.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Personal {
    /// Audiences, by key: whether the visitor is in it.
    pub audiences: BTreeMap<String, bool>,
    /// Traits, by key: any JSON.
    pub traits: BTreeMap<String, Value>,
}
