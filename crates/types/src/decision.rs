//! Operator decisions: what a person decided about the graph, in the order in which the log has them.

use crate::ids::Identifier;
use serde::{Deserialize, Serialize};

/// What an operator asks of the identity graph. Identifiers are as typed; the fold normalises them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Forget one message (privacy): its id stays as a tombstone.
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

/// A decision with who took it and why, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Given by the admin API when the decision was asked for; the answer is looked up by it.
    pub request_id: String,
    /// Who asked.
    pub operator: String,
    /// Why, in their words.
    #[serde(default)]
    pub reason: String,
    /// What.
    pub decision: Decision,
}
