//! What the engine answers: owners, changes, refusals, ranges.

use crate::graph::Stamp;
use onefold_types::{Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This profile's.
    Profile(ProfileHandle),
    /// No one's.
    None(NoOwner),
}

/// Why an event is no one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOwner {
    /// All its usable identifiers are hubs.
    Hub,
    /// It has no usable identifier.
    NoUsableId,
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The stream that keeps it; none if no identifier is usable.
    pub stream: Option<NodeId>,
    /// Its set of identifiers.
    pub set: SetId,
    /// Whose it is.
    pub owner: Owner,
    /// What it changed.
    pub changes: Changes,
}

/// What changed in who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In order.
    pub transitions: Vec<Transition>,
    /// Profiles whose owned events changed other than by the event being observed or by a merge of whole profiles; one
    /// that has no identifier left, and so no cluster, is named here too.
    pub rebuild: BTreeSet<ProfileHandle>,
}

/// One change of who is who.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    /// Two profiles became one.
    Merged {
        /// The one that went.
        from: ProfileHandle,
        /// The one that stays.
        into: ProfileHandle,
    },
    /// A profile lost identifiers to others.
    Split {
        /// The one that lost.
        from: ProfileHandle,
        /// Those that have them now.
        into: Vec<ProfileHandle>,
    },
    /// A device's events within an interval went from one profile to another.
    Moved {
        /// The device.
        device: NodeId,
        /// Whose they were; `None` if no one's.
        from: Option<ProfileHandle>,
        /// Whose they are.
        to: Option<ProfileHandle>,
        /// The first that moved.
        since: Stamp,
        /// The first after that did not; `None` means all.
        until: Option<Stamp>,
    },
    /// A profile's first-seen identifier, and with it its profile id, is another.
    IdChanged {
        /// Which.
        profile: ProfileHandle,
        /// The node it was made of.
        from: NodeId,
        /// The node it is made of.
        to: NodeId,
    },
}

/// Why a decision is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that forbids it.
    pub rule: String,
    /// The identifiers that show it.
    pub witnesses: Vec<Identifier>,
}

/// Rows of one stream: those of `sets` (all if absent) from `from` up to, not including, `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The stream.
    pub stream: NodeId,
    /// The first (time, message id).
    pub from: Stamp,
    /// The first after the range; `None` means to the end.
    pub to: Option<Stamp>,
    /// Only rows of these sets; `None` means all.
    pub sets: Option<BTreeSet<SetId>>,
}

impl Range {
    /// Whether rows of `set` are meant.
    #[must_use]
    pub fn takes(&self, set: SetId) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.contains(&set))
    }

    /// Whether an event at this time with this message id is inside.
    #[must_use]
    pub fn contains(&self, ts: Timestamp, message_id: &str) -> bool {
        let at = (ts, message_id);
        (self.from.ts, self.from.message_id.as_str()) <= at
            && self.to.as_ref().is_none_or(|to| at < (to.ts, to.message_id.as_str()))
    }
}
