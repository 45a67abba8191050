//! Instants, in whole milliseconds.

use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored as in POSIX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every instant a message can carry.
    pub const MIN: Self = Self(i64::MIN);
    /// After every instant a message can carry; a stored message with this `ts` takes its receive time.
    pub const MAX: Self = Self(i64::MAX);

    /// This instant moved by `ms` milliseconds, saturating at the ends.
    #[must_use]
    pub const fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This instant moved back by `ms` milliseconds, saturating at the ends.
    #[must_use]
    pub const fn minus(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// The big-endian form whose byte order is the order of time, negative instants included.
    #[must_use]
    pub const fn to_key(self) -> [u8; 8] {
        ((self.0 as u64) ^ (1 << 63)).to_be_bytes()
    }

    /// The inverse of [`Timestamp::to_key`].
    #[must_use]
    pub const fn from_key(bytes: [u8; 8]) -> Self {
        Self((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn key_order_is_time_order_across_the_epoch() {
        let instants = [i64::MIN, -1, 0, 1, 1_700_000_000_000, i64::MAX].map(Timestamp);
        let keys = instants.map(Timestamp::to_key);
        assert!(keys.is_sorted());
        assert_eq!(keys.map(Timestamp::from_key), instants);
    }
}
