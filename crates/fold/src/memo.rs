//! What identity said of identifiers that were seen together before, so that it is not asked again.
//!
//! The usual event names identifiers that are known together, and identity reads some rows for it and writes none. As
//! long as none of those rows is written, it will say the same of every later event with the same identifiers. So its
//! answer is kept with the versions of the rows it was read from.
//!
//! **MEMO-1:** an answer is given only if nothing that it depends on has changed since it was found, and only to an
//! event later than the one that it was found for: what identity reads of time (first sightings, the newest login)
//! holds from some instant on. An answer that depended on more than that is not kept. Without the memo the fold gives the
//! same state (`tests/memo.rs`).

use onefold_types::{NodeId, ProfileHandle, SetId, Timestamp};

/// Row versions, shared by the rows that fall on the same one: a needless miss is harmless. 4 MiB.
const VERSIONS: usize = 1 << 20;

/// Rows that an answer may depend on; one that depends on more is not kept.
const ROWS_MAX: usize = 4;

/// Answers that share a place in the table; the one that was least lately given makes room.
const WAYS: usize = 4;

/// Whose an event with these identifiers is, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) stream: NodeId,
    pub(crate) set: SetId,
    pub(crate) owner: ProfileHandle,
}

#[derive(Clone, Copy)]
struct Known {
    /// The two halves of the hash; zero in an empty place.
    key: [u64; 2],
    answer: Answer,
    /// For events after this instant.
    after: Timestamp,
    rows: [u32; ROWS_MAX],
    /// The sum of the rows' versions. They only grow, so an equal sum is equal versions.
    versions: u32,
}

const EMPTY: Known = Known {
    key: [0; 2],
    answer: Answer { stream: NodeId(0), set: SetId(0), owner: ProfileHandle(0) },
    after: Timestamp::MAX,
    rows: [0; ROWS_MAX],
    versions: 0,
};

/// What identity read and wrote for one event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    rows: [u32; ROWS_MAX],
    count: usize,
    /// It wrote, or read what has no version.
    more: bool,
}

impl Trace {
    fn read(&mut self, row: u32) {
        if self.rows.get(..self.count).is_some_and(|rows| rows.contains(&row)) {
            return;
        }
        match self.rows.get_mut(self.count) {
            Some(slot) => {
                *slot = row;
                self.count += 1;
            }
            None => self.more = true,
        }
    }

    pub(crate) fn read_node(&mut self, node: NodeId) {
        self.read(node_row(node));
    }

    pub(crate) fn read_cluster(&mut self, profile: ProfileHandle) {
        self.read(cluster_row(profile));
    }

    /// Whether something was written, or read that no version stands for.
    pub(crate) const fn is_beyond(&self) -> bool {
        self.more
    }

    /// Something was written, or read that no version stands for.
    pub(crate) fn beyond(&mut self) {
        self.more = true;
    }
}

fn spread(number: u64) -> u32 {
    // Fibonacci hashing; the upper bits are the well mixed ones.
    u32::try_from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - VERSIONS.trailing_zeros())).unwrap_or(0)
}

fn node_row(node: NodeId) -> u32 {
    spread(node.0 << 1)
}

fn cluster_row(profile: ProfileHandle) -> u32 {
    spread(profile.0 << 1 | 1)
}

/// See the module.
pub(crate) struct Memo {
    /// Sets of [`WAYS`] places, lately used first.
    places: Vec<[Known; WAYS]>,
    versions: Vec<u32>,
    /// Rows from here on are news to every answer that is kept.
    unknown: (NodeId, ProfileHandle),
}

/// No row is news.
const ALL_KNOWN: (NodeId, ProfileHandle) = (NodeId(u64::MAX), ProfileHandle(u64::MAX));

fn halves(key: u128) -> [u64; 2] {
    [(key >> 64) as u64, key as u64]
}

impl Memo {
    /// A memo of at most `bytes`; one of none takes no memory, for a query has no use for it.
    pub(crate) fn new(bytes: u64) -> Self {
        let sets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<[Known; WAYS]>();
        let versions = if sets == 0 { 0 } else { VERSIONS };
        Self { places: vec![[EMPTY; WAYS]; sets], versions: vec![0; versions], unknown: ALL_KNOWN }
    }

    /// Until the next answer is kept or [`Memo::settled`], rows from these numbers on get new versions for nothing: no
    /// answer can depend on a row that was not there. Newcomers would otherwise age the answers of all others.
    pub(crate) fn expect_new(&mut self, node: NodeId, profile: ProfileHandle) {
        self.unknown = (node, profile);
    }

    /// Every row counts again.
    pub(crate) fn settled(&mut self) {
        self.unknown = ALL_KNOWN;
    }

    fn place(&mut self, key: [u64; 2]) -> Option<&mut [Known; WAYS]> {
        // The hash as a fraction of 2^64, times the number of places.
        let at = (u128::from(key[0]) * self.places.len() as u128) >> 64;
        self.places.get_mut(at as usize)
    }

    fn sum(&self, rows: &[u32; ROWS_MAX]) -> u32 {
        let version = |row: &u32| self.versions.get(*row as usize).copied().unwrap_or_default();
        rows.iter().map(version).fold(0, u32::wrapping_add)
    }

    /// The answer for an event at `ts` whose identifiers, as they were sent, hash to `key`.
    pub(crate) fn get(&mut self, key: u128, ts: Timestamp) -> Option<Answer> {
        let key = halves(key);
        let place = self.place(key)?;
        let way = place.iter().position(|known| known.key == key)?;
        place[..=way].rotate_right(1);
        let known = place[0];
        (ts > known.after && known.versions == self.sum(&known.rows)).then_some(known.answer)
    }

    /// Keeps what identity said of an event at `ts`, if nothing else decided it than `trace` has.
    pub(crate) fn keep(&mut self, key: u128, ts: Timestamp, answer: Answer, trace: &Trace) {
        self.settled();
        if trace.more {
            return;
        }
        // Unused places repeat the first row; the sum takes them in on both sides.
        let mut rows = [trace.rows[0]; ROWS_MAX];
        for (slot, row) in rows.iter_mut().zip(&trace.rows[..trace.count]) {
            *slot = *row;
        }
        let (key, versions) = (halves(key), self.sum(&rows));
        let Some(place) = self.place(key) else { return };
        let way = place.iter().position(|known| known.key == key).unwrap_or(WAYS - 1);
        place[..=way].rotate_right(1);
        place[0] = Known { key, answer, after: ts, rows, versions };
    }

    fn written(&mut self, row: u32) {
        if let Some(version) = self.versions.get_mut(row as usize) {
            *version = version.wrapping_add(1);
        }
    }

    /// What identity reads of `node` for a known set changed.
    pub(crate) fn node_written(&mut self, node: NodeId) {
        if node < self.unknown.0 {
            self.written(node_row(node));
        }
    }

    /// Whether `profile` is there, or has a person, changed.
    pub(crate) fn cluster_written(&mut self, profile: ProfileHandle) {
        if profile < self.unknown.1 {
            self.written(cluster_row(profile));
        }
    }

    /// Rules changed: everything may be otherwise.
    pub(crate) fn clear(&mut self) {
        self.places.fill([EMPTY; WAYS]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer = Answer { stream: NodeId(1), set: SetId(2), owner: ProfileHandle(3) };

    fn memo() -> Memo {
        let mut memo = Memo::new(100_000);
        let mut trace = Trace::default();
        trace.read_node(NodeId(1));
        trace.read_cluster(ProfileHandle(3));
        memo.keep(7, Timestamp(50), ANSWER, &trace);
        memo
    }

    #[test]
    fn an_answer_is_for_later_events_until_a_row_is_written() {
        let mut memo = memo();
        assert_eq!(memo.get(7, Timestamp(51)), Some(ANSWER));
        assert_eq!(memo.get(7, Timestamp(50)), None);
        assert_eq!(memo.get(8, Timestamp(51)), None);
        memo.node_written(NodeId(2));
        assert_eq!(memo.get(7, Timestamp(51)), Some(ANSWER));
        memo.node_written(NodeId(1));
        assert_eq!(memo.get(7, Timestamp(51)), None);
    }

    #[test]
    fn a_cluster_is_not_the_node_of_the_same_number() {
        let mut memo = memo();
        memo.node_written(NodeId(3));
        memo.cluster_written(ProfileHandle(1));
        assert_eq!(memo.get(7, Timestamp(51)), Some(ANSWER));
        memo.cluster_written(ProfileHandle(3));
        assert_eq!(memo.get(7, Timestamp(51)), None);
    }

    #[test]
    fn what_is_new_makes_nothing_old() {
        let mut memo = memo();
        let colliding = (4..).map(NodeId).find(|node| node_row(*node) == node_row(NodeId(1))).unwrap();
        memo.expect_new(colliding, ProfileHandle(4));
        memo.node_written(colliding);
        assert_eq!(memo.get(7, Timestamp(51)), Some(ANSWER));
        memo.settled();
        memo.node_written(colliding);
        assert_eq!(memo.get(7, Timestamp(51)), None);
    }

    #[test]
    fn the_least_lately_given_makes_room() {
        let mut memo = Memo::new(1);
        assert_eq!(memo.places.len(), 0);
        memo = Memo::new(size_of::<[Known; WAYS]>() as u64);
        let mut trace = Trace::default();
        trace.read_node(NodeId(1));
        (1..=4).for_each(|key| memo.keep(key, Timestamp(0), ANSWER, &trace));
        assert_eq!(memo.get(1, Timestamp(1)), Some(ANSWER));
        memo.keep(5, Timestamp(0), ANSWER, &trace);
        let there: Vec<u128> = (1..=5).filter(|key| memo.get(*key, Timestamp(1)).is_some()).collect();
        assert_eq!(there, [1, 3, 4, 5]);
    }

    #[test]
    fn what_depends_on_more_is_not_kept() {
        let mut memo = Memo::new(100_000);
        let mut trace = Trace::default();
        (0..5).for_each(|node| trace.read_node(NodeId(node * 1000)));
        memo.keep(7, Timestamp(0), ANSWER, &trace);
        let mut wrote = Trace::default();
        wrote.beyond();
        memo.keep(8, Timestamp(0), ANSWER, &wrote);
        assert_eq!((memo.get(7, Timestamp(1)), memo.get(8, Timestamp(1))), (None, None));
        assert_eq!(Memo::new(0).get(7, Timestamp(1)), None);
    }
}
