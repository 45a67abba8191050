//! Which keys a document has where, and what kind of value each takes.

use super::Wrong;
use crate::suggest;
use serde_json::Value;

/// What a key's value is.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    /// One of some words.
    Word(&'static [&'static str]),
    Flag,
    /// A whole number from 0 to this.
    Whole(u64),
    Texts,
    TextOrTexts,
    /// `"*"` or a list of keys.
    Selection,
    /// Two whole numbers.
    Range,
    Group(&'static [Field]),
    Groups(&'static [Field]),
    /// Whatever a destination's kind makes of it.
    Any,
}

/// A key: its name, its value's shape, whether it must be there.
type Field = (&'static str, Shape, bool);

const U32: Shape = Shape::Whole(u32::MAX as u64);

const fn must(name: &'static str, shape: Shape) -> Field {
    (name, shape, true)
}

const fn may(name: &'static str, shape: Shape) -> Field {
    (name, shape, false)
}

const DOCUMENT: &[Field] = &[
    must("version", U32),
    must("workspace", Shape::Text),
    RENAMED,
    may("timezone", Shape::Text),
    may("sources", Shape::Groups(SOURCE)),
    may("identity", Shape::Group(IDENTITY)),
    may("computed_traits", Shape::Groups(COMPUTED)),
    may("audiences", Shape::Groups(AUDIENCE)),
    may("destinations", Shape::Groups(DESTINATION)),
];

const NAME: Field = may("name", Shape::Text);
const DESCRIPTION: Field = may("description", Shape::Text);
const OWNER: Field = may("owner", Shape::Text);
const TAGS: Field = may("tags", Shape::Texts);
const ENABLED: Field = may("enabled", Shape::Flag);
const RENAMED: Field = may("renamed_from", Shape::Text);

const SOURCE: &[Field] = &[
    must("key", Shape::Text),
    must("kind", Shape::Word(&["browser", "mobile", "server", "import", "crm", "webhook"])),
    may("write_key", Shape::TextOrTexts),
    may("personalize", Shape::Texts),
    may("origins", Shape::Texts),
    may("rate_limit", U32),
    NAME,
    DESCRIPTION,
    OWNER,
    TAGS,
    ENABLED,
];

const IDENTITY: &[Field] = &[
    may("preset", Shape::Word(&["product", "b2b", "b2c"])),
    may("identifiers", Shape::Groups(IDENTIFIER)),
    may("blocked", Shape::Texts),
    may("hub_threshold", U32),
    may("size_cap", U32),
    may("retro_window", Shape::Text),
    may("phone_region", Shape::Text),
];

const IDENTIFIER: &[Field] = &[
    must("type", Shape::Text),
    may("rank", Shape::Whole(u8::MAX as u64)),
    may("scope", Shape::Word(&["person", "device"])),
    may("limit", U32),
    may("within", Shape::Text),
    may("person_key", Shape::Flag),
    may("last_wins", Shape::Flag),
    may("length", Shape::Range),
    may("normalise", Shape::Text),
];

const COMPUTED: &[Field] =
    &[must("key", Shape::Text), must("value", Shape::Text), RENAMED, NAME, DESCRIPTION, OWNER, TAGS, ENABLED];

const AUDIENCE: &[Field] =
    &[must("key", Shape::Text), must("where", Shape::Text), RENAMED, NAME, DESCRIPTION, OWNER, TAGS, ENABLED];

const DESTINATION: &[Field] = &[
    must("key", Shape::Text),
    must("kind", Shape::Text),
    may("config", Shape::Any),
    may("audiences", Shape::Selection),
    may("traits", Shape::Selection),
    may("events", Shape::Texts),
    NAME,
    DESCRIPTION,
    OWNER,
    TAGS,
    ENABLED,
];

/// Everything in a document, or a part of one, whose shape is wrong; what a whole one lacks at its top is no part of that:
/// several files can make one document.
#[must_use]
pub fn check(document: &Value) -> Vec<Wrong> {
    let mut found = Vec::new();
    match document {
        Value::Object(_) => group(document, DOCUMENT, "", &mut found),
        _ => found.push(Wrong::new("", "expected keys such as `version: 1` and `workspace: …`")),
    }
    found
}

/// The keys at its top that a whole document lacks.
pub(super) fn missing(document: &Value) -> Vec<Wrong> {
    let mut found = Vec::new();
    lacks(document, DOCUMENT, "", &mut found);
    found
}

fn lacks(value: &Value, fields: &'static [Field], place: &str, found: &mut Vec<Wrong>) {
    for (name, shape, _) in fields.iter().filter(|(name, _, must)| *must && value.get(name).is_none()) {
        found.push(Wrong::new(child(place, name), format!("missing; expected {}", expected(*shape))));
    }
}

fn child(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

fn group(value: &Value, fields: &'static [Field], place: &str, found: &mut Vec<Wrong>) {
    let Value::Object(members) = value else {
        return found.push(Wrong::new(place, unexpected(Shape::Group(fields), value)));
    };
    for (key, item) in members {
        let place = child(place, key);
        match fields.iter().find(|(name, ..)| name == key) {
            Some((_, shape, _)) => of(item, *shape, &place, found),
            None => found.push(Wrong::new(place, unknown(key, fields))),
        }
    }
    if !place.is_empty() {
        lacks(value, fields, place, found);
    }
}

fn unknown(key: &str, fields: &[Field]) -> String {
    let names = || fields.iter().map(|(name, ..)| *name);
    match suggest::nearest(key, names()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; expected one of {}", names().collect::<Vec<_>>().join(", ")),
    }
}

fn of(value: &Value, shape: Shape, place: &str, found: &mut Vec<Wrong>) {
    let fits = match (shape, value) {
        (Shape::Group(fields), _) => return group(value, fields, place, found),
        (Shape::Groups(fields), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                group(item, fields, &format!("{place}[{index}]"), found);
            }
            return;
        }
        (Shape::Texts | Shape::TextOrTexts | Shape::Selection, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                of(item, Shape::Text, &format!("{place}[{index}]"), found);
            }
            return;
        }
        (Shape::Text | Shape::TextOrTexts, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::Any, _) => true,
        (Shape::Word(words), Value::String(text)) => words.contains(&text.as_str()),
        (Shape::Selection, Value::String(text)) => text == "*",
        (Shape::Whole(most), _) => whole(value, most),
        (Shape::Range, Value::Array(items)) => {
            items.len() == 2 && items.iter().all(|item| whole(item, u64::from(u32::MAX)))
        }
        _ => false,
    };
    if !fits {
        found.push(Wrong::new(place, unexpected(shape, value)));
    }
}

fn whole(value: &Value, most: u64) -> bool {
    value.as_u64().is_some_and(|number| number <= most)
}

fn expected(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Word(words) => format!("one of {}", words.join(", ")),
        Shape::Flag => "true or false".to_owned(),
        Shape::Whole(most) => format!("a whole number from 0 to {most}"),
        Shape::Texts => "a list of text".to_owned(),
        Shape::TextOrTexts => "text or a list of text".to_owned(),
        Shape::Selection => "\"*\" for all, or a list of keys".to_owned(),
        Shape::Range => "two whole numbers, the shortest and the longest: [1, 64]".to_owned(),
        Shape::Group(fields) => {
            let names: Vec<_> = fields.iter().take(3).map(|(name, ..)| format!("`{name}: …`")).collect();
            format!("keys such as {}", names.join(", "))
        }
        Shape::Groups(fields) => {
            let names: Vec<_> = fields.iter().take(2).map(|(name, ..)| format!("{name}: …")).collect();
            format!("a list, each `- {{ {} }}`", names.join(", "))
        }
        Shape::Any => "a value".to_owned(),
    }
}

fn unexpected(shape: Shape, value: &Value) -> String {
    let hint = match (shape, value) {
        (Shape::Text | Shape::TextOrTexts | Shape::Word(_), Value::Bool(_)) => {
            "; YAML takes words such as off, no and true for true or false: put it in quotes".to_owned()
        }
        (Shape::Text | Shape::TextOrTexts | Shape::Word(_), Value::Number(_)) => {
            "; in quotes it is text".to_owned()
        }
        (_, Value::Null) => "; give it a value, or leave the key out".to_owned(),
        (Shape::Word(words), Value::String(text)) => suggest::nearest(text, words.iter().copied())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default(),
        (Shape::Selection | Shape::Texts, Value::String(text)) => {
            format!("; one alone is a list too: [{}]", shown(text))
        }
        _ => String::new(),
    };
    format!("expected {}, found {}{hint}", expected(shape), found_in(value))
}

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 40;

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn found_in(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a group of keys".to_owned(),
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
