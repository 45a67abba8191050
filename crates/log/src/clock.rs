//! Where the log's time comes from: injected, so that a simulator can drive it.

use onefold_types::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock. It may jump in either direction; the log makes its time monotone (LOG-3). What a jump forward leaves
/// behind stays, so a log's default clock is a [`crate::HeldClock`].
pub trait Clock: Send + Sync + 'static {
    /// The instant it shows.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => since(after),
            Err(before) => -since(before.duration()),
        })
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Sets it, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// How far a log's time may be ahead of the clock at a start without a word: a minute.
const AHEAD_MS: i64 = 60_000;

/// By how many milliseconds a log's time `rt` is ahead of the clock, if that is more than clocks are off by.
fn ahead_ms(rt: Timestamp, now: Timestamp) -> Option<i64> {
    Some(rt.0.saturating_sub(now.0)).filter(|ahead| *ahead > AHEAD_MS)
}

/// Says so if a log's time `rt` is ahead of the clock: nothing else would show it.
pub(crate) fn say_if_ahead(rt: Timestamp, now: Timestamp) {
    if let Some(ahead_ms) = ahead_ms(rt, now) {
        tracing::error!(
            ahead_ms,
            "the log's last receive time is ahead of the wall clock: until the clock gets there, every message gets that \
             receive time, and windows and timers stand still; either the clock is behind now (set it and start again), or \
             it was ahead when those records came"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_ahead_of_its_clock_by_more_than_clocks_are_off() {
        let ahead = |rt, now| ahead_ms(Timestamp(rt), Timestamp(now));
        assert_eq!(ahead(60_000, 0), None);
        assert_eq!(ahead(60_001, 0), Some(60_001));
        assert_eq!(ahead(0, 60_001), None);
        // One that is empty is not.
        assert_eq!(ahead_ms(Timestamp::MIN, Timestamp(0)), None);
    }
}
