//! The order of one destination's effects: each profile is a lane, a lane goes one effect after the other, and an
//! effect that names absorbed lanes waits until their earlier effects are gone. Pure: no clock, no I/O.

use onefold_types::ProfileHandle;
use onefold_types::effect::Effect;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// An effect in a lane.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its number in the outbox.
    pub sequence: u64,
    /// The effect.
    pub effect: Effect,
    /// Attempts so far.
    pub attempts: u32,
    /// Time since start at which it may be tried (again).
    pub not_before: Duration,
    /// When its first attempt was, since start.
    pub first_attempt: Option<Duration>,
    /// Its body, once rendered: the same at every attempt.
    pub body: Option<Vec<u8>>,
}

/// The lanes of one destination.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: BTreeMap<ProfileHandle, VecDeque<Item>>,
    in_flight: BTreeSet<ProfileHandle>,
    /// Lanes whose head may be ready, in the order in which they came to be.
    ready: BTreeSet<(Duration, u64, ProfileHandle)>,
    /// Lanes that wait for an absorbed one.
    blocked: BTreeMap<ProfileHandle, BTreeSet<ProfileHandle>>,
    len: usize,
}

impl Lanes {
    /// Effects held, those under way included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lanes under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Adds an effect behind those of its lane. Effects come in order of sequence.
    pub fn push(&mut self, item: Item) {
        let lane = item.effect.profile;
        self.len += 1;
        let queue = self.lanes.entry(lane).or_default();
        queue.push_back(item);
        if queue.len() == 1 {
            self.offer(lane);
        }
    }

    /// Puts the lane's head up for taking.
    fn offer(&mut self, lane: ProfileHandle) {
        if let Some(head) = self.lanes.get(&lane).and_then(VecDeque::front) {
            self.ready.insert((head.not_before, head.sequence, lane));
        }
    }

    /// Takes the next effect that may be tried at `now`; its lane is under way until [`Lanes::done`] or [`Lanes::retry`].
    pub fn take(&mut self, now: Duration) -> Option<Item> {
        loop {
            let (not_before, sequence, lane) = *self.ready.first()?;
            if not_before > now {
                return None;
            }
            self.ready.remove(&(not_before, sequence, lane));
            let Some(head) = self.lanes.get(&lane).and_then(VecDeque::front) else { continue };
            // An absorbed lane goes first as far as its effects are older.
            let waits_for = head.effect.after.iter().copied().find(|absorbed| {
                let first = self.lanes.get(absorbed).and_then(VecDeque::front);
                *absorbed != lane && first.is_some_and(|first| first.sequence < head.sequence)
            });
            if let Some(absorbed) = waits_for {
                self.blocked.entry(absorbed).or_default().insert(lane);
                continue;
            }
            self.in_flight.insert(lane);
            return self.lanes.get(&lane).and_then(VecDeque::front).cloned();
        }
    }

    /// When the next effect may be tried, if none may now.
    #[must_use]
    pub fn next_try(&self) -> Option<Duration> {
        self.ready.first().map(|(not_before, ..)| *not_before)
    }

    /// The lane's head is through: delivered or a dead letter.
    pub fn done(&mut self, lane: ProfileHandle) {
        self.in_flight.remove(&lane);
        if let Some(queue) = self.lanes.get_mut(&lane) {
            if queue.pop_front().is_some() {
                self.len -= 1;
            }
            if queue.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        self.offer(lane);
        for waiting in self.blocked.remove(&lane).unwrap_or_default() {
            self.offer(waiting);
        }
    }

    /// The lane's head failed and is tried again: `item` is it, with its attempts counted.
    pub fn retry(&mut self, item: Item) {
        let lane = item.effect.profile;
        self.in_flight.remove(&lane);
        if let Some(head) = self.lanes.get_mut(&lane).and_then(VecDeque::front_mut) {
            *head = item;
        }
        self.offer(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefold_types::effect::{Cause, Change};
    use onefold_types::{AudienceId, DestinationId, Timestamp};
    use proptest::prelude::*;

    fn item(sequence: u64, lane: u64, after: &[u64]) -> Item {
        let effect = Effect {
            id: u128::from(sequence),
            destination: DestinationId(1),
            profile: ProfileHandle(lane),
            after: after.iter().copied().map(ProfileHandle).collect(),
            effective: Timestamp(0),
            observed: Timestamp(0),
            change: Change::Exited { audience: AudienceId(1) },
            cause: Cause::Time,
            ids: Vec::new(),
            profile_id: String::new(),
            customer_key: None,
        };
        Item { sequence, effect, attempts: 0, not_before: Duration::ZERO, first_attempt: None, body: None }
    }

    #[test]
    fn a_survivor_waits_for_what_the_absorbed_one_has_still_to_send() {
        let mut lanes = Lanes::default();
        lanes.push(item(1, 7, &[]));
        lanes.push(item(2, 8, &[7]));
        assert_eq!(lanes.take(Duration::ZERO).unwrap().sequence, 1);
        assert!(lanes.take(Duration::ZERO).is_none());
        lanes.done(ProfileHandle(7));
        assert_eq!(lanes.take(Duration::ZERO).unwrap().sequence, 2);
    }

    #[test]
    fn a_lane_that_waits_holds_up_nobody_else() {
        let mut lanes = Lanes::default();
        lanes.push(item(1, 1, &[]));
        lanes.push(item(2, 1, &[]));
        lanes.push(item(3, 2, &[]));
        let mut first = lanes.take(Duration::ZERO).unwrap();
        first.not_before = Duration::from_secs(9);
        lanes.retry(first);
        assert_eq!(lanes.take(Duration::ZERO).unwrap().sequence, 3);
        assert!(lanes.take(Duration::ZERO).is_none());
        assert_eq!(lanes.take(Duration::from_secs(9)).unwrap().sequence, 1);
    }

    proptest! {
        /// Whatever fails and however long, every effect comes through once, in order within its lane and behind the
        /// lanes that it absorbed.
        #[test]
        fn everything_comes_through_in_order(
            rows in proptest::collection::vec((0u64..5, proptest::collection::vec(0u64..5, 0..2)), 1..40),
            failures in proptest::collection::vec(0u8..4, 200),
        ) {
            let mut lanes = Lanes::default();
            for (sequence, (lane, after)) in rows.iter().enumerate() {
                lanes.push(item(sequence as u64, *lane, after));
            }
            let (mut through, mut now, mut failures) = (Vec::new(), Duration::ZERO, failures.into_iter());
            let mut rounds = 0;
            while !lanes.is_empty() {
                rounds += 1;
                prop_assert!(rounds < 10_000, "stuck with {} effects", lanes.len());
                let Some(mut taken) = lanes.take(now) else {
                    now += Duration::from_secs(1);
                    continue;
                };
                if failures.next() == Some(0) {
                    taken.not_before = now + Duration::from_secs(2);
                    lanes.retry(taken);
                } else {
                    through.push(taken.sequence);
                    lanes.done(taken.effect.profile);
                }
            }
            prop_assert_eq!(through.len(), rows.len());
            for (place, sequence) in through.iter().enumerate() {
                let (lane, after) = &rows[*sequence as usize];
                for earlier in 0..*sequence {
                    let (other, _) = &rows[earlier as usize];
                    if other == lane || after.contains(other) {
                        prop_assert!(through[..place].contains(&earlier), "{sequence} overtook {earlier}");
                    }
                }
            }
        }
    }
}
