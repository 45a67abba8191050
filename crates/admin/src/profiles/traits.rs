//! Traits of someone or of an account, and how each is shown.

use super::paging::Asked;
use crate::answer::{Refused, time};
use onefold_api::profiles::{Part, Sourced, Trait, Traits};
use onefold_fold::profile::TraitValue;
use onefold_types::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A page of traits, in order of key.
pub(super) fn page(asked: &Asked, mut all: BTreeMap<String, Trait>) -> Result<Part, Refused> {
    if let Some(include) = asked.include()? {
        all.retain(|key, _| include.contains(key));
    }
    let start = asked.after()?.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = all.range::<String, _>((start, Bound::Unbounded));
    let traits: BTreeMap<String, Trait> =
        rest.by_ref().take(asked.limit()).map(|(key, value)| (key.clone(), value.clone())).collect();
    let last = traits.keys().next_back().filter(|_| rest.next().is_some());
    let cursor = asked.cursor(last.map(String::as_str));
    Ok(Part::Traits(Traits { traits, cursor }))
}

/// The value of a plain trait.
pub(super) fn value(value: &TraitValue) -> Value {
    serde_json::from_str(&value.json).unwrap_or(Value::Null)
}

/// A plain trait.
pub(super) fn plain(known: &TraitValue, verbose: bool) -> Trait {
    if !verbose {
        return Trait::Plain(value(known));
    }
    Trait::Sourced(Sourced {
        value: value(known),
        source_id: known.source.clone(),
        updated_at: Some(time(known.stamp.ts)),
        message_id: Some(known.stamp.message_id.clone()),
    })
}

/// What Onefold made of someone's events, since when it is so.
pub(super) fn derived(value: Value, since: Option<Timestamp>, verbose: bool) -> Trait {
    if !verbose {
        return Trait::Plain(value);
    }
    Trait::Sourced(Sourced {
        value,
        source_id: "onefold".to_owned(),
        updated_at: since.map(time),
        message_id: None,
    })
}
