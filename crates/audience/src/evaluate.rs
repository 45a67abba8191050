//! One profile's audiences at one instant, and from one instant to the next.
//!
//! - **EVAL-1 (B2):** a change that time alone makes is found at its boundary instant, to the millisecond.
//! - **EVAL-2 (B8):** an event costs its bucket's filters, the counts that match, and the formulas over those that flip.
//! - **EVAL-3 (B10, B11):** all changes of an instant are applied before any formula is looked at, and formulas are
//!   looked at in order of reference: only the net change comes out.
//! - **EVAL-4 (B17):** `State::due` is the next instant at which anything can change without events.

use crate::ast::{Path, Root, Segment};
use crate::condition::{Lookup, Values};
use crate::plan::{Bucket, Formula, Plan, Primitive, Want, When};
use crate::properties::JsonProperties;
use crate::state::{Count, State};
use crate::value::{Value, holds};
use onefold_types::{AudienceId, MessageType, Timestamp, TraitId};
use rust_decimal::Decimal;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// What changed for a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The instant at which it is true.
    pub effective: Timestamp,
    /// What.
    pub kind: FlipKind,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlipKind {
    /// It is in the audience now.
    Entered(AudienceId),
    /// It is not any more.
    Exited(AudienceId),
    /// The computed trait has this value now.
    Computed(TraitId, u64),
}

/// Plain traits, by key.
pub trait Traits {
    /// The trait's value; `None` if it is missing.
    fn get(&self, key: &str) -> Option<Value>;
}

struct TraitLookup<'a>(&'a dyn Traits);

impl Lookup for TraitLookup<'_> {
    fn values(&self, path: &Path) -> Values {
        let (Root::Traits, Some((Segment::Name(key), rest))) = (path.root, path.segments.split_first())
        else {
            return Values::new();
        };
        let Some(value) = self.0.get(key) else { return Values::new() };
        if rest.is_empty() {
            return Values::from_iter([value]);
        }
        let mut found = Vec::new();
        value.walk(rest, &mut found);
        found.into_iter().cloned().collect()
    }
}

/// What an instant did to a profile, until it is settled.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    primitives: Vec<usize>,
    rules: Vec<usize>,
    everything: bool,
    /// Filters of events that were evaluated (B8).
    pub filters_evaluated: u64,
    /// Formulas that were evaluated (B8).
    pub formulas_evaluated: u64,
}

/// The primitives that a state is not complete for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrimitives(BTreeSet<usize>);

impl NewPrimitives {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Plan {
    /// Whether an event of this type and name can feed any primitive.
    #[must_use]
    pub fn is_of_interest(&self, message_type: MessageType, name: &str) -> bool {
        self.buckets(message_type, name).any(|bucket| !bucket.0.is_empty())
    }

    /// Whether what an event of this type and name said, beyond that it was, matters to a primitive: to one of `new`, or
    /// without it to any. If not, `observe` and `observe_new` come to the same without the body.
    #[must_use]
    pub fn needs_body(&self, new: Option<&NewPrimitives>, message_type: MessageType, name: &str) -> bool {
        let mut filters = self.buckets(message_type, name).flat_map(|bucket| &bucket.0);
        filters.any(|filter| {
            let wanted = |number: &usize| new.is_none_or(|new| new.0.contains(number));
            filter.condition.is_some() && filter.primitives.iter().any(wanted)
        })
    }

    /// A profile comes to exist: audiences that hold for someone who did nothing are looked at.
    pub fn begin(&self, state: &mut State, touched: &mut Touched) {
        state.complete_below = self.next_primitive;
        touched.rules.extend(&self.initial);
    }

    /// An event of the profile. Without a `body` what it said is not known: it counts where nothing is asked of it.
    pub fn observe<'b>(
        &self,
        state: &mut State,
        touched: &mut Touched,
        message_type: MessageType,
        name: &str,
        body: impl Into<Option<&'b [u8]>>,
        ts: Timestamp,
    ) {
        self.feed(state, touched, message_type, name, body.into(), ts, None);
    }

    /// An event of the history, for the primitives in `new` only.
    #[expect(clippy::too_many_arguments, reason = "as `observe`")]
    pub fn observe_new<'b>(
        &self,
        new: &NewPrimitives,
        state: &mut State,
        touched: &mut Touched,
        message_type: MessageType,
        name: &str,
        body: impl Into<Option<&'b [u8]>>,
        ts: Timestamp,
    ) {
        self.feed(state, touched, message_type, name, body.into(), ts, Some(&new.0));
    }

    #[expect(clippy::too_many_arguments, reason = "as `observe`")]
    fn feed(
        &self,
        state: &mut State,
        touched: &mut Touched,
        message_type: MessageType,
        name: &str,
        body: Option<&[u8]>,
        ts: Timestamp,
        only: Option<&BTreeSet<usize>>,
    ) {
        let properties = body.map(JsonProperties::new);
        for Bucket(filters) in self.buckets(message_type, name) {
            for filter in filters {
                touched.filters_evaluated += 1;
                let passes = match (&filter.condition, &properties) {
                    (None, _) => true,
                    // Neither the condition nor its contrary is known to hold: `not exists` of a lost body is no sign.
                    (Some(_), None) => false,
                    (Some(condition), Some(properties)) => condition.holds(properties),
                };
                if !passes {
                    continue;
                }
                for &number in
                    filter.primitives.iter().filter(|number| only.is_none_or(|only| only.contains(*number)))
                {
                    add(&self.primitives[number], state.count_mut(self.primitives[number].id), ts);
                    touched.primitives.push(number);
                }
            }
        }
    }

    /// Plain trait `key` has another value.
    pub fn trait_changed(&self, key: &str, touched: &mut Touched) {
        touched.rules.extend(self.rules_of_trait(key));
    }

    /// The state's own primitives may have other truths: after a merge.
    pub fn touch_all(&self, state: &State, touched: &mut Touched) {
        touched.primitives.extend(state.counts.iter().filter_map(|(id, _)| self.by_id.get(*id)));
    }

    /// Everything may have another truth: after a rebuild or a change of definitions.
    pub const fn touch_everything(&self, touched: &mut Touched) {
        touched.everything = true;
    }

    /// Looks at everything that `touched` says, at instant `now`, and at what is due by then; gives the net changes.
    pub fn settle(
        &self,
        state: &mut State,
        touched: &mut Touched,
        traits: &dyn Traits,
        now: Timestamp,
    ) -> Vec<Flip> {
        let mut rules =
            BinaryHeap::from(std::mem::take(&mut touched.rules).into_iter().map(Reverse).collect::<Vec<_>>());
        let mut numbers = std::mem::take(&mut touched.primitives);
        if touched.everything || state.due <= now {
            numbers.extend(state.counts.iter().filter_map(|(id, _)| self.by_id.get(*id)));
        }
        numbers.sort_unstable();
        numbers.dedup();
        if touched.everything {
            rules.extend((0..self.rules.len()).map(Reverse));
        }
        let mut values = BTreeSet::new();
        for number in numbers {
            let primitive = &self.primitives[number];
            if refresh(primitive, state.count_mut(primitive.id), now) {
                rules.extend(primitive.parents.iter().copied().map(Reverse));
            }
            values.extend(primitive.computed.iter().map(|id| (*id, number)));
        }
        if touched.everything {
            let all = self.primitives.iter().enumerate();
            values.extend(all.flat_map(|(number, p)| p.computed.iter().map(move |id| (*id, number))));
        }
        let mut changed = Vec::new();
        for (id, number) in values {
            let primitive = &self.primitives[number];
            let value = state.count(primitive.id).map_or(0, |count| counted(primitive.when, count, now));
            if set_computed(&mut state.computed, id, value) {
                rules.extend(primitive.parents.iter().copied().map(Reverse));
                changed.push(Flip { effective: now, kind: FlipKind::Computed(id, value) });
            }
        }
        let mut flips = Vec::new();
        let mut last = None;
        while let Some(Reverse(number)) = rules.pop() {
            // Whoever asks for a rule comes after it (PLAN-1), so the same one is met in a row.
            if last.replace(number) == Some(number) {
                continue;
            }
            touched.formulas_evaluated += 1;
            let rule = &self.rules[number];
            let is = self.holds(&rule.formula, state, traits, now);
            if set_member(&mut state.members, rule.audience, is) {
                let kind =
                    if is { FlipKind::Entered(rule.audience) } else { FlipKind::Exited(rule.audience) };
                flips.push(Flip { effective: now, kind });
                rules.extend(rule.parents.iter().copied().map(Reverse));
            }
        }
        flips.append(&mut changed);
        touched.everything = false;
        state.counts.retain(|(_, count)| count.total > 0 || !count.times.is_empty());
        state.due = self.due(state, now);
        flips
    }

    /// Everything that time alone changes before `until`, instant by instant.
    pub fn run_timers(&self, state: &mut State, traits: &dyn Traits, until: Timestamp) -> Vec<Flip> {
        let mut flips = Vec::new();
        while state.due < until {
            let now = state.due;
            flips.extend(self.settle(state, &mut Touched::default(), traits, now));
        }
        flips
    }

    /// The next instant at which anything changes without events.
    #[must_use]
    pub fn next_due(&self, state: &State) -> Option<Timestamp> {
        (state.due < Timestamp::MAX).then_some(state.due)
    }

    fn due(&self, state: &State, now: Timestamp) -> Timestamp {
        let instants = state.counts.iter().filter_map(|(id, count)| {
            let primitive = &self.primitives[self.by_id.get(*id)?];
            next_change(primitive, count, now.0)
        });
        instants.min().map_or(Timestamp::MAX, Timestamp)
    }

    fn holds(&self, formula: &Formula, state: &State, traits: &dyn Traits, now: Timestamp) -> bool {
        match formula {
            Formula::Const(truth) => *truth,
            Formula::And(parts) => parts.iter().all(|part| self.holds(part, state, traits, now)),
            Formula::Or(parts) => parts.iter().any(|part| self.holds(part, state, traits, now)),
            Formula::Not(inner) => !self.holds(inner, state, traits, now),
            Formula::Holds(number) => {
                state.count(self.primitives[*number].id).is_some_and(|count| count.held)
            }
            Formula::Trait(condition) => condition.holds(&TraitLookup(traits)),
            Formula::Member(id) => state.members.binary_search(id).is_ok(),
            Formula::Computed { primitive, op, to } => {
                let primitive = &self.primitives[*primitive];
                let value = state.count(primitive.id).map_or(0, |count| counted(primitive.when, count, now));
                holds(Decimal::from(value).cmp(to), *op)
            }
        }
    }

    /// The value of computed trait `id` at `now`, as a reader sees it.
    #[must_use]
    pub fn value_at(&self, state: &State, id: TraitId, now: Timestamp) -> Option<u64> {
        let primitive = self.primitives.iter().find(|primitive| primitive.computed.contains(&id))?;
        Some(state.count(primitive.id).map_or(0, |count| counted(primitive.when, count, now)))
    }

    /// The state of two profiles that are one (B5): memberships and sent values stay the survivor's until it settles.
    #[must_use]
    pub fn merge(&self, survivor: &State, absorbed: &State) -> State {
        let mut merged = survivor.clone();
        for (id, other) in &absorbed.counts {
            let Some(number) = self.by_id.get(*id) else { continue };
            let count = merged.count_mut(*id);
            count.total += other.total;
            for time in &other.times {
                add_time(&self.primitives[number], count, *time);
            }
        }
        merged.due = merged.due.min(absorbed.due);
        merged
    }

    /// What a state is not complete for.
    #[must_use]
    pub fn added_since(&self, state: &State) -> NewPrimitives {
        NewPrimitives(self.by_id.from(state.complete_below).collect())
    }

    /// The state is complete for this plan.
    pub const fn complete(&self, state: &mut State) {
        state.complete_below = self.next_primitive;
    }

    /// Drops what this plan does not know any more.
    pub fn prune(&self, state: &mut State) {
        state.counts.retain(|(id, _)| self.by_id.get(*id).is_some());
        state.members.retain(|id| self.audiences.contains_key(id));
        state.computed.retain(|(id, _)| self.computed.contains(id));
    }
}

fn set_member(members: &mut Vec<AudienceId>, audience: AudienceId, is: bool) -> bool {
    match (members.binary_search(&audience), is) {
        (Ok(at), false) => {
            members.remove(at);
            true
        }
        (Err(at), true) => {
            members.insert(at, audience);
            true
        }
        _ => false,
    }
}

/// Keeps the value; 0 is kept as absence. Says whether it changed.
fn set_computed(computed: &mut Vec<(TraitId, u64)>, id: TraitId, value: u64) -> bool {
    match (computed.binary_search_by_key(&id, |(known, _)| *known), value) {
        (Ok(at), 0) => {
            computed.remove(at);
            true
        }
        (Ok(at), value) if computed[at].1 != value => {
            computed[at].1 = value;
            true
        }
        (Err(at), value) if value > 0 => {
            computed.insert(at, (id, value));
            true
        }
        _ => false,
    }
}

fn add(primitive: &Primitive, count: &mut Count, ts: Timestamp) {
    match primitive.when {
        When::Lifetime => count.total += 1,
        When::Last(_) | When::Between { .. } => add_time(primitive, count, ts.0),
    }
}

fn add_time(primitive: &Primitive, count: &mut Count, time: i64) {
    let at = count.times.partition_point(|known| *known <= time);
    count.times.insert(at, time);
    // Of a threshold over the last W only the n latest can matter; a gap before now lets older ones matter too.
    if let (When::Last(_), Want::AtLeast(n)) = (primitive.when, primitive.want) {
        let keep = usize::try_from(n).unwrap_or(usize::MAX);
        if count.times.len() > keep {
            count.times.remove(0);
        }
    }
}

/// How many events count at `now`.
fn counted(when: When, count: &Count, now: Timestamp) -> u64 {
    let after = |instant: i64| count.times.partition_point(|time| *time <= instant);
    let length = match when {
        When::Lifetime => return count.total,
        When::Last(window) => count.times.len() - after(now.0.saturating_sub(window)),
        When::Between { from, to } => after(now.0.saturating_sub(to)) - after(now.0.saturating_sub(from)),
    };
    length as u64
}

/// Brings a count to `now`; says whether its threshold's truth changed. Times that cannot matter any more go.
fn refresh(primitive: &Primitive, count: &mut Count, now: Timestamp) -> bool {
    let gone = match primitive.when {
        When::Lifetime => 0,
        When::Last(window) => count.times.partition_point(|time| *time <= now.0.saturating_sub(window)),
        When::Between { from, to } => {
            let left = count.times.partition_point(|time| *time <= now.0.saturating_sub(from));
            let old = count.times.partition_point(|time| *time <= now.0.saturating_sub(to));
            match primitive.want {
                // Of those past the gap only the n latest can matter.
                Want::AtLeast(n) => left.max(old.saturating_sub(usize::try_from(n).unwrap_or(usize::MAX))),
                Want::Value => left,
            }
        }
    };
    count.times.drain(..gone);
    let Want::AtLeast(n) = primitive.want else { return false };
    let is = counted(primitive.when, count, now) >= n;
    std::mem::replace(&mut count.held, is) != is
}

/// The next instant after `now` at which the truth or value changes by itself.
fn next_change(primitive: &Primitive, count: &Count, now: i64) -> Option<i64> {
    match (primitive.when, primitive.want) {
        (When::Lifetime, _) => None,
        (When::Last(window), Want::AtLeast(n)) => {
            let nth = count.times.len().checked_sub(usize::try_from(n).ok()?)?;
            count.held.then(|| count.times[nth].saturating_add(window))
        }
        (When::Last(window), Want::Value) => count.times.first().map(|time| time.saturating_add(window)),
        (When::Between { from, to }, want) => next_between(&count.times, from, to, want, now),
    }
}

/// As [`next_change`] for times that enter `to` later and leave `from` later. Walks both sequences of boundaries forward,
/// together where they meet, and stops at the first change.
fn next_between(times: &[i64], from: i64, to: i64, want: Want, now: i64) -> Option<i64> {
    let passed = |length: i64| times.partition_point(|time| time.saturating_add(length) <= now);
    let (mut entered, mut left) = (passed(to), passed(from));
    let truth = |count: usize| match want {
        Want::AtLeast(n) => usize::from(count as u64 >= n),
        Want::Value => count,
    };
    let before = truth(entered - left);
    while left < times.len() {
        let leaves = times[left].saturating_add(from);
        let instant = times.get(entered).map_or(leaves, |time| time.saturating_add(to).min(leaves));
        let until = |passed: usize, length: i64| {
            passed + times[passed..].iter().take_while(|time| time.saturating_add(length) <= instant).count()
        };
        (entered, left) = (until(entered, to), until(left, from));
        if truth(entered - left) != before {
            return Some(instant);
        }
    }
    None
}
