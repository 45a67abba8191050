//! A store's content in a form that two runs can be compared by.
//!
//! Left out is what SAME leaves out: the epoch (how often a worker started), the numbers of outbox rows (a backfill's place
//! among other profiles' messages), and when an effect was found as opposed to when it became true.

use onefold_fold::profile::Profile;
use onefold_store::{Direction, KeyRange, Store, Table};
use onefold_types::effect::{Change, Effect};
use onefold_types::{Timestamp, outbox};
use std::collections::BTreeMap;

/// Whether the order in which customer keys were issued may depend on how a backfill went.
const KEYS_BY_SCHEDULE: bool = false;

/// Rows by table and key.
pub type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// Effects by destination and lane, in order.
pub type Lanes = BTreeMap<(u32, u64), Vec<Effect>>;

/// Everything but the outbox.
#[must_use]
pub fn dump(store: &dyn Store) -> Dump {
    let mut rows = Dump::new();
    let snapshot = store.snapshot().unwrap();
    for table in Table::ALL.iter().filter(|table| **table != Table::Outbox) {
        snapshot
            .scan(*table, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
                let mut value = value.to_vec();
                if *table == Table::Meta && key.starts_with(b"\0progress/") {
                    // Position, engine time, epoch. The engine time is when a timer was looked at last, one that proved
                    // to be early too, and which of those there are depends on how a backfill went.
                    value.truncate(8);
                }
                if KEYS_BY_SCHEDULE && *table == Table::CustomerKey {
                    value.clear();
                }
                if KEYS_BY_SCHEDULE && *table == Table::Profile {
                    let mut profile: Profile = onefold_fold::rows::decode("prof", &value).unwrap();
                    profile.customer_key = None;
                    value = onefold_fold::rows::encode(&profile).unwrap().to_vec();
                }
                rows.insert((table.as_str(), key.to_vec()), value);
                true
            })
            .unwrap();
    }
    rows
}

/// The outbox as it is now: number and effect.
#[must_use]
pub fn outbox(store: &dyn Store) -> Vec<(u64, Effect)> {
    outbox_from(store, 0)
}

/// What the outbox has from a number on.
#[must_use]
pub fn outbox_from(store: &dyn Store, from: u64) -> Vec<(u64, Effect)> {
    let mut found = Vec::new();
    rows_of_outbox(store, &mut |number, value| {
        if number >= from {
            found.push((number, outbox::decode(value).unwrap()));
        }
    });
    found.sort_by_key(|(number, _)| *number);
    found
}

/// The number that comes after all that the outbox has.
#[must_use]
pub fn sent(store: &dyn Store) -> u64 {
    let mut next = 0;
    rows_of_outbox(store, &mut |number, _| next = next.max(number + 1));
    next
}

fn rows_of_outbox(store: &dyn Store, visit: &mut dyn FnMut(u64, &[u8])) {
    let snapshot = store.snapshot().unwrap();
    snapshot
        .scan(Table::Outbox, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
            let (_, number) = outbox::parse_key(key).unwrap();
            visit(number, value);
            true
        })
        .unwrap();
}

/// An effect without what two runs may differ in.
#[must_use]
pub fn plain(mut effect: Effect) -> Effect {
    effect.observed = Timestamp(0);
    if KEYS_BY_SCHEDULE {
        effect.customer_key = None;
    }
    effect
}

/// Effects lane by lane.
#[must_use]
pub fn lanes(effects: impl Iterator<Item = Effect>) -> Lanes {
    let mut lanes = Lanes::new();
    for effect in effects.map(plain) {
        lanes.entry((effect.destination.0, effect.profile.0)).or_default().push(effect);
    }
    lanes
}

/// An effect in the words of the model.
#[must_use]
pub fn words(effect: &Effect, names: &BTreeMap<u32, String>) -> String {
    let name = |id: u32| names.get(&id).cloned().unwrap_or_else(|| format!("#{id}"));
    match &effect.change {
        Change::Entered { audience, initial } => {
            format!("+{}{}", if *initial { "!" } else { "" }, name(audience.0))
        }
        Change::Exited { audience } => format!("-{}", name(audience.0)),
        Change::TraitComputed { computed_trait, value } => format!("{}={value}", name(computed_trait.0)),
        Change::TraitChanged { key, value } => format!("{key}:{value}"),
        Change::Event { at } => format!("event {}.{}", at.position.0, at.index),
    }
}

/// The first difference between two dumps, readable.
#[must_use]
pub fn difference(one: &Dump, other: &Dump) -> Option<String> {
    let text = |bytes: &[u8]| -> String { String::from_utf8_lossy(bytes).escape_debug().to_string() };
    let mut lines = Vec::new();
    for (key, value) in one {
        match other.get(key) {
            Some(theirs) if theirs == value => {}
            Some(theirs) => {
                lines.push(format!("{} {}:\n    {}\n    {}", key.0, text(&key.1), text(value), text(theirs)));
            }
            None => lines.push(format!("{} {}: only in the first: {}", key.0, text(&key.1), text(value))),
        }
    }
    for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
        lines.push(format!("{} {}: only in the second: {}", key.0, text(&key.1), text(value)));
    }
    let more = lines.len().saturating_sub(8);
    lines.truncate(8);
    (!lines.is_empty()).then(|| format!("{}\n  and {more} more", lines.join("\n  ")))
}
