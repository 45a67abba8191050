//! A profile's plain traits with provenance, decoded only when somebody looks.
//!
//! Most events touch no trait, and a trait is five small strings: decoding them all with each profile took longer than
//! the event. So the bytes stay as they are, checked, until they are read or changed.

use crate::profile::{Stamp, TRAITS_MAX, TraitMap, TraitValue};
use onefold_types::Timestamp;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::OnceLock;

/// Traits by key; reads as a [`TraitMap`].
#[derive(Default)]
pub struct Traits {
    /// The encoded map, once it was encoded or if it was not decoded yet.
    bytes: OnceLock<Box<[u8]>>,
    map: OnceLock<TraitMap>,
}

impl Traits {
    /// Sets `key`, unless the trait has a later value. Returns whether it changed what a reader sees.
    pub fn set(&mut self, key: &str, value: TraitValue) -> bool {
        self.change(|map| crate::profile::set_trait(map, key, value))
    }

    /// Lets go of what is over the limit ([`crate::profile::bound_traits`]); answers with it.
    pub fn bound(&mut self) -> TraitMap {
        if self.len() <= TRAITS_MAX {
            return TraitMap::new();
        }
        self.change(crate::profile::bound_traits)
    }

    /// Takes over what `other` has, each trait if it is later.
    pub fn absorb(&mut self, other: Self) {
        self.change(|map| {
            for (key, value) in other.into_map() {
                crate::profile::set_trait(map, &key, value);
            }
        });
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut TraitMap) -> T) -> T {
        let mut map = std::mem::take(self).into_map();
        let changed = change(&mut map);
        self.map = OnceLock::from(map);
        changed
    }

    fn into_map(self) -> TraitMap {
        let _ = self.deref();
        self.map.into_inner().unwrap_or_default()
    }
}

impl Deref for Traits {
    type Target = TraitMap;

    fn deref(&self) -> &TraitMap {
        self.map.get_or_init(|| match self.bytes.get() {
            // `deserialize` has walked over these bytes in the same shape, so they decode.
            Some(bytes) => decode(bytes).unwrap_or_default(),
            None => TraitMap::new(),
        })
    }
}

/// What set a trait: time, message id, source. Written once for all traits of a message.
type Origin<'a> = (i64, &'a str, &'a str);

/// A trait: key, the index of its origin, JSON.
type Entry<'a> = (&'a str, u32, &'a str);

fn encode(map: &TraitMap) -> Result<Vec<u8>, postcard::Error> {
    let mut origins: Vec<Origin<'_>> = Vec::new();
    let mut numbers: BTreeMap<Origin<'_>, u32> = BTreeMap::new();
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(map.len());
    for (key, value) in map {
        let origin = (value.stamp.ts.0, value.stamp.message_id.as_str(), value.source.as_str());
        let next = u32::try_from(origins.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry(origin).or_insert_with(|| {
            origins.push(origin);
            next
        });
        entries.push((key, number, &value.json));
    }
    postcard::to_allocvec(&(origins, entries))
}

fn decode(bytes: &[u8]) -> Option<TraitMap> {
    let (origins, entries): (Vec<Origin<'_>>, Vec<Entry<'_>>) = postcard::from_bytes(bytes).ok()?;
    let value = |(key, at, json): Entry<'_>| {
        let (ts, message_id, source) = origins.get(usize::try_from(at).ok()?)?;
        let stamp = Stamp { ts: Timestamp(*ts), message_id: (*message_id).to_owned() };
        Some((key.to_owned(), TraitValue { json: json.to_owned(), stamp, source: (*source).to_owned() }))
    };
    entries.into_iter().map(value).collect()
}

impl Clone for Traits {
    fn clone(&self) -> Self {
        match self.bytes.get() {
            Some(_) => Self { bytes: self.bytes.clone(), map: OnceLock::new() },
            None => Self { bytes: OnceLock::new(), map: self.map.clone() },
        }
    }
}

impl PartialEq for Traits {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Traits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

impl Serialize for Traits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.bytes.get().is_none() {
            let bytes = encode(self).map_err(S::Error::custom)?;
            // Nobody else sets it: a profile is written by the one thread that folds.
            let _ = self.bytes.set(bytes.into());
        }
        serializer.serialize_bytes(self.bytes.get().map_or(&[0, 0], |bytes| bytes))
    }
}

impl<'de> Deserialize<'de> for Traits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        postcard::from_bytes::<Walk>(bytes).map_err(D::Error::custom)?;
        Ok(Self { bytes: OnceLock::from(Box::from(bytes)), map: OnceLock::new() })
    }
}

/// Goes over encoded traits without making a map.
struct Walk;

impl<'de> Deserialize<'de> for Walk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (origins, largest) = <(Origins, Entries)>::deserialize(deserializer)?;
        match largest.0 {
            Some(at) if at as usize >= origins.0 => Err(D::Error::custom("a trait has no origin")),
            _ => Ok(Self),
        }
    }
}

/// How many origins there are.
struct Origins(usize);

impl<'de> Deserialize<'de> for Origins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut count = 0;
        deserializer.deserialize_seq(Each(|_: Origin<'de>| count += 1, PhantomData))?;
        Ok(Self(count))
    }
}

/// The largest index that an entry has.
struct Entries(Option<u32>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut largest = None;
        deserializer
            .deserialize_seq(Each(|(_, at, _): Entry<'de>| largest = largest.max(Some(at)), PhantomData))?;
        Ok(Self(largest))
    }
}

/// Calls a function with each item of a list.
struct Each<T, F: FnMut(T)>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element()? {
            self.0(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str, ts: i64) -> TraitValue {
        let stamp = Stamp { ts: Timestamp(ts), message_id: format!("m{ts}") };
        TraitValue { json: json.to_owned(), stamp, source: "web".to_owned() }
    }

    #[test]
    fn what_is_written_reads_back_and_is_written_alike() -> Result<(), postcard::Error> {
        let mut traits = Traits::default();
        assert!(traits.set("plan", value("\"pro\"", -5)));
        assert!(!traits.set("gone", value("", 7)));
        let bytes = postcard::to_allocvec(&traits)?;
        let mut back: Traits = postcard::from_bytes(&bytes)?;
        assert_eq!(postcard::to_allocvec(&back)?, bytes);
        assert_eq!(back, traits);
        assert!(!back.set("plan", value("\"free\"", -6)), "an older value stays out");
        assert!(back.set("plan", value("\"free\"", 8)));
        assert_ne!(back, traits);
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_traits_are_refused() -> Result<(), postcard::Error> {
        let mut traits = Traits::default();
        traits.set("plan", value("1", 1));
        let mut bytes = postcard::to_allocvec(&traits)?;
        assert!(postcard::from_bytes::<Traits>(&bytes).is_ok());
        // One origin more than there are.
        bytes[1] = 2;
        assert!(postcard::from_bytes::<Traits>(&bytes).is_err());
        // The second of one origin.
        let entries: (Vec<Origin<'_>>, Vec<Entry<'_>>) = (vec![(1, "m1", "web")], vec![("plan", 1, "1")]);
        let bytes = postcard::to_allocvec(&entries)?;
        assert!(postcard::from_bytes::<Walk>(&bytes).is_err());
        Ok(())
    }
}
