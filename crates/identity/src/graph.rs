//! The records of the identity graph, and the narrow trait through which the engine reads and writes them.
//!
//! The fold implements [`Graph`] over the store, tests over [`MemoryGraph`]. Node numbers, set numbers and handles
//! follow arrival; whatever is compared between two graphs is written by identifier ([`Export`]).
//!
//! **Never here:** a rule, an owner, a decision. A record says what was seen and what was concluded.
//!
//! - A *set* is the distinct usable identifiers of an event, two or more, sorted by configured (rank, type, value);
//!   its first is the stream that keeps the event. Edges are derived from sets under the current flags.
//! - A *link row* of a device says: from this (time, message id) on, the device's latest login is `anchor`'s. There is
//!   a row only where the anchor differs from the row before.

mod memory;
mod overlay;

pub use memory::{Export, ExportedNode, MemoryGraph};
pub use overlay::Overlay;

use onefold_types::{EventRef, Identifier, NameId, NodeId, ProfileHandle, SetId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The cluster of a node that is in none: never seen, forgotten, or blocked by an operator.
pub const NO_CLUSTER: ProfileHandle = ProfileHandle(u64::MAX);

/// When and by which message: the order in which events lie on a timeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Event time.
    pub ts: Timestamp,
    /// The message's id; compared as bytes.
    pub message_id: String,
}

impl Stamp {
    /// Pairs the two.
    #[must_use]
    pub fn new(ts: Timestamp, message_id: &str) -> Self {
        Self { ts, message_id: message_id.to_owned() }
    }

    /// Before every event.
    #[must_use]
    pub const fn least() -> Self {
        Self { ts: Timestamp::MIN, message_id: String::new() }
    }
}

/// One identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Which.
    pub id: Identifier,
    /// Its first event's time; [`Timestamp::MAX`] if no event has it (only a decision named it, or all were deleted).
    pub first_seen: Timestamp,
    /// Its first event's message id.
    pub first_message: String,
    /// The cluster that holds it, or [`NO_CLUSTER`].
    pub cluster: ProfileHandle,
    /// Raised by a deletion of its profile: a new person is a new id.
    pub generation: u32,
    /// A person identifier seen with too many values of one unique type: contributes no edges.
    pub hub: bool,
    /// A device seen with two persons: contributes no edges, its events go by timeline.
    pub shared: bool,
    /// Blocked by an operator.
    pub blocked: bool,
    /// In how many sets it is.
    pub sets: u32,
    /// A person identifier that is in a set with a device of several persons: its joining another can end the
    /// device's being shared. Never taken back; a hint that saves looking.
    pub near_shared: bool,
    /// Some set's events lie in the stream of a stronger identifier that does not count, and this node stands for
    /// them. Never taken back; a hint that saves looking.
    pub stands_in: bool,
    /// Values it was directly seen with, by type: of a person identifier those of unique types, of a device those of
    /// person keys.
    pub seen: BTreeMap<String, SeenWith>,
    /// The numbers of operator decisions that name it, taken-back ones too.
    pub operations: Vec<u64>,
    /// Of a device: its newest link row, so that the usual event reads no link row at all.
    pub last_link: Option<Link>,
}

impl Node {
    /// An identifier that nothing is known of.
    #[must_use]
    pub const fn unseen(id: Identifier) -> Self {
        Self {
            id,
            first_seen: Timestamp::MAX,
            first_message: String::new(),
            cluster: NO_CLUSTER,
            generation: 0,
            hub: false,
            shared: false,
            blocked: false,
            sets: 0,
            near_shared: false,
            stands_in: false,
            seen: BTreeMap::new(),
            operations: Vec::new(),
            last_link: None,
        }
    }

    /// Whether some event has it.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.first_seen != Timestamp::MAX
    }

    /// Its first event.
    #[must_use]
    pub fn first(&self) -> Stamp {
        Stamp { ts: self.first_seen, message_id: self.first_message.clone() }
    }
}

/// Values of one type that an identifier was directly seen with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenWith {
    /// Some of them, in order of node.
    pub values: Vec<NodeId>,
    /// There are more than are listed.
    pub more: bool,
}

/// One profile's identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The node whose identifier the profile id is made of: the first seen.
    pub anchor: NodeId,
    /// Whether a person-scope identifier is in it.
    pub has_person: bool,
    /// In order of node.
    pub members: Vec<Member>,
    /// The accepted edges that hold it together, in no order: one less than members.
    pub forest: Vec<ForestEdge>,
}

/// A node of a cluster with what the limits ask of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// Its identifier's type.
    pub id_type: String,
    /// Its first event's time.
    pub first_seen: Timestamp,
    /// An operator decision names it.
    pub decided: bool,
}

/// An edge's place in the canonical order, but for the last tie-break, which is by identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey {
    /// The number of the operator's link; [`u64::MAX`] for what events say.
    pub operation: u64,
    /// The weaker end's rank.
    pub max_rank: u8,
    /// The stronger end's rank.
    pub min_rank: u8,
    /// When the two were first seen together; the last time negated if either type has `last_wins`.
    pub time: i64,
}

/// An accepted edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForestEdge {
    /// The stronger end.
    pub u: NodeId,
    /// The weaker end.
    pub v: NodeId,
    /// Its place in the canonical order.
    pub key: OrderKey,
    /// Whether it counts before devices are told to be shared: an operator's link, or between two person identifiers.
    pub personal: bool,
}

/// A distinct set of two or more identifiers seen together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its number, as stream rows have it.
    pub set: SetId,
    /// The earliest time.
    pub first_seen: Timestamp,
    /// The earliest message.
    pub first_message: String,
    /// The latest time; kept up only if a type in the set has `last_wins`.
    pub last_seen: Timestamp,
}

/// A device's latest login from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The event that links.
    pub at: Stamp,
    /// The person identifier that anchors it.
    pub anchor: NodeId,
}

/// A row of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// Event time.
    pub ts: Timestamp,
    /// Where the message stands in the log.
    pub at: EventRef,
    /// The message type and name.
    pub name: NameId,
    /// Which identifiers it has; 0 is the stream's own alone.
    pub set: SetId,
}

/// An accepted operator decision, on nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub verb: Verb,
    /// The identifier, or the first of two.
    pub a: NodeId,
    /// The second of two; equal to `a` where there is one only.
    pub b: NodeId,
    /// An undo took it back.
    pub undone: bool,
}

/// What an operator decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verb {
    /// One person.
    Link,
    /// Not one person.
    Cut,
    /// The two values count as one.
    Force,
    /// Says nothing about anyone.
    Block,
    /// Counts again.
    Unblock,
    /// Nothing under the rules of this graph, which block an identifier that it names or make one of the two. Kept since
    /// it can be taken back; it names no node.
    Void,
}

/// What the engine reads and writes. Reads see earlier writes of the same graph.
pub trait Graph {
    /// What can go wrong underneath.
    type Error;

    /// The node of an identifier.
    ///
    /// # Errors
    /// As every method: what went wrong underneath.
    fn node_of(&mut self, id: &Identifier) -> Result<Option<NodeId>, Self::Error>;
    /// A node's record.
    fn node(&mut self, node: NodeId) -> Result<Option<Arc<Node>>, Self::Error>;
    /// Sets a node's record; `node_of` its identifier finds it from now on.
    fn put_node(&mut self, node: NodeId, record: Arc<Node>) -> Result<(), Self::Error>;

    /// The record of a set.
    fn evidence(&mut self, nodes: &[NodeId]) -> Result<Option<Arc<Evidence>>, Self::Error>;
    /// Sets the record of a set; `sets_of` each of its nodes finds it from now on.
    fn put_evidence(&mut self, nodes: &[NodeId], record: Evidence) -> Result<(), Self::Error>;
    /// Removes a set.
    fn remove_evidence(&mut self, nodes: &[NodeId]) -> Result<(), Self::Error>;
    /// Shows the sets that hold `node`, in order, until `visit` answers false.
    fn sets_of(&mut self, node: NodeId, visit: &mut dyn FnMut(&[NodeId]) -> bool) -> Result<(), Self::Error>;

    /// A cluster.
    fn cluster(&mut self, profile: ProfileHandle) -> Result<Option<Arc<Cluster>>, Self::Error>;
    /// Sets a cluster.
    fn put_cluster(&mut self, profile: ProfileHandle, cluster: Cluster) -> Result<(), Self::Error>;
    /// Removes a cluster.
    fn remove_cluster(&mut self, profile: ProfileHandle) -> Result<(), Self::Error>;

    /// The last link row of `device` at or before `at`.
    fn link_at_or_before(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Self::Error>;
    /// The first link row of `device` after `at`.
    fn link_after(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Self::Error>;
    /// Adds a link row.
    fn put_link(&mut self, device: NodeId, link: &Link) -> Result<(), Self::Error>;
    /// Removes the link row at exactly `at`.
    fn remove_link(&mut self, device: NodeId, at: &Stamp) -> Result<(), Self::Error>;

    /// Shows the rows of `node`'s stream with `from <= ts <= to`, in order, until `visit` answers false.
    fn stream(
        &mut self,
        node: NodeId,
        from: Timestamp,
        to: Timestamp,
        visit: &mut dyn FnMut(StreamRow) -> bool,
    ) -> Result<(), Self::Error>;
    /// The id of the message at `at`.
    fn message_id(&mut self, at: EventRef) -> Result<String, Self::Error>;

    /// An accepted operator decision.
    fn operation(&mut self, number: u64) -> Result<Option<Arc<Operation>>, Self::Error>;
    /// Keeps an accepted operator decision, or changes one.
    fn put_operation(&mut self, operation: Operation) -> Result<(), Self::Error>;

    /// A number for a new node.
    fn next_node(&mut self) -> NodeId;
    /// A number for a new set; never 0.
    fn next_set(&mut self) -> SetId;
    /// A handle for a new profile.
    fn next_profile(&mut self) -> ProfileHandle;

    /// A profile has the profile id of this node and generation from now on: it resolves for ever.
    fn remember(&mut self, anchor: NodeId, record: &Node) -> Result<(), Self::Error>;
}
