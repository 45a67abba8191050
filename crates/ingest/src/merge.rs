//! What the items of a batch share: its `context` and `integrations`, read once and spliced into each item. An item's own
//! members win, objects merge deeply.

use onefold_types::reserved;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A batch's `context` and `integrations`.
pub(crate) struct Common(Vec<Part>);

struct Part {
    name: &'static str,
    members: Map<String, Value>,
    /// Each member as it stands behind another, in order: `,"key":value`.
    texts: Vec<String>,
    /// All of it.
    text: String,
}

impl Part {
    fn new(name: &'static str, members: Map<String, Value>) -> Self {
        let text = |(key, value): (&String, &Value)| format!(",{}:{value}", Value::from(key.as_str()));
        let texts: Vec<String> = members.iter().map(text).collect();
        let text = format!("{{{}}}", texts.concat().trim_start_matches(','));
        Self { name, members, texts, text }
    }
}

/// An item's own, `null` told from nothing.
#[derive(Deserialize)]
struct Own<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    context: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    integrations: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Common {
    /// Reads what a batch gives; `None` if that is nothing.
    ///
    /// # Errors
    /// In words, which of the two is no object or has a member that none may have.
    pub(crate) fn read(
        context: Option<&RawValue>,
        integrations: Option<&RawValue>,
    ) -> Result<Option<Self>, String> {
        let mut parts = Vec::new();
        for (name, raw) in [("context", context), ("integrations", integrations)] {
            let Some(raw) = raw else { continue };
            if let Some(member) = reserved::member(raw.get()) {
                return Err(format!(
                    "the batch's `{name}` has a member `{member}`, a name that is kept for numbers and raw text; expected another"
                ));
            }
            let members: Map<String, Value> = serde_json::from_str(raw.get()).map_err(|error| {
                format!("the batch's `{name}` is not an object; expected `{{…}}`: {error}")
            })?;
            if !members.is_empty() {
                parts.push(Part::new(name, members));
            }
        }
        Ok((!parts.is_empty()).then_some(Self(parts)))
    }

    /// Bytes that an item gets longer by it, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|part| part.name.len() + part.text.len() + r#","":"#.len()).sum()
    }

    /// The item with the batch's members; what is no object stays as it is.
    pub(crate) fn merged(&self, item: &str) -> String {
        let item = item.trim();
        if !item.starts_with('{') {
            return item.to_owned();
        }
        // A member that stands twice is for the reader of the item to judge, but the last one counts here.
        let Ok(own) = serde_json::from_str::<Own<'_>>(item) else { return self.merged_whole(item) };
        let mut merged = String::with_capacity(item.len() + self.bytes());
        let mut added = String::new();
        let mut replaced = Vec::new();
        for part in &self.0 {
            let own = if part.name == "context" { own.context } else { own.integrations };
            match own {
                None => added.push_str(&format!(",\"{}\":{}", part.name, part.text)),
                Some(own) => replaced.extend(part.over(own.get()).map(|text| (own.get(), text))),
            }
        }
        replaced.sort_by_key(|(own, _)| own.as_ptr());
        let mut done = 0;
        for (own, text) in &replaced {
            let start = own.as_ptr() as usize - item.as_ptr() as usize;
            merged.push_str(&item[done..start]);
            merged.push_str(text);
            done = start + own.len();
        }
        let end = item.len() - 1;
        merged.push_str(&item[done..end]);
        let empty = item[1..end].trim_start().is_empty();
        merged.push_str(if empty { added.trim_start_matches(',') } else { &added });
        merged.push('}');
        merged
    }

    fn merged_whole(&self, item: &str) -> String {
        let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(item) else { return item.to_owned() };
        for part in &self.0 {
            let own = object.entry(part.name).or_insert(Value::Null);
            part.fill(own);
        }
        Value::Object(object).to_string()
    }
}

impl Part {
    /// The text of an item's `own` member with this one's; nothing if it stays as it is.
    fn over(&self, own: &str) -> Option<String> {
        match own.as_bytes().first() {
            Some(b'{') => {
                let mut own: Map<String, Value> = serde_json::from_str(own).ok()?;
                let mut added = String::new();
                for ((key, value), text) in self.members.iter().zip(&self.texts) {
                    match (own.get_mut(key), value) {
                        (Some(Value::Object(own)), Value::Object(common)) => fill(own, common),
                        (Some(_), _) => {}
                        // Not copied into the tree to be written out again: it is most of what there is.
                        (None, _) => added.push_str(text),
                    }
                }
                let added = if own.is_empty() { added.trim_start_matches(',') } else { &added };
                let own = Value::from(own).to_string();
                Some([own.strip_suffix('}')?, added, "}"].concat())
            }
            Some(b'n') => Some(self.text.clone()),
            // No object: for the reader of the item to refuse.
            _ => None,
        }
    }

    fn fill(&self, own: &mut Value) {
        match own {
            Value::Object(own) => fill(own, &self.members),
            Value::Null => *own = Value::Object(self.members.clone()),
            _ => {}
        }
    }
}

fn fill(own: &mut Map<String, Value>, common: &Map<String, Value>) {
    for (key, value) in common {
        match (own.get_mut(key), value) {
            (Some(Value::Object(own)), Value::Object(common)) => fill(own, common),
            (Some(_), _) => {}
            (None, value) => {
                own.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn common(context: &str, integrations: &str) -> Common {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        Common::read(Some(&raw(context)), Some(&raw(integrations))).unwrap().unwrap()
    }

    #[test]
    fn the_item_wins_over_its_batch_and_nothing_stands_twice() {
        let common = common(r#"{"app":{"name":"b","version":"1"},"ip":"1"}"#, r#"{"All":false}"#);
        let both = r#""context":{"app":{"name":"b","version":"1"},"ip":"1"},"integrations":{"All":false}"#;
        for (item, expected) in [
            ("{}".to_owned(), format!("{{{both}}}")),
            (" { } ".to_owned(), format!("{{ {both}}}")),
            (r#"{"a":1}"#.to_owned(), format!(r#"{{"a":1,{both}}}"#)),
            (
                r#"{"integrations":{"All":true},"a":1,"context":{"app":{"name":"i"}}}"#.to_owned(),
                r#"{"integrations":{"All":true},"a":1,"context":{"app":{"name":"i","version":"1"},"ip":"1"}}"#
                    .to_owned(),
            ),
            (r#"{"context":null}"#.to_owned(), r#"{"context":{"app":{"name":"b","version":"1"},"ip":"1"},"integrations":{"All":false}}"#.to_owned()),
            (r#"{"context":7,"integrations":[]}"#.to_owned(), r#"{"context":7,"integrations":[]}"#.to_owned()),
            ("7".to_owned(), "7".to_owned()),
        ] {
            assert_eq!(common.merged(&item), expected, "{item}");
        }
        let escaped = common.merged(r#"{"cont\u0065xt":{"ip":"2"}}"#);
        let value: Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!((&value["context"]["ip"], &value["context"]["app"]["name"]), (&json!("2"), &json!("b")));
        let twice = common.merged(r#"{"integrations":{},"integrations":{"A":true}}"#);
        let value: Value = serde_json::from_str(&twice).unwrap();
        assert_eq!(value["integrations"], json!({ "A": true, "All": false }));
    }

    #[test]
    fn what_is_no_object_is_named_and_null_is_nothing() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        assert!(Common::read(Some(&raw("{}")), None).is_ok_and(|common| common.is_none()));
        let refused = Common::read(None, Some(&raw("true"))).err().unwrap();
        assert!(refused.contains("`integrations` is not an object"), "{refused}");
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..3).prop_map(|map| json!(map))
        })
    }

    /// The definition: a member of the batch is in the item unless the item has it; where both have objects, inside.
    fn defined(own: Option<&Value>, common: &Value) -> Value {
        match (own, common) {
            (None, common) => common.clone(),
            (Some(Value::Object(own)), Value::Object(common)) => {
                let mut all = common.clone();
                for (key, value) in own {
                    all.insert(
                        key.clone(),
                        common.get(key).map_or(value.clone(), |both| defined(Some(value), both)),
                    );
                }
                Value::Object(all)
            }
            (Some(own), _) => own.clone(),
        }
    }

    proptest! {
        #[test]
        fn merging_is_as_defined_and_no_longer_than_said(own in tree(), context in tree(), with in any::<bool>()) {
            prop_assume!(context.as_object().is_some_and(|context| !context.is_empty()) && !own.is_null());
            let raw: Box<RawValue> = serde_json::from_str(&context.to_string()).unwrap();
            let common = Common::read(Some(&raw), None).unwrap().unwrap();
            let item = if with { json!({ "a": 1, "context": own, "z": 2 }) } else { json!({ "a": 1 }) };
            let merged = common.merged(&item.to_string());
            prop_assert!(merged.len() <= item.to_string().len() + common.bytes());
            let value: Value = serde_json::from_str(&merged).unwrap();
            prop_assert_eq!(&value["context"], &defined(item.get("context"), &context));
            prop_assert_eq!(&value["a"], &json!(1));
        }
    }
}
