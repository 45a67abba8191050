//! Names of members that the JSON library keeps for itself: with `arbitrary_precision` and `raw_value` it hands numbers and
//! raw text on as objects with such a member, and takes an object that has one for them. A message with one would be
//! accepted as text, and be read as another or not at all.

/// The names, as `serde_json` has them.
const NAMES: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

/// How they begin.
const BEGINNING: &str = "$serde_json::private::";

/// The reserved name that a member has somewhere in `json`, which need not be valid, however it is escaped.
#[must_use]
pub fn member(json: &str) -> Option<&'static str> {
    // Of the escapes only those of a unit make a letter.
    if !json.contains(BEGINNING) && !json.contains("\\u") {
        return None;
    }
    names(json).find_map(|name| match name.contains('\\') {
        false => reserved(name),
        true => serde_json::from_str::<String>(&format!("\"{name}\"")).ok().and_then(|name| reserved(&name)),
    })
}

fn reserved(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|reserved| *reserved == name)
}

/// What stands between the quotes of each member's name: of each string before a colon.
fn names(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let (_, string) = rest.split_once('"')?;
            let end = end(string)?;
            rest = string.get(end + 1..)?;
            if rest.trim_start().starts_with(':') {
                return string.get(..end);
            }
        }
    })
}

/// Where the quote is that ends a string.
fn end(string: &str) -> Option<usize> {
    let mut escaped = false;
    string.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_reserved_name_is_found_wherever_it_stands_and_however_it_is_spelt() {
        let number = Some("$serde_json::private::Number");
        for json in [
            r#"{"$serde_json::private::Number":"x"}"#,
            r#"{"a":[{"b":"\"","$serde_json::private::Number" : 1}]}"#,
            r#"{"\u0024serde_json::private::Number":1}"#,
            r#"{"a\\":1,"$\u0073erde_json::priv\u0061te::Number":1}"#,
        ] {
            assert_eq!(member(json), number, "{json}");
        }
        assert_eq!(
            member(r#"{"$serde_json::private::RawValue":""}"#),
            Some("$serde_json::private::RawValue")
        );
        for json in [
            r#"{"a":"$serde_json::private::Number"}"#,
            r#"["$serde_json::private::Number"]"#,
            r#"{"a":"{\"$serde_json::private::Number\":1}"}"#,
            r#"{"$serde_json::private::Numbers":1,"\u00e9":"\u00e9"}"#,
            r#"{"$serde_json::private::Number"#,
            "",
            "\"",
        ] {
            assert_eq!(member(json), None, "{json}");
        }
    }

    /// What the names are is the library's to say: these are why they are reserved.
    #[test]
    fn the_library_takes_such_an_object_for_something_else() {
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        assert_eq!(read(&format!(r#"{{"{}":"x"}}"#, NAMES[0])), None);
        assert_eq!(read(&format!(r#"{{"{}":"[1]"}}"#, NAMES[1])), read("[1]"));
    }
}
