//! So many of something in a period, per source: a token bucket that holds one period's worth.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets by source key.
#[derive(Debug)]
pub(crate) struct Rates {
    period: Duration,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Rates {
    /// Buckets that are full again after `period`.
    pub(crate) fn per(period: Duration) -> Self {
        Self { period, buckets: Mutex::default() }
    }

    /// Takes `count` tokens of `source`, which gets `allowed` a period; or says after how many seconds they will be there.
    pub(crate) fn take(&self, source: &str, allowed: u32, count: usize, now: Instant) -> Result<(), u64> {
        let full = f64::from(allowed.max(1));
        // A batch larger than one period's worth passes a full bucket and leaves a debt.
        let wanted = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(source.to_owned()).or_insert(Bucket { tokens: full, at: now });
        let periods = now.saturating_duration_since(bucket.at).as_secs_f64()
            / self.period.as_secs_f64().max(f64::EPSILON);
        bucket.tokens = (bucket.tokens + periods * full).min(full);
        bucket.at = now;
        if bucket.tokens >= wanted.min(full) {
            bucket.tokens -= wanted;
            return Ok(());
        }
        let periods = (wanted.min(full) - bucket.tokens) / full;
        let seconds = periods * self.period.as_secs_f64();
        // Rounded up, at least 1: a client that comes back then finds its tokens.
        Err(Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0)).as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use std::time::{Duration, Instant};

    #[test]
    fn the_next_second_brings_the_next_tokens() {
        let (rates, start) = (Rates::per(Duration::from_secs(1)), Instant::now());
        assert_eq!(rates.take("web", 10, 10, start), Ok(()));
        assert_eq!(rates.take("web", 10, 1, start), Err(1));
        assert_eq!(rates.take("server", 10, 1, start), Ok(()));
        assert_eq!(rates.take("web", 10, 10, start + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_large_batch_passes_once_and_is_paid_for_later() {
        let (rates, start) = (Rates::per(Duration::from_secs(1)), Instant::now());
        assert_eq!(rates.take("web", 10, 50, start), Ok(()));
        assert!(rates.take("web", 10, 1, start + Duration::from_secs(3)).is_err());
        assert_eq!(rates.take("web", 10, 1, start + Duration::from_secs(5)), Ok(()));
    }
    #[test]
    fn a_minute_s_worth_may_come_at_once() {
        let (rates, start) = (Rates::per(Duration::from_secs(60)), Instant::now());
        assert_eq!(rates.take("web", 600, 600, start), Ok(()));
        assert_eq!(rates.take("web", 600, 1, start), Err(1));
        assert_eq!(rates.take("web", 600, 100, start + Duration::from_secs(5)), Err(6));
        assert_eq!(rates.take("web", 600, 100, start + Duration::from_secs(10)), Ok(()));
    }
}
