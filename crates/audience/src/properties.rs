//! An event's own values, read from its JSON as far as a condition asks: one shallow pass, then only what is mentioned.

use crate::ast::{Path, Root, Segment};
use crate::condition::{Lookup, Values};
use crate::value::Value;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::OnceCell;

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    traits: Option<&'a RawValue>,
}

/// The members of one object, unparsed.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shallow;
        impl<'de> Visitor<'de> for Shallow {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Shallow)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A message's JSON as conditions see it.
pub(crate) struct JsonProperties<'a> {
    body: &'a [u8],
    raw: OnceCell<Body<'a>>,
    /// Properties, context and traits, each read when something in it is asked for.
    parts: [OnceCell<Option<Members<'a>>>; 3],
}

impl<'a> JsonProperties<'a> {
    /// Nothing is read until something asks.
    #[must_use]
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { body, raw: OnceCell::new(), parts: [const { OnceCell::new() }; 3] }
    }

    fn part(&self, root: Root) -> Option<&Members<'a>> {
        let raw = self.raw.get_or_init(|| serde_json::from_slice(self.body).unwrap_or_default());
        let (part, raw) = match root {
            Root::Properties => (&self.parts[0], raw.properties),
            Root::Context => (&self.parts[1], raw.context),
            Root::Traits => (&self.parts[2], raw.traits),
            Root::Account => return None,
        };
        part.get_or_init(|| serde_json::from_str(raw?.get()).ok()).as_ref()
    }
}

impl Lookup for JsonProperties<'_> {
    fn values(&self, path: &Path) -> Values {
        let Some((Segment::Name(first), rest)) = path.segments.split_first() else { return Values::new() };
        // The last of two members with one name counts, as in every JSON reader in use.
        let member =
            self.part(path.root).and_then(|members| members.0.iter().rev().find(|(name, _)| name == first));
        let Some(value) = member.and_then(|(_, raw)| Value::from_json(raw.get())) else {
            return Values::new();
        };
        if rest.is_empty() {
            return Values::from_iter([value]);
        }
        let mut found = Vec::new();
        value.walk(rest, &mut found);
        found.into_iter().cloned().collect()
    }
}
