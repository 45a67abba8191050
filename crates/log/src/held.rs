//! The wall clock held against one that never jumps.
//!
//! The log's time never goes back (LOG-3), so a wall clock that is a year ahead for a second would leave every later
//! message a year ahead. A forward jump is therefore not believed at once: time goes on as the steady clock counts, until
//! the wall clock is near again or has stayed where it jumped to for long enough to be meant.
//!
//! A wall clock that is wrong from the start cannot be told from a right one here.

use crate::clock::{Clock, SystemClock};
use onefold_types::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// A wall clock that gets ahead by more than this between two looks has jumped: 5 minutes.
const JUMP_MS: i64 = 5 * 60_000;

/// For so long a wall clock has to stay where it jumped to before it is believed: 10 minutes.
const STAYS_MS: i64 = 10 * 60_000;

/// It stays if it goes as fast as the steady clock, but for this: a minute.
const STAYS_WITHIN_MS: i64 = 60_000;

/// What a look at the clocks was the first to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// The wall clock jumped ahead by so many milliseconds and is not believed.
    Jumped(i64),
    /// It is where it was expected.
    Back,
    /// It stayed where it jumped to, so many milliseconds ahead, and is believed.
    Stayed(i64),
}

/// A jump that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Doubted {
    /// The wall clock less the steady one.
    offset: i64,
    /// Since when, by the steady clock.
    since: i64,
}

/// What is known of the two clocks. Pure: what they show is given.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// The wall clock less the steady one, as last believed.
    offset: Option<i64>,
    doubted: Option<Doubted>,
}

impl Held {
    /// The time, when the wall clock shows `wall` and the steady one `steady`, all in milliseconds.
    fn time(&mut self, wall: i64, steady: i64) -> (i64, Option<Notice>) {
        let offset = wall.saturating_sub(steady);
        let Some(believed) = self.offset else {
            self.offset = Some(offset);
            return (wall, None);
        };
        let ahead = offset.saturating_sub(believed);
        // Back is no harm: the log's time waits.
        if ahead <= JUMP_MS {
            self.offset = Some(offset);
            return (wall, self.doubted.take().map(|_| Notice::Back));
        }
        let same = |doubted: &Doubted| offset.saturating_sub(doubted.offset).abs() <= STAYS_WITHIN_MS;
        let notice = match self.doubted {
            Some(doubted) if same(&doubted) => {
                if steady.saturating_sub(doubted.since) >= STAYS_MS {
                    *self = Self { offset: Some(offset), doubted: None };
                    return (wall, Some(Notice::Stayed(ahead)));
                }
                None
            }
            Some(_) => {
                self.doubted = Some(Doubted { offset, since: steady });
                None
            }
            None => {
                self.doubted = Some(Doubted { offset, since: steady });
                Some(Notice::Jumped(ahead))
            }
        };
        (steady.saturating_add(believed), notice)
    }
}

/// A wall clock whose forward jumps are believed only when they last.
pub struct HeldClock {
    wall: Arc<dyn Clock>,
    /// Counts from anywhere, and never jumps.
    steady: Arc<dyn Clock>,
    held: Mutex<Held>,
}

impl HeldClock {
    /// `wall`, held against `steady`, which counts from anywhere and never jumps.
    #[must_use]
    pub fn new(wall: Arc<dyn Clock>, steady: Arc<dyn Clock>) -> Self {
        Self { wall, steady, held: Mutex::default() }
    }

    /// The machine's clock, held against what it counts since its start, sleep included.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SinceBoot))
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Timestamp {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, notice) = held.time(self.wall.now().0, self.steady.now().0);
        drop(held);
        match notice {
            None => {}
            Some(Notice::Jumped(ahead_ms)) => tracing::error!(
                ahead_ms,
                "the wall clock jumped ahead; receive times go on as if it had not, until it is back or has stayed there \
                 for 10 minutes: look after the clock; if it is right, a restart believes it at once"
            ),
            Some(Notice::Back) => tracing::info!("the wall clock is back; receive times are its again"),
            Some(Notice::Stayed(ahead_ms)) => tracing::warn!(
                ahead_ms,
                "the wall clock has stayed where it jumped to; receive times are its again, and cannot go back"
            ),
        }
        Timestamp(time)
    }
}

/// What the machine counts since its start. A machine that slept has not jumped, so sleep counts.
struct SinceBoot;

impl Clock for SinceBoot {
    fn now(&self) -> Timestamp {
        #[cfg(target_os = "linux")]
        let counts_sleep = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let counts_sleep = rustix::time::ClockId::Monotonic;
        let since = rustix::time::clock_gettime(counts_sleep);
        Timestamp(since.tv_sec.saturating_mul(1_000).saturating_add(since.tv_nsec / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    const YEAR: i64 = 365 * 86_400_000;
    const START: i64 = 1_700_000_000_000;

    /// Looks at the clocks every so many milliseconds: what it shows at the end, less the right time.
    fn look(held: &mut Held, from: &mut i64, length: i64, every: i64, ahead: i64) -> (i64, Vec<Notice>) {
        let (end, mut seen, mut off) = (*from + length, Vec::new(), 0);
        while *from < end {
            *from += every;
            let (time, notice) = held.time(START + *from + ahead, *from);
            off = time - (START + *from);
            seen.extend(notice);
        }
        (off, seen)
    }

    #[test]
    fn a_clock_that_is_a_year_ahead_for_a_while_is_not_believed() {
        let (mut held, mut now) = (Held::default(), 77);
        assert_eq!(look(&mut held, &mut now, 60_000, 100, 0), (0, vec![]));
        assert_eq!(look(&mut held, &mut now, 9 * 60_000, 100, YEAR), (0, vec![Notice::Jumped(YEAR)]));
        assert_eq!(look(&mut held, &mut now, 1_000, 100, 0), (0, vec![Notice::Back]));
        // Again later: told again.
        assert_eq!(look(&mut held, &mut now, 1_000, 100, YEAR), (0, vec![Notice::Jumped(YEAR)]));
        // It need not be exactly where it was.
        assert_eq!(look(&mut held, &mut now, 1_000, 100, 4_000), (4_000, vec![Notice::Back]));
    }

    #[test]
    fn a_clock_that_stays_where_it_jumped_to_is_believed_in_the_end() {
        let (mut held, mut now, hour) = (Held::default(), 0, 3_600_000);
        look(&mut held, &mut now, 1_000, 100, 0);
        assert_eq!(look(&mut held, &mut now, 5 * 60_000, 100, hour), (0, vec![Notice::Jumped(hour)]));
        // One that jumps on has not stayed.
        assert_eq!(look(&mut held, &mut now, 9 * 60_000, 100, 2 * hour), (0, vec![]));
        let stayed = vec![Notice::Stayed(2 * hour)];
        assert_eq!(look(&mut held, &mut now, 2 * 60_000, 100, 2 * hour), (2 * hour, stayed));
        assert_eq!(look(&mut held, &mut now, 60_000, 100, 2 * hour), (2 * hour, vec![]));
    }

    #[test]
    fn what_goes_back_a_little_ahead_or_is_looked_at_seldom_has_not_jumped() {
        let (mut held, mut now) = (Held::default(), 0);
        look(&mut held, &mut now, 1_000, 100, 0);
        assert_eq!(look(&mut held, &mut now, 1_000, 100, JUMP_MS), (JUMP_MS, vec![]));
        assert_eq!(look(&mut held, &mut now, 1_000, 100, -YEAR), (-YEAR, vec![]));
        let (mut held, mut now) = (Held::default(), 0);
        look(&mut held, &mut now, 1_000, 100, 0);
        assert_eq!(look(&mut held, &mut now, YEAR, YEAR / 3, 0), (0, vec![]));
    }

    #[test]
    fn the_clock_shows_what_was_found() {
        let (wall, steady) = (Arc::new(ManualClock::at(Timestamp(START))), Arc::new(ManualClock::default()));
        let clock = HeldClock::new(wall.clone(), steady.clone());
        assert_eq!(clock.now(), Timestamp(START));
        steady.set(Timestamp(10));
        wall.set(Timestamp(START + YEAR));
        assert_eq!(clock.now(), Timestamp(START + 10));
        wall.set(Timestamp(START + 12));
        assert_eq!(clock.now(), Timestamp(START + 12));
        // The machine's own: neither stands still nor jumps.
        let (clock, before) = (HeldClock::system(), SystemClock.now());
        assert!((clock.now().0 - before.0).abs() < JUMP_MS);
    }
}
