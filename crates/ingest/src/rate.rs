//! Messages a second per source: a token bucket that holds one second's worth. No limit unless the source sets one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets by source key.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Bucket>>);

impl Rates {
    /// Takes `count` tokens of `source`, which gets `per_second`; or says after how many seconds they will be there.
    pub(crate) fn take(&self, source: &str, per_second: u32, count: usize, now: Instant) -> Result<(), u64> {
        let rate = f64::from(per_second.max(1));
        // A batch larger than one second's worth passes a full bucket and leaves a debt.
        let wanted = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(source.to_owned()).or_insert(Bucket { tokens: rate, at: now });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(rate);
        bucket.at = now;
        if bucket.tokens >= wanted.min(rate) {
            bucket.tokens -= wanted;
            return Ok(());
        }
        let seconds = (wanted.min(rate) - bucket.tokens) / rate;
        // Rounded up, at least 1: a client that comes back then finds its tokens.
        Err(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0)).as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use std::time::{Duration, Instant};

    #[test]
    fn the_next_second_brings_the_next_tokens() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(rates.take("web", 10, 10, start), Ok(()));
        assert_eq!(rates.take("web", 10, 1, start), Err(1));
        assert_eq!(rates.take("server", 10, 1, start), Ok(()));
        assert_eq!(rates.take("web", 10, 10, start + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_large_batch_passes_once_and_is_paid_for_later() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(rates.take("web", 10, 50, start), Ok(()));
        assert!(rates.take("web", 10, 1, start + Duration::from_secs(3)).is_err());
        assert_eq!(rates.take("web", 10, 1, start + Duration::from_secs(5)), Ok(()));
    }
}
