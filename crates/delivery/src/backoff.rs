//! How long to wait before the next attempt: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015).

use std::time::Duration;

/// The first wait at most.
const BASE_MS: u64 = 500;
/// Any wait at most.
const CAP_MS: u64 = 600_000;
/// A `Retry-After` is honoured up to a day.
pub const NAMED_MAX: Duration = Duration::from_secs(86_400);

/// The wait after `attempts` failed ones (1 or more). `dice` is uniform in 0..=`u64::MAX`. A time that the other side
/// named is never undercut.
#[must_use]
pub fn wait(attempts: u32, named: Option<Duration>, dice: u64) -> Duration {
    let ceiling = BASE_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(CAP_MS);
    let jittered = Duration::from_millis(50 + dice % ceiling);
    named.map_or(jittered, |named| named.min(NAMED_MAX).max(jittered.min(Duration::from_secs(1))))
}

#[cfg(test)]
mod tests {
    use super::wait;
    use std::time::Duration;

    #[test]
    fn waits_grow_up_to_the_cap_and_honour_what_was_named() {
        assert!(wait(1, None, u64::MAX) <= Duration::from_millis(550));
        assert!(wait(30, None, 599_999) <= Duration::from_millis(600_050));
        assert_eq!(wait(1, Some(Duration::from_secs(7)), 3), Duration::from_secs(7));
        assert!(wait(1, Some(Duration::ZERO), 3) >= Duration::from_millis(50));
    }
}
