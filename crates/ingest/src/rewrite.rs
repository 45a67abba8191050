//! The few changes that ingest makes to a message's own JSON: the write key goes, and a browser's address comes in where
//! its client leaves it to the server. Bytes are spliced; the rest stays as it came.

use onefold_types::event::read_time;
use onefold_types::splice;
use onefold_types::workspace::Source;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
}

/// Where `part`, a slice of `whole`, starts in it.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// The item with every `writeKey` that it has set to `null`: a key never reaches the log.
pub(crate) fn without_write_key(item: &str) -> String {
    // A name can be spelt with escapes, of which only those of a unit make a letter.
    if !item.contains("writeKey") && !item.contains("\\u") {
        return item.to_owned();
    }
    match splice::members(item, "writeKey") {
        Some(keys) => splice::replaced(item, &keys, "null"),
        None => item.to_owned(),
    }
}

/// What is no JSON, with nothing left in it that is a write key of one of `sources`.
pub(crate) fn without_keys(text: &str, sources: &[Source]) -> String {
    let keys = sources.iter().flat_map(|source| &source.write_key).filter(|key| !key.is_empty());
    let mut found: Vec<&String> = keys.filter(|key| text.contains(key.as_str())).collect();
    // The longest first: one key can begin like another.
    found.sort_by_key(|key| std::cmp::Reverse(key.len()));
    found.into_iter().fold(text.to_owned(), |text, key| text.replace(key.as_str(), "…"))
}

/// The item with its type, which a single call has in its path; one that is no object stays as it is.
pub(crate) fn with_type(item: &str, message_type: &str) -> String {
    match splice::members(item, "type") {
        Some(types) if types.is_empty() => splice::with_member(item, "type", &format!("\"{message_type}\"")),
        _ => item.to_owned(),
    }
}

/// The item with its batch's `sentAt`, which is JSON, unless it has one of its own that can be read: what it was sent with
/// is what its time is corrected by, and sent again it comes without its batch.
pub(crate) fn with_sent_at(item: &str, sent_at: &str) -> String {
    match splice::members(item, "sentAt") {
        Some(own) if own.is_empty() => splice::with_member(item, "sentAt", sent_at),
        Some(own) if own.iter().all(|own| read_time(own).is_none()) => splice::replaced(item, &own, sent_at),
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
        for item in [
            r#"{"write\u004bey":"wk_secret","a":"\n"}"#,
            r#"{"writeKey":"wk_secret","a":1,"writeKey":"wk_secret"}"#,
            r#"{"\u0077rite\u004Bey" : "wk_\u0073ecret"}"#,
        ] {
            let text = without_write_key(item);
            assert!(!text.contains("ecret"), "{text}");
            assert_eq!(value(&text)["writeKey"], Value::Null, "{text}");
        }
        assert_eq!(without_write_key(r#"{"a":"\u00e9"}"#), r#"{"a":"\u00e9"}"#);
    }

    #[test]
    fn a_type_and_a_time_come_in_where_there_is_none() {
        assert_eq!(with_type(r#"{"a":1.50}"#, "page"), r#"{"type":"page","a":1.50}"#);
        assert_eq!(with_type(r#"{"type":null}"#, "page"), r#"{"type":null}"#);
        assert_eq!(with_type("7", "page"), "7");
        let sent = r#""2024-01-01T00:00:00Z""#;
        for (item, expected) in [
            (r#"{"a":1}"#, r#"{"sentAt":"2024-01-01T00:00:00Z","a":1}"#),
            (r#"{"a":1,"sentAt":null}"#, r#"{"a":1,"sentAt":"2024-01-01T00:00:00Z"}"#),
            (r#"{"sent\u0041t":"yesterday"}"#, r#"{"sent\u0041t":"2024-01-01T00:00:00Z"}"#),
            (r#"{"sentAt":"2024-01-02"}"#, r#"{"sentAt":"2024-01-02"}"#),
            (r#"{"sentAt":1700000000123}"#, r#"{"sentAt":1700000000123}"#),
            ("[]", "[]"),
        ] {
            assert_eq!(with_sent_at(item, sent), expected);
        }
    }

    #[test]
    fn what_is_no_json_loses_every_key() {
        let source = |key: &str| {
            serde_json::from_value::<Source>(
                serde_json::json!({ "key": key, "kind": "server", "write_key": [key, "wk_"] }),
            )
            .unwrap()
        };
        let text = without_keys(
            r#"{"writeKey":"wk_web",,"x":"wk_web2 wk_","y":1"#,
            &[source("wk_web"), source("wk_web2")],
        );
        assert_eq!(text, r#"{"writeKey":"…",,"x":"… …","y":1"#);
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
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a":["[[[\"[",{}]}"#), 3);
    }
}
