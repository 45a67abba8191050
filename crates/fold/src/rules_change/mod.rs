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
    /// found out is kept for ten minutes for the change itself, which then has only the rest to read.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Options, Worker};
    use onefold_log::{ManualClock, MemoryLog, MemoryLogOptions};
    use onefold_store::MemoryStore;
    use onefold_types::Timestamp;
    use std::sync::Arc;

    const MINUTE: i64 = 60_000;

    #[test]
    fn the_graph_of_a_preview_that_nobody_comes_for_goes() {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        let log = Arc::new(MemoryLog::new(MemoryLogOptions { clock: clock.clone(), ..Default::default() }));
        let store = Arc::new(MemoryStore::new());
        let options = Options { secret: [7; 32], ..Options::default() };
        let mut worker = Worker::open(log.clone(), store.clone(), options).unwrap();
        let reader = Reader::new(store, log, worker.handle(), [7; 32]);
        let rules = IdentityConfig { hub_threshold: 3, ..IdentityConfig::default() };
        reader.preview(&rules).unwrap();
        for (minutes, there) in [(5, true), (14, true), (15, false)] {
            clock.set(Timestamp(minutes * MINUTE));
            worker.step().unwrap();
            assert_eq!(worker.handle().prepared().is_there(), there, "after {minutes} minutes");
        }
        // A further preview begins its own ten minutes.
        reader.preview(&rules).unwrap();
        for (minutes, there) in [(20, true), (29, true), (30, false)] {
            clock.set(Timestamp(minutes * MINUTE));
            worker.step().unwrap();
            assert_eq!(worker.handle().prepared().is_there(), there, "after {minutes} minutes");
        }
    }
}
