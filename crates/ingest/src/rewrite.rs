//! The few changes that ingest makes to a message's own JSON: the write key goes, batch-level objects come in, and a
//! browser's address where its client leaves it to the server. Bytes are spliced; the rest stays as it came.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow, default, rename = "writeKey")]
    write_key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
}

/// Where `part`, a slice of `whole`, starts in it.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// The item with its `writeKey`, if it has one, set to `null`: a key never reaches the log.
pub(crate) fn without_write_key(item: &str) -> String {
    if !item.contains("writeKey") {
        return item.to_owned();
    }
    let Ok(Marks { write_key: Some(key), .. }) = serde_json::from_str::<Marks<'_>>(item) else {
        return item.to_owned();
    };
    let start = offset(item, key.get());
    [&item[..start], "null", &item[start + key.get().len()..]].concat()
}

/// The item with its type, which a single call has in its path; one that is no object stays as it is.
pub(crate) fn with_type(item: &str, message_type: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(item) {
        Ok(mut object) if !object.contains_key("type") => {
            object.insert("type".to_owned(), message_type.into());
            Value::Object(object).to_string()
        }
        _ => item.to_owned(),
    }
}

/// The item with `context.ip` set; the caller has seen that there is none, or `null`.
pub(crate) fn with_ip(item: &str, ip: &str) -> String {
    let context =
        serde_json::from_str::<Marks<'_>>(item).ok().and_then(|marks| marks.context).map(RawValue::get);
    match context {
        Some(context) if context.starts_with('{') && !context.contains("\"ip\"") => {
            let end = offset(item, context) + context.len() - 1;
            let comma = if context[1..context.len() - 1].trim().is_empty() { "" } else { "," };
            [&item[..end], comma, "\"ip\":\"", ip, "\"", &item[end..]].concat()
        }
        // No context, or one whose `ip` or self is null: rare, and no member may stand twice.
        _ => {
            let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(item) else {
                return item.to_owned();
            };
            let context = object.entry("context").or_insert(Value::Null);
            if !context.is_object() {
                *context = Value::Object(Map::new());
            }
            context["ip"] = ip.into();
            Value::Object(object).to_string()
        }
    }
}

/// The item with a batch's `context` and `integrations` merged in; the item's own members win, objects merge deeply.
pub(crate) fn merged(item: &str, context: Option<&RawValue>, integrations: Option<&RawValue>) -> String {
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(item) else { return item.to_owned() };
    for (name, common) in [("context", context), ("integrations", integrations)] {
        let Some(Value::Object(common)) = common.and_then(|raw| serde_json::from_str(raw.get()).ok()) else {
            continue;
        };
        match object.get_mut(name) {
            Some(Value::Object(own)) => fill(own, common),
            Some(Value::Null) | None => {
                object.insert(name.to_owned(), Value::Object(common));
            }
            Some(_) => {}
        }
    }
    Value::Object(object).to_string()
}

fn fill(own: &mut Map<String, Value>, common: Map<String, Value>) {
    for (key, value) in common {
        match (own.get_mut(&key), value) {
            (Some(Value::Object(own)), Value::Object(common)) => fill(own, common),
            (Some(_), _) => {}
            (None, value) => {
                own.insert(key, value);
            }
        }
    }
}

/// How deeply arrays and objects nest in `json`, which need not be valid.
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_write_key_never_stays() {
        let text = without_write_key(r#"{"a":1,"writeKey":"wk_secret","b":{"writeKey":"not this one"}}"#);
        assert!(!text.contains("wk_secret"), "{text}");
        assert_eq!(value(&text)["b"]["writeKey"], "not this one");
    }

    #[test]
    fn an_address_comes_in_wherever_the_context_is() {
        for item in [
            r#"{"a":1}"#,
            r#"{"context":{},"a":1}"#,
            r#"{"context":{"x":[1]}}"#,
            r#"{"context":{"ip":null}}"#,
        ] {
            assert_eq!(value(&with_ip(item, "192.0.2.1"))["context"]["ip"], "192.0.2.1", "{item}");
        }
    }

    #[test]
    fn the_item_wins_over_its_batch() {
        let common: Box<RawValue> =
            serde_json::from_str(r#"{"app":{"name":"b","version":"1"},"ip":"1"}"#).unwrap();
        let text = merged(r#"{"context":{"app":{"name":"i"}}}"#, Some(&common), None);
        assert_eq!(value(&text), value(r#"{"context":{"app":{"name":"i","version":"1"},"ip":"1"}}"#));
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a":["[[[\"[",{}]}"#), 3);
    }
}
