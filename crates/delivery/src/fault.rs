//! What ends delivery: a store that accepts nothing until it is opened again, or a task of ours that panicked. To go on would
//! be for show: nothing that is sent could be noted, or a destination would stand still without a word.

use onefold_store::Error;
use std::sync::Arc;
use tokio::sync::watch;

/// Told of what this process cannot mend; shared by all that delivers. The first one stays.
#[derive(Clone)]
pub(crate) struct Fault(Arc<watch::Sender<Option<String>>>);

impl Default for Fault {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Fault {
    /// Looks at an error of a store: one that is poisoned fails the same way for ever, every other may pass.
    pub(crate) fn look(&self, error: &Error) {
        if let Error::Poisoned { .. } = error {
            self.set(&error.to_string());
        }
    }

    /// `why` it cannot go on.
    pub(crate) fn set(&self, why: &str) {
        let is_first = self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| why.to_owned());
            is_first
        });
        if is_first {
            tracing::error!(
                why,
                "delivery stopped; nothing is lost: what is not noted is sent again after a restart"
            );
        }
    }

    /// Why it cannot go on, if it cannot.
    pub(crate) fn why(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until it cannot go on.
    pub(crate) async fn comes(&self) {
        // The sender lives as long as this does.
        drop(self.0.subscribe().wait_for(Option::is_some).await);
    }
}
