//! Changing one member of a JSON object where it stands: the rest stays as it came, byte by byte.

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The values of the members of `object` that are called `name`, however the name is escaped and however often it stands
/// there; `None` if `object` is no JSON object. `null` is a value.
#[must_use]
pub fn members<'a>(object: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut reader = serde_json::Deserializer::from_str(object);
    let values = reader.deserialize_map(Members(name)).ok()?;
    reader.end().ok()?;
    Some(values)
}

/// `object` with each of `values`, which [`members`] found in it, replaced by `by`.
#[must_use]
pub fn replaced(object: &str, values: &[&str], by: &str) -> String {
    let mut text = String::with_capacity(object.len() + values.len() * by.len());
    let mut done = 0;
    for value in values {
        let start = offset(object, value);
        text.push_str(object.get(done..start).unwrap_or_default());
        text.push_str(by);
        done = start + value.len();
    }
    text.push_str(object.get(done..).unwrap_or_default());
    text
}

/// `object` with the member `name`, of which it has none, in front; what is no object stays as it is. `name` needs no
/// escapes, `value` is JSON.
#[must_use]
pub fn with_member(object: &str, name: &str, value: &str) -> String {
    let Some(rest) = object.trim_start().strip_prefix('{') else { return object.to_owned() };
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"{name}\":{value}{comma}{rest}")
}

/// Where `part`, a slice of `whole`, starts in it.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

struct Members<'n>(&'n str);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(is_it) = members.next_key_seed(Name(self.0))? {
            if is_it {
                values.push(members.next_value::<&'de RawValue>()?.get());
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(values)
    }
}

/// Whether a member's name is this one.
struct Name<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_however_they_are_spelt() {
        let object = r#" {"a":1,"b":{"a":2},"\u0061" : null ,"a":"x"} "#;
        assert_eq!(members(object, "a").unwrap(), ["1", "null", "\"x\""]);
        assert_eq!(members("{}", "a").unwrap(), [""; 0]);
        for none in ["", "7", "[]", "{", r#"{"a":1,}"#, r#"{"a":1} x"#] {
            assert_eq!(members(none, "a"), None, "{none}");
        }
    }

    #[test]
    fn the_rest_stays_as_it_came() {
        let object = r#"{"a" : 1.50,"b":[ 1e3 ],"a":2}"#;
        let values = members(object, "a").unwrap();
        assert_eq!(replaced(object, &values, "null"), r#"{"a" : null,"b":[ 1e3 ],"a":null}"#);
        assert_eq!(replaced(object, &[], "null"), object);
        assert_eq!(with_member(object, "c", "7"), r#"{"c":7,"a" : 1.50,"b":[ 1e3 ],"a":2}"#);
        assert_eq!(with_member(" { } ", "c", "7"), r#"{"c":7 } "#);
        assert_eq!(with_member("[1]", "c", "7"), "[1]");
    }
}
