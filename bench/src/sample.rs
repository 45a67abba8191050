//! Latencies: every one is kept, so that a percentile is a measured value.

use std::time::Duration;

/// Latencies of one measurement.
#[derive(Default, Clone)]
pub(crate) struct Sample(Vec<u64>);

impl Sample {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`.
    pub(crate) fn describe(&mut self) -> String {
        self.0.sort_unstable();
        let at = |permille: usize| {
            let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
            let nanos = self.0.get(index).copied().unwrap_or_default();
            if nanos < 1_000_000 {
                format!("{:.0} µs", nanos as f64 / 1e3)
            } else {
                format!("{:.1} ms", nanos as f64 / 1e6)
            }
        };
        format!("p50 {}, p99 {}, p99.9 {}, max {}", at(500), at(990), at(999), at(1000))
    }
}
