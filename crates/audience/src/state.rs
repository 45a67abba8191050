//! What one profile's audience state is: touched primitives, memberships, computed values. Compact, and a function of
//! the set of events (B3), so that two profiles' states merge (B5).

use onefold_types::{AudienceId, PrimitiveId, Timestamp, TraitId};
use smallvec::SmallVec;

/// The version byte of [`State::encode`].
const VERSION: u8 = 2;

/// Event times of one count. Most counts of most profiles have at most two, and a profile has a hundred counts.
pub(crate) type Times = SmallVec<[i64; 2]>;

/// A count's state: how many events, or when they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Events of a lifetime count; unused in a window.
    pub(crate) total: u64,
    /// Event times, ascending: those that can still matter.
    pub(crate) times: Times,
    /// Whether the primitive held at the last instant that was settled; a value's is unused.
    pub(crate) held: bool,
}

/// A profile's audience state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Touched primitives, by id; the others are as if no event had come.
    pub(crate) counts: Vec<(PrimitiveId, Count)>,
    /// The audiences it is in, by id.
    pub(crate) members: Vec<AudienceId>,
    /// The values last sent of computed traits that are not 0, by id.
    pub(crate) computed: Vec<(TraitId, u64)>,
    /// Every primitive with a smaller id is complete in here.
    pub(crate) complete_below: u32,
    /// The next instant at which a truth or a value changes if nothing happens; [`Timestamp::MAX`] if none.
    pub(crate) due: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            members: Vec::new(),
            computed: Vec::new(),
            complete_below: 0,
            due: Timestamp::MAX,
        }
    }
}

/// Bytes that are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the audience state: expected {expected}")]
pub struct DecodeError {
    at: usize,
    expected: &'static str,
}

impl State {
    /// The audiences it is in, ascending.
    #[must_use]
    pub fn members(&self) -> &[AudienceId] {
        &self.members
    }

    /// The values of computed traits that were sent and are not 0, by id.
    #[must_use]
    pub fn computed(&self) -> &[(TraitId, u64)] {
        &self.computed
    }

    /// This state without what events gave it: memberships and sent values stay, so that settling a rebuild finds the
    /// difference.
    #[must_use]
    pub fn emptied(self) -> Self {
        Self { counts: Vec::new(), due: Timestamp::MAX, ..self }
    }

    pub(crate) fn count(&self, id: PrimitiveId) -> Option<&Count> {
        self.counts.binary_search_by_key(&id, |(known, _)| *known).ok().map(|at| &self.counts[at].1)
    }

    pub(crate) fn count_mut(&mut self, id: PrimitiveId) -> &mut Count {
        let at = match self.counts.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(at) => at,
            Err(at) => {
                self.counts.insert(at, (id, Count::default()));
                at
            }
        };
        &mut self.counts[at].1
    }

    /// Appends the state's bytes to `out`.
    ///
    /// Many counts hold the same event's time, so each time is written once, and a count says which ones it has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put(out, u64::from(self.complete_below));
        out.extend(self.due.0.to_be_bytes());
        put(out, self.members.len() as u64);
        let mut last = 0;
        for member in &self.members {
            put(out, u64::from(member.0.wrapping_sub(last)));
            last = member.0;
        }
        put(out, self.computed.len() as u64);
        for (id, value) in &self.computed {
            put(out, u64::from(id.0));
            put(out, *value);
        }
        let times = self.distinct_times();
        put(out, times.len() as u64);
        let mut before = 0i64;
        for time in &times {
            put(out, zigzag(time.wrapping_sub(before)));
            before = *time;
        }
        put(out, self.counts.len() as u64);
        let mut last = 0;
        for (id, count) in &self.counts {
            put(out, u64::from(id.0.wrapping_sub(last)) << 1 | u64::from(count.held));
            last = id.0;
            put(out, (count.times.len() as u64) << 1 | u64::from(count.total > 0));
            if count.total > 0 {
                put(out, count.total);
            }
            let mut from = 0;
            for time in &count.times {
                // Ascending on both sides, so it is at or after the one before it.
                let at = from + times[from..].partition_point(|known| known < time);
                put(out, (at - from) as u64);
                from = at;
            }
        }
    }

    fn distinct_times(&self) -> SmallVec<[i64; 64]> {
        let mut times: SmallVec<[i64; 64]> = SmallVec::new();
        for (_, count) in &self.counts {
            times.extend_from_slice(&count.times);
        }
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Reads what [`State::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no state, lists out of order included, for everything searches in them; never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.byte()? != VERSION {
            return Err(DecodeError { at: 0, expected: "version 2" });
        }
        let complete_below = reader.small()?;
        let due = reader.bytes.get(reader.at..reader.at + 8).and_then(|b| b.first_chunk::<8>());
        let due = Timestamp(i64::from_be_bytes(*due.ok_or_else(|| reader.wrong("an instant"))?));
        reader.at += 8;
        let mut state = Self { complete_below, due, ..Self::default() };
        let mut last = 0;
        state.members = reader.list(|reader| {
            let distance = reader.varint()?;
            last = reader.after(last, distance)?;
            Ok(AudienceId(last))
        })?;
        state.computed = reader.list(|reader| Ok((TraitId(reader.small()?), reader.varint()?)))?;
        let mut before = 0i64;
        let times: SmallVec<[i64; 64]> = reader.list(|reader| {
            before = before.wrapping_add(unzigzag(reader.varint()?));
            Ok(before)
        })?;
        let mut last = 0;
        state.counts = reader.list(|reader| {
            let tag = reader.varint()?;
            last = reader.after(last, tag >> 1)?;
            Ok((PrimitiveId(last), reader.count(tag & 1 == 1, &times)?))
        })?;
        let in_order = state.members.is_sorted_by(|a, b| a < b)
            && state.computed.is_sorted_by(|a, b| a.0 < b.0)
            && state.counts.is_sorted_by(|a, b| a.0 < b.0)
            && times.is_sorted_by(|a, b| a < b);
        match (reader.at == bytes.len(), in_order) {
            (true, true) => Ok(state),
            (true, false) => Err(reader.wrong("ids and times in order")),
            (false, _) => Err(reader.wrong("the end")),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    const fn wrong(&self, expected: &'static str) -> DecodeError {
        DecodeError { at: self.at, expected }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| self.wrong("another byte"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number of at most ten bytes"))
    }

    fn small(&mut self) -> Result<u32, DecodeError> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.wrong("a number below 2^32"))
    }

    /// An id, written as its distance from the one before it.
    fn after(&self, last: u32, distance: u64) -> Result<u32, DecodeError> {
        let distance = u32::try_from(distance).map_err(|_| self.wrong("an id"))?;
        last.checked_add(distance).ok_or_else(|| self.wrong("an id below 2^32"))
    }

    /// A length, and as many items. Memory is taken as they come: a length proves nothing.
    fn list<T, L: Default + Extend<T>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<L, DecodeError> {
        let mut list = L::default();
        for _ in 0..self.varint()? {
            list.extend([item(self)?]);
        }
        Ok(list)
    }

    fn count(&mut self, held: bool, times: &[i64]) -> Result<Count, DecodeError> {
        let lengths = self.varint()?;
        let total = if lengths & 1 == 1 { self.varint()? } else { 0 };
        let mut count = Count { total, times: Times::new(), held };
        let mut at = 0u64;
        for _ in 0..lengths >> 1 {
            at = at.saturating_add(self.varint()?);
            let time = usize::try_from(at).ok().and_then(|at| times.get(at));
            count.times.push(*time.ok_or_else(|| self.wrong("one of the times"))?);
        }
        Ok(count)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state() -> impl Strategy<Value = State> {
        let count = (any::<u64>(), proptest::collection::vec(any::<i64>(), 0..6), any::<bool>()).prop_map(
            |(total, mut times, held)| {
                times.sort_unstable();
                Count { total, times: times.into(), held }
            },
        );
        (
            proptest::collection::btree_map(any::<u32>(), count, 0..4),
            proptest::collection::btree_set(any::<u32>(), 0..4),
            proptest::collection::btree_map(any::<u32>(), any::<u64>(), 0..3),
            any::<u32>(),
            any::<i64>(),
        )
            .prop_map(|(counts, members, computed, complete_below, due)| State {
                counts: counts.into_iter().map(|(id, count)| (PrimitiveId(id), count)).collect(),
                members: members.into_iter().map(AudienceId).collect(),
                computed: computed.into_iter().map(|(id, value)| (TraitId(id), value)).collect(),
                complete_below,
                due: Timestamp(due),
            })
    }

    proptest! {
        #[test]
        fn a_state_reads_back(state in state()) {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            prop_assert_eq!(State::decode(&bytes), Ok(state));
        }

        #[test]
        fn changed_bytes_are_an_error_or_another_state_in_order(
            state in state(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(other) = State::decode(&bytes) {
                prop_assert!(other.counts.iter().all(|(_, count)| count.times.is_sorted()));
                prop_assert!(other.counts.is_sorted_by_key(|(id, _)| *id) && other.members.is_sorted());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(State::decode(&bytes));
        }
    }
}
