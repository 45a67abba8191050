//! What the fold wants done outside: the rows of the outbox.

use crate::ids::{AudienceId, DestinationId, EventRef, ProfileHandle, TraitId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Why an effect came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A message arrived.
    Event {
        /// Its message id.
        message_id: String,
        /// True if its event time lies before the engine time at which it was folded by more than the clock's tick:
        /// the transition is observed now, not rewritten into the past.
        late: bool,
    },
    /// Time passed.
    Time,
    /// Two profiles became one.
    Merge {
        /// The profile id that goes on.
        into: String,
    },
    /// One profile became several: of what those are told that came of it, not of the one that goes on.
    Split {
        /// The profile id it came from.
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

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Someone is in an audience now.
    Entered {
        /// The audience.
        audience: AudienceId,
        /// True if history made the member.
        initial: bool,
    },
    /// Someone is no longer in an audience.
    Exited {
        /// The audience.
        audience: AudienceId,
    },
    /// A computed trait has another value; `value` is JSON, `null` if missing.
    TraitComputed {
        /// The computed trait.
        computed_trait: TraitId,
        /// JSON text of the value.
        value: String,
    },
    /// A plain trait has another value; `value` is JSON, `null` if removed.
    TraitChanged {
        /// The trait's key.
        key: String,
        /// JSON text of the value.
        value: String,
    },
    /// The message itself is wanted by the destination.
    Event {
        /// Where it stands in the log.
        at: EventRef,
    },
}

/// One row of the outbox: for one destination, in the lane of one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The stable effect id: equal after any crash, replay or rebuild.
    pub id: u128,
    /// For whom.
    pub destination: DestinationId,
    /// Whose lane: effects of one profile for one destination leave in order.
    pub profile: ProfileHandle,
    /// Lanes that were absorbed by this one: their rows with a smaller sequence go first.
    pub after: Vec<ProfileHandle>,
    /// The instant at which the change is true.
    pub effective: Timestamp,
    /// The engine time at which it was found.
    pub observed: Timestamp,
    /// What.
    pub change: Change,
    /// Why.
    pub cause: Cause,
    /// Who, as of the effect: identifiers of the profile, strongest first.
    pub ids: Vec<crate::ids::Identifier>,
    /// The profile id at that moment.
    pub profile_id: String,
    /// The customer key, if the profile has one.
    pub customer_key: Option<String>,
}

impl Effect {
    /// The effect id as it stands in `messageId` and `webhook-id`: `ofx_` and 32 hexadecimal digits.
    #[must_use]
    pub fn id_text(&self) -> String {
        format!("ofx_{:032x}", self.id)
    }
}
