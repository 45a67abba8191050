//! Traits of someone or of an account, and how each is shown.

use super::paging::Asked;
use crate::answer::Refused;
use onefold_delivery::render::iso;
use onefold_fold::profile::TraitValue;
use onefold_types::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A page of traits, in order of key.
pub(super) fn page(asked: &Asked, mut all: BTreeMap<String, Value>) -> Result<Value, Refused> {
    if let Some(include) = asked.include()? {
        all.retain(|key, _| include.contains(key));
    }
    let start = asked.after()?.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = all.range::<String, _>((start, Bound::Unbounded));
    let shown: Map<String, Value> =
        rest.by_ref().take(asked.limit()).map(|(key, value)| (key.clone(), value.clone())).collect();
    let last = shown.keys().next_back().filter(|_| rest.next().is_some());
    let cursor = asked.cursor(last.map(String::as_str));
    Ok(json!({ "traits": shown, "cursor": cursor }))
}

/// A plain trait.
pub(super) fn plain(value: &TraitValue, verbose: bool) -> Value {
    let json: Value = serde_json::from_str(&value.json).unwrap_or(Value::Null);
    if !verbose {
        return json;
    }
    json!({ "value": json, "source_id": value.source, "updated_at": iso(value.stamp.ts), "message_id": value.stamp.message_id })
}

/// What Onefold made of someone's events, since when it is so.
pub(super) fn derived(value: Value, since: Option<Timestamp>, verbose: bool) -> Value {
    if verbose {
        json!({ "value": value, "source_id": "onefold", "updated_at": since.map(iso) })
    } else {
        value
    }
}
