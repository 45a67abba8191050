//! A profile's plain traits with provenance, decoded only when somebody looks.
//!
//! Most events touch no trait, and a trait is five small strings: decoding them all with each profile took longer than
//! the event. So the bytes stay as they are, checked, until they are read or changed.

use crate::profile::{TraitMap, TraitValue};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
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
            Some(bytes) => postcard::from_bytes(bytes).unwrap_or_default(),
            None => TraitMap::new(),
        })
    }
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
            let bytes = postcard::to_allocvec(&**self).map_err(S::Error::custom)?;
            // Nobody else sets it: a profile is written by the one thread that folds.
            let _ = self.bytes.set(bytes.into());
        }
        serializer.serialize_bytes(self.bytes.get().map_or(&[0], |bytes| bytes))
    }
}

impl<'de> Deserialize<'de> for Traits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        postcard::from_bytes::<Walk>(bytes).map_err(D::Error::custom)?;
        Ok(Self { bytes: OnceLock::from(Box::from(bytes)), map: OnceLock::new() })
    }
}

/// Goes over an encoded [`TraitMap`] without making one.
struct Walk;

impl<'de> Deserialize<'de> for Walk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Walk;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("traits by key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Walk, A::Error> {
                // Key; JSON, time, message id, source.
                while map.next_entry::<&str, (&str, i64, &str, &str)>()?.is_some() {}
                Ok(Walk)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Stamp;
    use onefold_types::Timestamp;

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
        // One entry more than there are.
        bytes[1] = 2;
        assert!(postcard::from_bytes::<Traits>(&bytes).is_err());
        Ok(())
    }
}
