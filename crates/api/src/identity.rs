//! Who is who, why, and what operators decided about it.

use crate::{Identifier, Time};
use onefold_types::decision::Decision as Decided;
use onefold_types::effect::Cause as Known;
use schemars::JsonSchema;
use serde::Serialize;

/// Whether two identifiers are one person, and why or why not.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Why {
    /// Whether they are one person.
    pub together: bool,
    /// The hops from the one to the other, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<Hop>>,
    /// What keeps them apart, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Apart>,
}

/// Two identifiers that belong together, and what says so.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Hop {
    /// One identifier.
    pub from: Identifier,
    /// The other.
    pub to: Identifier,
    /// What says that they belong together.
    pub because: Because,
    /// The version of the identity rules in force.
    pub rules_version: u32,
}

/// What says that two identifiers belong together.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Because {
    /// An operator's decision.
    Operator {
        /// Its number.
        decision: u64,
    },
    /// Events that have both.
    Events {
        /// When the first was.
        first: Time,
        /// When the last was; null if the log has none of them any more.
        last: Option<Time>,
        /// How many there are.
        count: usize,
        /// The message ids of the first and last few.
        message_ids: Vec<String>,
    },
}

/// What keeps two identifiers apart.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Apart {
    /// One of them is blocked by the rules.
    Blocked {
        /// The same in words.
        detail: String,
    },
    /// One of them was never seen, or is blocked by an operator.
    Unknown {
        /// Which, in words.
        detail: String,
    },
    /// Nothing does: they are in one profile.
    Together,
    /// No chain of events or decisions leads from one to the other.
    NoEvidence {
        /// The same in words.
        detail: String,
    },
    /// The search gave up: whether a chain leads from one to the other is not known.
    TooFar {
        /// Identifiers that were searched.
        searched: usize,
        /// The same in words.
        detail: String,
    },
    /// A rule breaks the chain between them.
    Rejected {
        /// Where.
        hop: Hop,
        /// The rule, in words.
        rule: String,
        /// The identifiers that show it.
        witnesses: Vec<Identifier>,
    },
}

/// What an operator asks of the identity graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decision {
    /// These two are one person.
    Link {
        /// One identifier.
        a: Identifier,
        /// The other.
        b: Identifier,
    },
    /// These two are not one person.
    Cut {
        /// One identifier.
        a: Identifier,
        /// The other.
        b: Identifier,
    },
    /// These two values of one type count as one for its limit.
    Force {
        /// One identifier.
        a: Identifier,
        /// The other, of the same type.
        b: Identifier,
    },
    /// This identifier says nothing about anyone.
    Block {
        /// The identifier.
        id: Identifier,
    },
    /// This identifier counts again.
    Unblock {
        /// The identifier.
        id: Identifier,
    },
    /// The decision with this number never was.
    Undo {
        /// The number of the decision to take back.
        number: u64,
    },
    /// Forget one message: its id stays as a tombstone.
    DeleteMessage {
        /// The message id.
        message_id: String,
    },
    /// Forget a whole profile: identifiers, evidence, events, traits.
    DeleteProfile {
        /// Any of its identifiers.
        id: Identifier,
    },
    /// Issue the customer key of whoever has this identifier now, and not with the first effect that leaves.
    IssueCustomerKey {
        /// Any identifier of the profile.
        id: Identifier,
    },
    /// Take an item out of the quarantine: it was sent again, or given up.
    Release {
        /// The item's number.
        number: u64,
    },
}

impl From<Decided> for Decision {
    fn from(decision: Decided) -> Self {
        match decision {
            Decided::Link { a, b } => Self::Link { a: a.into(), b: b.into() },
            Decided::Cut { a, b } => Self::Cut { a: a.into(), b: b.into() },
            Decided::Force { a, b } => Self::Force { a: a.into(), b: b.into() },
            Decided::Block { id } => Self::Block { id: id.into() },
            Decided::Unblock { id } => Self::Unblock { id: id.into() },
            Decided::Undo { number } => Self::Undo { number },
            Decided::DeleteMessage { message_id } => Self::DeleteMessage { message_id },
            Decided::DeleteProfile { id } => Self::DeleteProfile { id: id.into() },
            Decided::IssueCustomerKey { id } => Self::IssueCustomerKey { id: id.into() },
            Decided::Release { number } => Self::Release { number },
        }
    }
}

/// A decision that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who decided.
    pub operator: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// What.
    pub decision: Decision,
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// The customer key, of a decision that issues one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_key: Option<String>,
}

/// A change of who is who, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changed {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: Time,
    /// What.
    pub transition: Transition,
    /// Why.
    pub cause: Cause,
}

/// One change of who is who. Profiles and identifiers are named by the numbers that the state has for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Transition {
    /// Two profiles became one.
    Merged {
        /// The profile that went.
        from: u64,
        /// The one that stays.
        into: u64,
    },
    /// A profile lost identifiers to others.
    Split {
        /// The profile that lost.
        from: u64,
        /// Those that have them now.
        into: Vec<u64>,
    },
    /// A device's events within an interval went from one profile to another.
    Moved {
        /// The device.
        device: u64,
        /// Whose they were; null if no one's.
        from: Option<u64>,
        /// Whose they are; null if no one's.
        to: Option<u64>,
        /// The first that moved.
        since: Stamp,
        /// The first after that did not; null means all.
        until: Option<Stamp>,
    },
    /// A profile's first-seen identifier, and with it its profile id, is another.
    IdChanged {
        /// Which profile.
        profile: u64,
        /// The identifier that its id was made of.
        from: u64,
        /// The identifier that it is made of.
        to: u64,
    },
}

/// A place on a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stamp {
    /// Event time, in milliseconds since 1970.
    pub ts: i64,
    /// The message.
    pub message_id: String,
}

/// Why something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A message arrived.
    Event {
        /// Its message id.
        message_id: String,
        /// Whether it was late: its event time lay before what was folded already.
        late: bool,
    },
    /// Time passed.
    Time,
    /// Two profiles became one.
    Merge {
        /// The profile id that goes on.
        into: String,
    },
    /// One profile became several.
    Split {
        /// The profile id that it came from.
        from: String,
    },
    /// The audience or trait is new, or was edited, or removed; or the destination is new to it.
    Definition,
    /// A message or profile was deleted.
    Deletion,
    /// An operator's decision changed who is who.
    Decision {
        /// The decision's number.
        number: u64,
    },
    /// The identity rules changed.
    Rules {
        /// The version of the catalogue that changed them.
        version: u32,
    },
}

impl From<Known> for Cause {
    fn from(cause: Known) -> Self {
        match cause {
            Known::Event { message_id, late } => Self::Event { message_id, late },
            Known::Time => Self::Time,
            Known::Merge { into } => Self::Merge { into },
            Known::Split { from } => Self::Split { from },
            Known::Definition => Self::Definition,
            Known::Deletion => Self::Deletion,
            Known::Decision { number } => Self::Decision { number },
            Known::Rules { version } => Self::Rules { version },
        }
    }
}

/// User ids that differ in nothing but case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Alike {
    /// All of them.
    pub ids: Vec<Identifier>,
}
