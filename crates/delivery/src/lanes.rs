//! The order of one destination's effects: each profile is a lane, a lane goes one effect after the other, and an
//! effect that names absorbed lanes waits until their earlier effects are gone. Pure: no clock, no I/O.
//!
//! - **LANE-1:** in a lane effects go in order of sequence, the next one when the one before is through.
//! - **LANE-2:** an effect goes when no lane that it absorbed has an earlier one.
//! - **LANE-3:** a lane holds at most its share; what it has beyond stays in the outbox, and its *gap* says from where
//!   on. Lanes that wait give up all but their first effect when there is need of room ([`Lanes::relieve`]), so that
//!   they hold up nobody else (DELIVERY-2).
//! - **LANE-4:** of absorbed lanes an item remembers only those that have something to send: the list of the effect is as
//!   long as the profile has history.
//! - **LANE-5:** of effects that may go, the one goes first that could have gone first: a retry takes its turn by when it came
//!   to be due, among others by when they were read, so that neither waits for the whole of the other.

use onefold_types::ProfileHandle;
use onefold_types::effect::Effect;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
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
    /// Time since start at which it was read, or from which on it may be tried again: its turn (LANE-5).
    pub not_before: Duration,
    /// Time since start from which on a failed attempt is the last one; known from the first attempt on.
    pub deadline: Option<Duration>,
    /// Its body, once rendered: the same at every attempt.
    pub body: Option<Vec<u8>>,
    /// The journal has its body.
    pub frozen: bool,
    /// Those it goes with and no others, by lane: a request that failed as a whole goes as it was, one that was refused
    /// goes in halves.
    pub batch: Option<Arc<[(ProfileHandle, u64)]>>,
}

impl Item {
    /// A row of the outbox that was not tried yet, read at `now` (time since start).
    #[must_use]
    pub const fn new(sequence: u64, effect: Effect, now: Duration) -> Self {
        Self {
            sequence,
            effect,
            attempts: 0,
            not_before: now,
            deadline: None,
            body: None,
            frozen: false,
            batch: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// Put up for taking.
    Offered,
    /// Put up, but for later: it failed.
    Failed,
    /// Waits for an absorbed lane.
    Blocked,
    /// Under way.
    Gone,
}

#[derive(Debug)]
struct Lane {
    items: VecDeque<Item>,
    head: Head,
    /// From this sequence on its rows are in the outbox alone.
    gap: Option<u64>,
    /// Rows that were read and left out behind the gap.
    left: usize,
}

impl Lane {
    const fn is_waiting(&self) -> bool {
        matches!(self.head, Head::Failed | Head::Blocked)
    }

    /// The first sequence that it has still to send.
    fn first(&self) -> Option<u64> {
        self.items.front().map(|item| item.sequence).or(self.gap)
    }
}

/// The lanes of one destination.
#[derive(Debug)]
pub struct Lanes {
    lanes: BTreeMap<ProfileHandle, Lane>,
    /// Lanes whose head may be ready, in the order in which they came to be (LANE-5).
    ready: BTreeSet<(Duration, u64, ProfileHandle)>,
    /// Lanes that wait for an absorbed one.
    blocked: BTreeMap<ProfileHandle, BTreeSet<ProfileHandle>>,
    /// Lanes that hold nothing, by where their gap begins.
    drained: BTreeSet<(u64, ProfileHandle)>,
    /// Lanes that wait, and the items behind their heads.
    waiting: usize,
    behind: usize,
    len: usize,
    /// Rows that were read and left out.
    left: usize,
    in_flight: usize,
    /// Items of one lane held at most.
    share: usize,
}

impl Lanes {
    /// Lanes that hold at most `share` items each.
    #[must_use]
    pub fn new(share: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            blocked: BTreeMap::new(),
            drained: BTreeSet::new(),
            waiting: 0,
            behind: 0,
            len: 0,
            left: 0,
            in_flight: 0,
            share: share.max(1),
        }
    }

    /// Effects held, those under way included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Effects that were pushed and left out: they are in the outbox alone.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left
    }

    /// Whether nothing is held and nothing left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Lanes under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Lanes whose first effect waits: for its next attempt or for an absorbed lane.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The effect that has been held longest, by sequence: a look at every lane.
    #[must_use]
    pub fn oldest(&self) -> Option<&Effect> {
        let heads = self.lanes.values().filter_map(|lane| lane.items.front());
        heads.min_by_key(|item| item.sequence).map(|item| &item.effect)
    }

    /// Where to read again for lanes that hold nothing and have more in the outbox.
    #[must_use]
    pub fn refill_from(&self) -> Option<u64> {
        self.drained.first().map(|(from, _)| *from)
    }

    /// Adds an effect behind those of its lane. Effects come in order of sequence, each later than all before.
    pub fn push(&mut self, item: Item) {
        let handle = item.effect.profile;
        let share = self.share;
        match self.lanes.get_mut(&handle) {
            Some(lane) if lane.gap.is_some() || lane.items.len() >= share => {
                lane.gap.get_or_insert(item.sequence);
                lane.left += 1;
                self.left += 1;
            }
            _ => self.append(item),
        }
    }

    fn append(&mut self, mut item: Item) {
        let handle = item.effect.profile;
        let lanes = &self.lanes;
        item.effect.after.retain(|absorbed| *absorbed != handle && lanes.contains_key(absorbed));
        item.effect.after.shrink_to_fit();
        let lane = self.lanes.entry(handle).or_insert_with(|| Lane {
            items: VecDeque::new(),
            head: Head::Offered,
            gap: None,
            left: 0,
        });
        lane.items.push_back(item);
        self.len += 1;
        if lane.items.len() == 1 {
            self.offer(handle);
        } else if lane.is_waiting() {
            self.behind += 1;
        }
    }

    /// Takes rows `from..to` of the outbox that were read again: those that fill gaps are held, as far as there is room.
    /// `all` if no row before the ones still to be pushed was left out.
    pub fn refill(&mut self, items: Vec<Item>, from: u64, to: u64, all: bool) {
        let mut full = BTreeSet::new();
        for item in items {
            let handle = item.effect.profile;
            let Some(lane) = self.lanes.get(&handle) else { continue };
            // A gap that begins before these rows would lose its order.
            let Some(gap) = lane.gap.filter(|gap| *gap >= from && item.sequence >= *gap) else { continue };
            if lane.items.len() >= self.share || lane.is_waiting() || full.contains(&handle) {
                if full.insert(handle) {
                    self.set_gap(handle, Some(item.sequence));
                }
                continue;
            }
            self.drained.remove(&(gap, handle));
            let sequence = item.sequence;
            self.append(item);
            self.held_again(handle);
            self.set_gap(handle, Some(sequence + 1));
        }
        let seen: Vec<ProfileHandle> = self
            .lanes
            .iter()
            .filter(|(handle, lane)| lane.gap.is_some_and(|gap| gap >= from) && !full.contains(handle))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in seen {
            let gap = self.lanes.get(&handle).and_then(|lane| lane.gap).unwrap_or_default();
            self.set_gap(handle, (!all).then_some(gap.max(to)));
            self.sweep(handle);
            // Its first effect may be later than the gap was: who waited for it looks again.
            self.release(handle);
        }
        full.into_iter().for_each(|handle| self.release(handle));
    }

    fn set_gap(&mut self, handle: ProfileHandle, gap: Option<u64>) {
        let Some(lane) = self.lanes.get_mut(&handle) else { return };
        if let Some(old) = lane.gap {
            self.drained.remove(&(old, handle));
        }
        lane.gap = gap;
        if gap.is_none() {
            self.left -= std::mem::take(&mut lane.left);
        }
        if let (Some(new), true) = (gap, lane.items.is_empty()) {
            self.drained.insert((new, handle));
        }
    }

    /// A row that the lane left out is held now.
    fn held_again(&mut self, handle: ProfileHandle) {
        let Some(lane) = self.lanes.get_mut(&handle).filter(|lane| lane.left > 0) else { return };
        lane.left -= 1;
        self.left -= 1;
    }

    /// Drops a lane that has nothing left, and lets go who waited for it.
    fn sweep(&mut self, handle: ProfileHandle) {
        if self.lanes.get(&handle).is_some_and(|lane| lane.items.is_empty() && lane.gap.is_none()) {
            self.lanes.remove(&handle);
            self.release(handle);
        }
    }

    fn release(&mut self, handle: ProfileHandle) {
        for waiting in self.blocked.remove(&handle).unwrap_or_default() {
            self.offer(waiting);
        }
    }

    /// Makes room: lanes that wait keep their first effect alone.
    pub fn relieve(&mut self) {
        if self.behind == 0 {
            return;
        }
        for lane in self.lanes.values_mut().filter(|lane| lane.is_waiting() && lane.items.len() > 1) {
            lane.gap = lane.items.get(1).map(|item| item.sequence);
            let tail = lane.items.len() - 1;
            self.len -= tail;
            self.left += tail;
            lane.left += tail;
            lane.items.truncate(1);
            lane.items.shrink_to_fit();
        }
        self.behind = 0;
    }

    fn set_head(&mut self, handle: ProfileHandle, head: Head) {
        let Some(lane) = self.lanes.get_mut(&handle) else { return };
        let tail = lane.items.len().saturating_sub(1);
        if lane.is_waiting() {
            self.waiting -= 1;
            self.behind -= tail;
        }
        self.in_flight -= usize::from(lane.head == Head::Gone);
        lane.head = head;
        self.in_flight += usize::from(head == Head::Gone);
        if lane.is_waiting() {
            self.waiting += 1;
            self.behind += tail;
        }
    }

    /// Puts the lane's head up for taking.
    fn offer(&mut self, handle: ProfileHandle) {
        let Some(head) = self.lanes.get(&handle).and_then(|lane| lane.items.front()) else { return };
        self.ready.insert((head.not_before, head.sequence, handle));
        let failed = head.attempts > 0;
        self.set_head(handle, if failed { Head::Failed } else { Head::Offered });
    }

    /// The lane whose head goes next at `now`; lanes that must wait for another are set aside.
    fn next(&mut self, now: Duration) -> Option<ProfileHandle> {
        loop {
            let (not_before, sequence, handle) = *self.ready.first()?;
            if not_before > now {
                return None;
            }
            let head = self.lanes.get(&handle).and_then(|lane| lane.items.front());
            let Some(head) = head.filter(|head| head.sequence == sequence) else {
                self.ready.pop_first();
                continue;
            };
            let waits_for = head.effect.after.iter().copied().find(|absorbed| {
                let first = self.lanes.get(absorbed).and_then(Lane::first);
                first.is_some_and(|first| first < sequence)
            });
            let Some(absorbed) = waits_for else { return Some(handle) };
            self.ready.pop_first();
            self.blocked.entry(absorbed).or_default().insert(handle);
            self.set_head(handle, Head::Blocked);
        }
    }

    fn grab(&mut self, handle: ProfileHandle) -> Option<Item> {
        let item = self.lanes.get(&handle)?.items.front()?.clone();
        self.ready.remove(&(item.not_before, item.sequence, handle));
        self.set_head(handle, Head::Gone);
        Some(item)
    }

    /// Takes the next effects that may be tried at `now`, at most `max`, each of another lane; their lanes are under way
    /// until [`Lanes::done`], [`Lanes::retry`] or [`Lanes::put_back`]. What has a [`Item::batch`] goes with that alone, as far as it is there.
    pub fn take(&mut self, now: Duration, max: usize) -> Vec<Item> {
        let mut items = Vec::new();
        let Some(first) = self.next(now) else { return items };
        items.extend(self.grab(first));
        if let Some(batch) = items.first().and_then(|item| item.batch.clone()).filter(|b| b.len() <= max) {
            for (handle, sequence) in batch.iter().filter(|(handle, _)| *handle != first) {
                let lane = self.lanes.get(handle);
                let is_there = lane.is_some_and(|lane| {
                    matches!(lane.head, Head::Offered | Head::Failed)
                        && lane.items.front().is_some_and(|i| i.sequence == *sequence && i.not_before <= now)
                });
                if is_there {
                    items.extend(self.grab(*handle));
                }
            }
            items.sort_by_key(|item| batch.iter().position(|(handle, _)| *handle == item.effect.profile));
            return items;
        }
        while items.len() < max {
            let Some(handle) = self.next(now) else { break };
            let head = self.lanes.get(&handle).and_then(|lane| lane.items.front());
            if head.is_some_and(|head| head.batch.as_ref().is_some_and(|batch| batch.len() <= max)) {
                break;
            }
            items.extend(self.grab(handle));
        }
        items
    }

    /// When the next effect may be tried, if none may now.
    #[must_use]
    pub fn next_try(&self) -> Option<Duration> {
        self.ready.first().map(|(not_before, ..)| *not_before)
    }

    /// The lane's head is through: delivered or a dead letter.
    pub fn done(&mut self, handle: ProfileHandle) {
        self.set_head(handle, Head::Offered);
        let Some(lane) = self.lanes.get_mut(&handle) else { return };
        self.len -= usize::from(lane.items.pop_front().is_some());
        let gap = lane.gap;
        if lane.items.is_empty() {
            self.set_gap(handle, gap);
            self.sweep(handle);
        }
        self.offer(handle);
        self.release(handle);
    }

    /// The lane's head goes again: `item` is it, as it is to go.
    pub fn retry(&mut self, item: Item) {
        let handle = item.effect.profile;
        if let Some(head) = self.lanes.get_mut(&handle).and_then(|lane| lane.items.front_mut()) {
            *head = item;
        }
        self.offer(handle);
    }

    /// The lane's head did not go: it is put up again as it was.
    pub fn put_back(&mut self, handle: ProfileHandle) {
        self.offer(handle);
    }

    /// Lets everything be tried at `now` that waits for its next attempt: the destination has been changed.
    pub fn hurry(&mut self, now: Duration) {
        self.ready.clear();
        let offered: Vec<ProfileHandle> = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| matches!(lane.head, Head::Offered | Head::Failed))
            .filter_map(|(handle, lane)| {
                let head = lane.items.front_mut()?;
                head.not_before = head.not_before.min(now);
                Some(*handle)
            })
            .collect();
        offered.into_iter().for_each(|handle| self.offer(handle));
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
