//! The HTTP contract: what the profile and management API answer, errors (RFC 9457) included. The types are what the
//! handlers send, and their schemas are what `/api/openapi.json` says of it. **Never here:** a handler.

pub mod deliveries;
pub mod identity;
pub mod live;
mod page;
mod problem;
pub mod profiles;
pub mod quarantine;
pub mod status;
pub mod workspace;

pub use page::{ByKey, ByNumber, Page};
pub use problem::{Place, Problem};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant: RFC 3339 with milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "date-time"))]
pub struct Time(pub String);

/// An identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identifier {
    /// Its type: `user_id`, `email`, `anonymous_id`, `hubspot_id`, …
    #[serde(rename = "type")]
    pub id_type: String,
    /// Its value.
    pub id: String,
}

impl From<onefold_types::Identifier> for Identifier {
    fn from(id: onefold_types::Identifier) -> Self {
        Self { id_type: id.id_type, id: id.value }
    }
}
