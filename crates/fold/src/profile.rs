//! What is kept of a profile beside its identifiers: traits with provenance, accounts, audience state.
//!
//! **PROFILE-1:** the content is a function of the set of events the profile owns and the engine time, not of their
//! order of arrival: traits win by (event time, message id), counters add, first and last are minima and maxima. What a
//! profile was at earlier instants is the log's: since when a computed trait has its value, how many transitions it had.
//!
//! That holds of the limits too. Of more than [`TRAITS_MAX`] traits those with the shortest names are kept, and of more
//! than [`ACCOUNTS_MAX`] accounts those that it belonged to first: what was let go of once never comes in again, so which
//! ones are kept, and their values, do not depend on what came when. A rule that kept what was there first would.

use crate::traits::Traits;
use onefold_types::{ProfileHandle, Timestamp, TraitId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When a message happened and which it was: the order that decides between two values of a trait.
pub use onefold_identity::graph::Stamp;

/// A trait's current value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraitValue {
    /// JSON text; empty for a trait that was removed by `null` (kept, so that an older value arriving later stays out).
    pub json: String,
    /// The message that set it.
    pub stamp: Stamp,
    /// The key of the source that sent it.
    pub source: String,
}

impl TraitValue {
    /// Whether the trait was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.json.is_empty()
    }
}

/// Traits by key.
pub type TraitMap = BTreeMap<String, TraitValue>;

/// Sets `key`, unless the trait has a later value. Returns whether it changed what a reader sees.
pub fn set_trait(traits: &mut TraitMap, key: &str, value: TraitValue) -> bool {
    match traits.get_mut(key) {
        Some(known) if known.stamp >= value.stamp => false,
        Some(known) => {
            let changed = known.json != value.json;
            *known = value;
            changed
        }
        None => {
            let changed = !value.is_removed();
            traits.insert(key.to_owned(), value);
            changed
        }
    }
}

/// Traits that are kept of one profile, or of one account. Names that people think of are few and short; whoever sends
/// more has a key for each thing in the name, and a row that is read and written with every event would grow with it.
pub const TRAITS_MAX: usize = 10_000;

/// Accounts that are kept of one profile.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Lets go of the traits over [`TRAITS_MAX`], removed ones counted: those with the longest names, of the same length those
/// last in order. Answers with what went.
pub fn bound_traits(traits: &mut TraitMap) -> TraitMap {
    let mut gone = TraitMap::new();
    for key in over(TRAITS_MAX, traits.keys().map(|key| (key.len(), key.clone()))) {
        gone.extend(traits.remove_entry(&key.1));
    }
    gone
}

/// All but the `most` least of `all`.
fn over<T: Ord>(most: usize, all: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    if all.len() <= most {
        return Vec::new();
    }
    let mut all: Vec<T> = all.collect();
    all.select_nth_unstable(most);
    all.split_off(most)
}

/// What was over the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// Traits, with the values they had.
    pub traits: TraitMap,
    /// Accounts.
    pub accounts: Vec<String>,
}

/// A profile's blob: one read and one write per distinct profile and batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How many events it owns. A profile that owns none is no person: no audience, no list, no effect.
    pub events: u64,
    /// How many of them were counted by their stream row alone when it was rebuilt, for retention had trimmed what they
    /// said: conditions on their properties, and traits that they set on someone else, are not known any more.
    pub trimmed: u64,
    /// When its first event was. Which one it was, its stream says: this row is written with every event, so it is short.
    pub first: Option<Timestamp>,
    /// When its last event was.
    pub last: Option<Timestamp>,
    /// Plain traits.
    pub traits: Traits,
    /// Accounts it belongs to, with the earliest sign of it.
    pub accounts: BTreeMap<String, Timestamp>,
    /// Audience state, encoded by the audience crate.
    #[serde(with = "crate::profile::state_bytes")]
    pub state: onefold_audience::State,
    /// Since when each computed trait has its value, by id: the effective instants of their last changes. One that never
    /// changed is not in it.
    pub changed: Vec<(TraitId, Timestamp)>,
    /// The catalogue version that memberships and computed traits are complete for.
    pub catalogue: u32,
    /// The due instant of its live calendar entry.
    pub armed: Option<Timestamp>,
    /// Transitions so far: numbers effects that would otherwise be equal.
    pub transitions: u64,
    /// Lanes that this one absorbed: their effects go first.
    pub absorbed: Vec<ProfileHandle>,
    /// The customer key, once issued: the effective instant of the effect that it was issued for, and its text. The least
    /// of those that a merge brings together stays: what the log says decides, not when the fold came to it.
    pub customer_key: Option<(Timestamp, String)>,
}

impl Profile {
    /// Whether it owns an event.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.events > 0
    }

    /// Counts one owned event, which was at `ts`.
    pub fn saw(&mut self, ts: Timestamp) {
        self.events += 1;
        self.first = Some(self.first.map_or(ts, |first| first.min(ts)));
        self.last = Some(self.last.map_or(ts, |last| last.max(ts)));
    }

    /// Belongs to an account, by a sign of it at `ts`. Returns whether none was as early.
    pub fn joins(&mut self, account: &str, ts: Timestamp) -> bool {
        match self.accounts.get_mut(account) {
            Some(since) if *since <= ts => false,
            Some(since) => {
                *since = ts;
                true
            }
            None => {
                self.accounts.insert(account.to_owned(), ts);
                true
            }
        }
    }

    /// A computed trait has another value from `effective` on.
    pub fn computed_changed(&mut self, id: TraitId, effective: Timestamp) {
        match self.changed.binary_search_by_key(&id, |(known, _)| *known) {
            Ok(at) => self.changed[at].1 = effective,
            Err(at) => self.changed.insert(at, (id, effective)),
        }
    }

    /// Since when a computed trait has the value that was last sent; `None` if it never changed.
    #[must_use]
    pub fn computed_since(&self, id: TraitId) -> Option<Timestamp> {
        let at = self.changed.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(self.changed[at].1)
    }

    /// Lets go of the accounts over [`ACCOUNTS_MAX`]: those that it belonged to last, of the same instant those last in
    /// order. Answers with them.
    pub fn bound_accounts(&mut self) -> Vec<String> {
        let all = self.accounts.iter().map(|(account, since)| (*since, account.clone()));
        let gone: Vec<String> = over(ACCOUNTS_MAX, all).into_iter().map(|(_, account)| account).collect();
        for account in &gone {
            self.accounts.remove(account);
        }
        gone
    }

    /// Lets go of traits and accounts that are over the limits; answers with them.
    pub fn bound(&mut self) -> Over {
        Over { traits: self.traits.bound(), accounts: self.bound_accounts() }
    }

    /// Takes over what `other` owns, within the limits; audience state is the caller's. Commutative on what it covers.
    /// Answers with what was over the limits.
    pub fn absorb(&mut self, handle: ProfileHandle, other: &mut Self) -> Over {
        self.events += other.events;
        self.trimmed += other.trimmed;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.traits.absorb(std::mem::take(&mut other.traits));
        for (account, since) in std::mem::take(&mut other.accounts) {
            let known = self.accounts.entry(account).or_insert(since);
            *known = (*known).min(since);
        }
        self.absorbed.append(&mut other.absorbed);
        self.absorbed.push(handle);
        self.bound()
    }
}

mod state_bytes {
    use onefold_audience::State;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        State::decode(bytes).map_err(D::Error::custom)
    }
}
