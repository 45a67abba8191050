//! The destinations, one folder each. A kind knows its config and its requests; nothing here knows another kind.
//!
//! **Never here:** the store, the log, another destination, an HTTP client of its own.

pub mod webhook;

use onefold_connector::{ConfigError, Connector};
use onefold_types::suggest;
use onefold_types::workspace::Destination;
use std::sync::Arc;

/// The kinds that this build knows.
pub const KINDS: &[&str] = &["webhook"];

/// Makes the connector of a destination.
///
/// # Errors
/// Its kind is unknown, or its config cannot be used.
pub fn connect(destination: &Destination) -> Result<Arc<dyn Connector>, ConfigError> {
    match destination.kind.as_str() {
        "webhook" => {
            webhook::Webhook::new(&destination.config).map(|webhook| Arc::new(webhook) as Arc<dyn Connector>)
        }
        other => {
            let near = suggest::nearest(other, KINDS.iter().copied());
            let hint = near.map_or_else(
                || format!("expected one of {}", KINDS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            Err(ConfigError {
                key: "kind".to_owned(),
                detail: format!("there is no destination kind `{other}`; {hint}"),
            })
        }
    }
}
