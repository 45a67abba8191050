//! What ingest counts. Reading them costs nothing to those who write them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters since start.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) accepted: AtomicU64,
    pub(crate) accepted_bytes: AtomicU64,
    pub(crate) rejected_unkept: AtomicU64,
    pub(crate) rejected: Mutex<BTreeMap<String, u64>>,
    pub(crate) answers: Mutex<BTreeMap<u16, u64>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Messages accepted.
    pub accepted: u64,
    /// Bytes of their bodies.
    pub accepted_bytes: u64,
    /// Items rejected, by code.
    pub rejected: BTreeMap<String, u64>,
    /// Rejected items that were counted and not kept: over the cap, or the log did not take them.
    pub rejected_unkept: u64,
    /// Answers by HTTP status.
    pub answers: BTreeMap<u16, u64>,
}

impl Metrics {
    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            accepted: self.accepted.load(Ordering::Relaxed),
            accepted_bytes: self.accepted_bytes.load(Ordering::Relaxed),
            rejected: self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            rejected_unkept: self.rejected_unkept.load(Ordering::Relaxed),
            answers: self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(crate) fn count_rejected(&self, code: &str) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(code.to_owned()).or_default() += 1;
    }

    pub(crate) fn count_answer(&self, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(status).or_default() += 1;
    }
}
