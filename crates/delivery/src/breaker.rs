//! When a destination as a whole is left alone: a circuit breaker (Nygard, "Release It!", 2007). Pure: no clock, no I/O.
//!
//! - **BREAKER-1:** it opens when requests of [`LANES`] different lanes failed and none got through in between: one lane
//!   that always fails never opens it (DELIVERY-2).
//! - **BREAKER-2:** open, it lets nothing go; after a pause that grows it lets one request go, whose outcome decides.
//! - **BREAKER-3:** what became of an item without a request says nothing of the other side, and changes nothing here.

use crate::backoff;
use onefold_types::ProfileHandle;
use std::collections::BTreeSet;
use std::time::Duration;

/// Lanes that fail in a row until it opens.
pub const LANES: usize = 5;

/// It asks again after a minute at most, unless the other side named a later time.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the breaker lets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    #[default]
    Closed,
    /// Nothing.
    Open,
    /// One request, which is under way.
    HalfOpen,
}

impl BreakerState {
    /// As answers of the API and metrics say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one destination.
#[derive(Debug, Default)]
pub struct Breaker {
    state: BreakerState,
    /// Lanes that failed since anything got through, [`LANES`] at most.
    failing: BTreeSet<ProfileHandle>,
    /// When it asks again.
    until: Duration,
    /// Openings since anything got through.
    openings: u32,
}

impl Breaker {
    /// What it lets go.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// The instant before which nothing may go; `None` if only an outcome can change that, or nothing is held back.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        (self.state == BreakerState::Open).then_some(self.until)
    }

    /// Whether a request may go at `now`.
    #[must_use]
    pub fn lets_go(&self, now: Duration) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open => now >= self.until,
            BreakerState::HalfOpen => false,
        }
    }

    /// A request went.
    pub fn went(&mut self) {
        if self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// What went turned out to be no request: whoever is next may ask in its place.
    pub fn unsent(&mut self) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Open;
        }
    }

    /// The other side answered, if only that it does not want this item.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// A request of `lane` failed at `now`; the other side may have `named` a time.
    pub fn failed(&mut self, lane: ProfileHandle, now: Duration, named: Option<Duration>, dice: u64) {
        match self.state {
            // Sent before it opened: says nothing new.
            BreakerState::Open => return,
            BreakerState::HalfOpen => {}
            BreakerState::Closed => {
                self.failing.insert(lane);
                if self.failing.len() < LANES {
                    return;
                }
            }
        }
        self.openings = self.openings.saturating_add(1);
        self.state = BreakerState::Open;
        let own = backoff::wait(self.openings, None, dice).min(PAUSE_MAX);
        self.until = now + named.map_or(own, |named| named.min(backoff::NAMED_MAX).max(own));
        self.failing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        (0..LANES as u64).for_each(|lane| breaker.failed(ProfileHandle(lane), NOW, None, 7));
        breaker
    }

    #[test]
    fn opens_asks_with_one_request_and_closes() {
        let mut breaker = opened();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.lets_go(NOW));
        let until = breaker.until().unwrap();
        assert!(breaker.lets_go(until));
        breaker.went();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.lets_go(until + NOW), "one request is under way");
        breaker.failed(ProfileHandle(1), until, None, 7);
        assert!(!breaker.lets_go(until));
        breaker.went();
        breaker.answered();
        assert!(breaker.lets_go(until));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_was_no_request_leaves_it_as_it_was() {
        let mut breaker = opened();
        let until = breaker.until().unwrap();
        breaker.went();
        breaker.unsent();
        assert_eq!((breaker.state(), breaker.until()), (BreakerState::Open, Some(until)));
        assert!(breaker.lets_go(until), "the next one asks");
        let mut closed = Breaker::default();
        closed.unsent();
        assert_eq!(closed.state(), BreakerState::Closed);
    }

    #[test]
    fn one_lane_that_always_fails_never_opens_it() {
        let mut breaker = Breaker::default();
        (0..1_000).for_each(|_| breaker.failed(ProfileHandle(1), NOW, None, 7));
        assert_eq!(breaker.state(), BreakerState::Closed);
        (0..LANES as u64 - 1).for_each(|lane| breaker.failed(ProfileHandle(lane), NOW, None, 7));
        breaker.answered();
        (4..8).for_each(|lane| breaker.failed(ProfileHandle(lane), NOW, None, 7));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_named_time_is_honoured_up_to_a_day() {
        let mut breaker = Breaker::default();
        let year = Duration::from_secs(365 * 86_400);
        (0..LANES as u64).for_each(|lane| breaker.failed(ProfileHandle(lane), NOW, Some(year), 7));
        assert_eq!(breaker.until(), Some(NOW + Duration::from_secs(86_400)));
    }
}
