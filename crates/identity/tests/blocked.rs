//! I8, the defaults themselves: which raw values create no identifier whatever the workspace says, value by value from
//! identity.md 1.1, and which look like them and do. The engine and the oracle share the list, so no comparison of the two
//! can find what is missing in it.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use onefold_identity::rules::{BlockReason, Rules};
use onefold_types::Identifier;
use onefold_types::workspace::IdentityConfig;

/// identity.md 1.1, in its spelling; `0-and-dashes` and `^[0-]*$` by examples.
const BLOCKED: &[&str] = &[
    "",
    "null",
    "undefined",
    "none",
    "unknown",
    "anonymous",
    "guest",
    "n/a",
    "-1",
    "[object Object]",
    "0",
    "00",
    "0000-0000",
    "00000000-0000-0000-0000-000000000000",
    "-",
    "--",
    "0-",
    "NaN",
    "true",
    "false",
    "test",
];

const ALLOWED: &[&str] = &[
    "1",
    "-2",
    "-10",
    "10",
    "01",
    "0-1",
    "000a",
    "--a",
    "_",
    "nil",
    "nulls",
    "null1",
    "xnull",
    "null null",
    "undefine",
    "undefined1",
    "nones",
    "none@",
    "someone",
    "unknowns",
    "anonymous1",
    "anonymous-7f3a",
    "guest1",
    "guests",
    "guest-42",
    "na",
    "n/a/",
    "n / a",
    "object Object",
    "[object Array]",
    "[objectObject]",
    "nan1",
    "nanna",
    "nan0",
    "true1",
    "untrue",
    "truely",
    "falsey",
    "test1",
    "tests",
    "tester",
    "test-user",
    "0.0",
    "0 0",
    "О",
    "é",
    "🙂",
];

/// Types whose values may be anything.
const FREE: &[&str] = &["user_id", "anonymous_id", "crm_id", "ios.id", "loyalty_id"];

fn spellings(value: &str) -> Vec<String> {
    let mut title = value.to_lowercase();
    if let Some(first) = title.get(..1).map(str::to_uppercase) {
        title.replace_range(..1, &first);
    }
    let plain = [value.to_owned(), value.to_lowercase(), value.to_uppercase(), title];
    let spaced =
        plain.iter().flat_map(|text| [format!(" {text}"), format!("{text}  "), format!("\t{text}\r\n")]);
    plain.iter().cloned().chain(spaced).collect()
}

#[test]
fn i8_every_default_is_blocked_in_every_case_and_with_spaces_around() {
    let rules = Rules::default();
    for value in BLOCKED.iter().flat_map(|value| spellings(value)) {
        for id_type in FREE {
            assert_eq!(rules.normalise(id_type, &value), Err(BlockReason::Listed), "{id_type}: {value:?}");
        }
        for id_type in ["email", "phone"] {
            assert!(rules.normalise(id_type, &value).is_err(), "{id_type}: {value:?}");
        }
    }
}

#[test]
fn i8_a_value_that_only_looks_like_one_counts() {
    let rules = Rules::default();
    for value in ALLOWED {
        for id_type in FREE {
            assert_eq!(rules.normalise(id_type, value), Ok(Identifier::new(*id_type, *value)), "{id_type}");
            let spaced = format!("  {value}\n");
            assert_eq!(rules.normalise(id_type, &spaced), Ok(Identifier::new(*id_type, *value)), "{id_type}");
        }
    }
    for address in ["test@example.com", "null@example.com", "unknown@example.com", "0@0.example", "true@x.y"]
    {
        assert_eq!(rules.normalise("email", address), Ok(Identifier::new("email", address)));
    }
    // A user id keeps its case, blocked or not.
    assert_eq!(rules.normalise("user_id", "Guests").unwrap().value, "Guests");
}

#[test]
fn i8_an_event_of_nothing_else_has_no_usable_identifier() {
    let raw: Vec<(String, String)> =
        BLOCKED.iter().map(|value| ("user_id".to_owned(), (*value).to_owned())).collect();
    let usable = Rules::default().usable(&raw);
    assert_eq!(usable.ids, []);
    assert_eq!(usable.blocked.len(), BLOCKED.len());
}

/// Values and patterns of the workspace come on top, as the defaults do: without case, after trimming.
#[test]
fn i8_the_workspace_adds_to_the_defaults_and_takes_none_away() {
    let config = IdentityConfig {
        blocked: vec![" Walk-In ".to_owned(), "/^qa[0-9]+$/".to_owned(), "shop@example.com".to_owned()],
        ..IdentityConfig::default()
    };
    let rules = Rules::compile(&config).unwrap();
    for value in ["walk-in", "WALK-IN", " walk-in", "qa1", "QA22 ", "Shop@Example.com"] {
        assert_eq!(rules.normalise("user_id", value), Err(BlockReason::Listed), "{value:?}");
    }
    assert_eq!(rules.normalise("email", " SHOP@example.com"), Err(BlockReason::Listed));
    for value in BLOCKED {
        assert_eq!(rules.normalise("user_id", value), Err(BlockReason::Listed), "{value:?}");
    }
    for value in ["walk-in-1", "qa", "qa1x", "shop"] {
        assert_eq!(rules.normalise("user_id", value), Ok(Identifier::new("user_id", value)));
    }
}
