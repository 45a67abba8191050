//! A change of the identity rules (I16): the graph that other rules make of the same history, what differs, and the
//! exchange of the one for the other in one transaction.
//!
//! The history is every message that was folded and not deleted, and every accepted decision. A [`Shadow`] is the graph
//! that the new rules make of it: in memory, made on any thread from a view of the state and the log, brought up to date
//! by the fold at the record that changes the rules. So a preview and the change itself are the same computation, and a
//! replay that finds no shadow at hand makes one and comes to the same.
//!
//! - [`shadow`] makes it, [`compare`] says what differs, [`install`] exchanges the graphs.
//!
//! It holds the whole graph and a row per message in memory while it is worked on, about 200 bytes per message.

mod compare;
mod install;
mod shadow;

pub use compare::Preview;
pub(crate) use shadow::Prepared;
pub use shadow::Shadow;

use crate::error::Error;
use crate::query::Reader;
use onefold_identity::rules::{Rules, RulesError};
use onefold_types::workspace::IdentityConfig;

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The rules do not compile.
    #[error("the identity rules cannot be used: {0}")]
    Rules(#[from] RulesError),
    /// The state or the log could not be read.
    #[error(transparent)]
    Fold(#[from] Error),
}

impl Reader {
    /// What would become of everybody under other identity rules. Takes as long as reading the history once; what was
    /// found out is kept for the change itself, which then has only the rest to read.
    ///
    /// # Errors
    /// The rules do not compile, or the state or the log could not be read.
    pub fn preview(&self, identity: &IdentityConfig) -> Result<Preview, PreviewError> {
        let rules = Rules::compile(identity)?;
        let known = self.handle().prepared().take(identity);
        let (shadow, preview) = self.with(|query| {
            let until = query.batch.txn.progress(query.batch.setting.partition)?.position;
            let mut shadow = query.batch.shadow(identity, &rules, known, until)?;
            let preview = query.batch.preview(&mut shadow)?;
            Ok((shadow, preview))
        })?;
        self.handle().prepared().keep(shadow);
        Ok(preview)
    }
}
