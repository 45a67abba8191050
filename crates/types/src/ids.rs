//! One registry of typed ids, so that ids of different things cannot be mixed.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// Where a record starts in the log: opaque, ordered, dense enough to be a file offset or a Kafka offset.
    Position(u64), "@"
);
id!(
    /// The integer that a profile's state, timers and delivery lane are keyed by; never shown to another system.
    ProfileHandle(u64), "p"
);
id!(
    /// One identifier in the graph, numbered in order of first arrival.
    NodeId(u64), "n"
);
id!(
    /// One distinct set of two or more identifiers seen together; 0 is "the stream's own identifier alone".
    SetId(u64), "s"
);
id!(
    /// A message type and name, interned: the audience index and the streams speak of events by it.
    NameId(u32), "e"
);
id!(
    /// An audience; kept through edits and renames.
    AudienceId(u32), "a"
);
id!(
    /// A computed trait; kept through edits and renames.
    TraitId(u32), "t"
);
id!(
    /// A destination; kept through edits.
    DestinationId(u32), "d"
);
id!(
    /// A source; kept through edits.
    SourceId(u32), "src"
);
id!(
    /// A shared audience primitive, equal for equal canonical texts, never reused.
    PrimitiveId(u32), "q"
);
id!(
    /// The number of a catalogue snapshot; the first is 1.
    CatalogueVersion(u32), "v"
);

/// One message of one log record: a record is a whole HTTP batch, `index` counts its messages from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventRef {
    /// The record.
    pub position: Position,
    /// The message in it.
    pub index: u16,
}

/// An identifier as a person would write it: a type and a normalised value, `email:ada@example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identifier {
    /// The identifier's type, lower case: `user_id`, `email`, `anonymous_id`, `hubspot_id`, …
    #[serde(rename = "type")]
    pub id_type: String,
    /// The value after the type's normaliser.
    #[serde(rename = "id")]
    pub value: String,
}

impl Identifier {
    /// Pairs a type with a value that is already normalised.
    pub fn new(id_type: impl Into<String>, value: impl Into<String>) -> Self {
        Self { id_type: id_type.into(), value: value.into() }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id_type, self.value)
    }
}
