//! YAML as a tree of JSON, with the line of each value.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use std::collections::HashMap;
use std::fmt;

/// The lines of values by their places, `sources[0].kind`.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<String, u64>);

impl Lines {
    /// The line of what is at `place`, or of the nearest thing around it: what is missing has no line of its own.
    pub(super) fn of(&self, place: &str) -> Option<u64> {
        let mut place = place;
        loop {
            if let Some(line) = self.0.get(place) {
                return Some(*line);
            }
            place = match place.rfind(['.', '[']) {
                Some(end) => &place[..end],
                None if place.is_empty() => return None,
                None => "",
            };
        }
    }
}

/// Reads YAML.
///
/// # Errors
/// Where and why it is none.
pub(super) fn read(text: &str) -> Result<(Value, Lines), String> {
    let tree: Spanned<Tree> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut lines = Lines::default();
    let value = flat(tree, String::new(), &mut lines);
    Ok((value, lines))
}

enum Tree {
    Scalar(Value),
    Items(Vec<Spanned<Tree>>),
    Members(Vec<(String, Spanned<Tree>)>),
}

fn flat(tree: Spanned<Tree>, place: String, lines: &mut Lines) -> Value {
    let line = tree.referenced.line();
    let value = match tree.value {
        Tree::Scalar(value) => value,
        Tree::Items(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| flat(item, format!("{place}[{index}]"), lines))
            .collect(),
        Tree::Members(members) => {
            let mut object = Map::new();
            for (key, item) in members {
                let value = flat(item, super::child(&place, &key), lines);
                object.insert(key, value);
            }
            Value::Object(object)
        }
    };
    lines.0.insert(place, line);
    value
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(flag.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(item) = items.next_element()? {
            tree.push(item);
        }
        Ok(Tree::Items(tree))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(member) = members.next_entry()? {
            tree.push(member);
        }
        Ok(Tree::Members(tree))
    }
}
