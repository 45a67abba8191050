//! The shapes against the types that they stand for, and the words for what is wrong.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use super::*;
use crate::document::Document;
use crate::workspace::{Preset, Scope, SourceKind};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;

/// A document in which every key has a value.
fn full() -> Value {
    let labels = json!({ "name": "n", "description": "d", "owner": "o", "tags": ["t"], "enabled": false });
    let with = |more: Value| {
        let mut object = labels.clone();
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    json!({
        "version": 1, "workspace": "acme", "renamed_from": "old", "timezone": "UTC",
        "sources": [with(json!({ "key": "web", "kind": "browser", "write_key": ["wk"], "personalize": ["a"],
            "origins": ["*"], "rate_limit": 5 }))],
        "identity": { "preset": "b2b", "blocked": ["x"], "hub_threshold": 3, "size_cap": 9, "retro_window": "30d",
            "phone_region": "NL", "identifiers": [{ "type": "crm_id", "rank": 2, "scope": "person", "limit": 1,
                "within": "7d", "person_key": true, "last_wins": true, "length": [1, 9], "normalise": "exact" }] },
        "computed_traits": [with(json!({ "key": "t", "value": "v", "renamed_from": "old" }))],
        "audiences": [with(json!({ "key": "a", "where": "w", "renamed_from": "old" }))],
        "destinations": [with(json!({ "key": "h", "kind": "webhook", "config": { "url": "u" }, "audiences": "*",
            "traits": ["t"], "events": ["e"] }))],
    })
}

/// The places of every key, with `[]` for any element of a list; a destination's config is one.
fn places_of(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, item) in members {
                let place = child(place, key);
                if !place.ends_with(".config") {
                    places_of(item, &place, found);
                }
                found.insert(place);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| places_of(item, &format!("{place}[]"), found));
        }
        _ => {}
    }
}

fn places_known(fields: &[Field], place: &str, found: &mut BTreeSet<String>) {
    for (name, shape, _) in fields {
        let place = child(place, name);
        match shape {
            Shape::Group(fields) => places_known(fields, &place, found),
            Shape::Groups(fields) => places_known(fields, &format!("{place}[]"), found),
            _ => {}
        }
        found.insert(place);
    }
}

#[test]
fn the_shapes_know_the_keys_of_the_types_and_no_others() {
    let document = Document::read(full()).unwrap();
    // Written again, no key is lost: the types have a place for each.
    let written = serde_json::to_value(document).unwrap();
    let (mut kept, mut given, mut known) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    places_of(&written, "", &mut kept);
    places_of(&full(), "", &mut given);
    places_known(DOCUMENT, "", &mut known);
    assert_eq!(kept, given);
    assert_eq!(known, given);
}

#[test]
fn each_word_is_one_that_the_types_read() {
    fn read<'de, T: Deserialize<'de>>(word: &'static str) -> bool {
        T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word)).is_ok()
    }
    let words =
        |fields: &[Field], name: &str| match fields.iter().find(|(known, ..)| *known == name).unwrap().1 {
            Shape::Word(words) => words,
            _ => &[],
        };
    let (kinds, presets) = (words(SOURCE, "kind"), words(IDENTITY, "preset"));
    let scopes = words(IDENTIFIER, "scope");
    assert_eq!((kinds.len(), presets.len(), scopes.len()), (6, 3, 2));
    assert!(kinds.iter().all(|word| read::<SourceKind>(word)));
    assert!(presets.iter().all(|word| read::<Preset>(word)));
    assert!(scopes.iter().all(|word| read::<Scope>(word)));
}

/// A document of which one value is another; what is said of it.
fn told(pointer: &str, value: Value) -> String {
    let mut document = full();
    *document.pointer_mut(pointer).unwrap() = value;
    let wrong = check(&document);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    format!("{}: {}", wrong[0].place, wrong[0].detail)
}

#[test]
fn a_value_of_another_kind_is_told_with_what_was_expected() {
    for (pointer, value, expected) in [
        (
            "/sources/0/write_key",
            json!(12345),
            "sources[0].write_key: expected text or a list of text, found the number 12345; in quotes it is text",
        ),
        (
            "/destinations/0/audiences",
            json!("all"),
            "destinations[0].audiences: expected \"*\" for all, or a list of keys, found \"all\"; one alone is a list too: \
             [\"all\"]",
        ),
        (
            "/identity/identifiers/0/rank",
            json!("high"),
            "identity.identifiers[0].rank: expected a whole number from 0 to 255, found \"high\"",
        ),
        (
            "/identity/identifiers/0/rank",
            json!(256),
            "identity.identifiers[0].rank: expected a whole number from 0 to 255, found the number 256",
        ),
        (
            "/audiences/0/key",
            json!(false),
            "audiences[0].key: expected text, found false; YAML takes words such as off, no and true for true or false: put \
             it in quotes",
        ),
        ("/audiences/0/enabled", json!("no"), "audiences[0].enabled: expected true or false, found \"no\""),
        (
            "/audiences",
            json!(null),
            "audiences: expected a list, each `- { key: …, where: … }`, found nothing; give it a value, or leave the key out",
        ),
        ("/sources/0/origins/0", json!(["a"]), "sources[0].origins[0]: expected text, found a list"),
        (
            "/sources/0",
            json!("web"),
            "sources[0]: expected keys such as `key: …`, `kind: …`, `write_key: …`, found \"web\"",
        ),
    ] {
        assert_eq!(told(pointer, value), expected);
    }
}

/// Whatever the shapes let through, the types read: nothing of a wrong kind is left to them, for they know no place.
#[test]
fn what_fits_the_shapes_is_read() {
    let strange = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e9),
        json!(u64::MAX),
        json!(""),
        json!("*"),
        json!([]),
        json!(["a", "b"]),
        json!([1]),
        json!({}),
        json!({ "key": 1 }),
    ];
    let mut pointers = Vec::new();
    pointers_of(&full(), "", &mut pointers);
    for pointer in pointers {
        for value in &strange {
            let mut document = full();
            *document.pointer_mut(&pointer).unwrap() = value.clone();
            if let Err(wrong) = Document::read(document) {
                assert!(!wrong[0].detail.contains("invalid type"), "{pointer} = {value}: {wrong:?}");
                assert_ne!(wrong[0].place, "", "{pointer} = {value}: {wrong:?}");
            }
        }
    }
}

fn pointers_of(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, item)| (key.clone(), item)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (name, item) in children {
        let pointer = format!("{pointer}/{name}");
        pointers_of(item, &pointer, found);
        found.push(pointer);
    }
}
