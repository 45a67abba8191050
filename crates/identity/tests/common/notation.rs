//! The notation of the worked cases of identity.md: `0:a1; 2:u1,a1` is two events on days 0 and 2, named m1 and m2.
//!
//! Letters: u user_id, e email, p phone, a anonymous_id, d a device's id, c crm_id, l a type that no rule names.
//! `e1` is the address e1@x.test; `u=null` is a raw value, up to the next comma.

use onefold_identity::oracle::{Cluster, NoOwnerReason, OracleEvent, OracleOwner, Resolution};
use onefold_types::decision::Decision;
use onefold_types::{Identifier, Timestamp};
use std::collections::BTreeSet;

/// One day.
pub const DAY_MS: i64 = 86_400_000;

/// Type and raw value of `e1` or `e=raw`.
pub fn raw(token: &str) -> (String, String) {
    let (letter, rest) = token.split_at(1);
    let id_type = match letter {
        "u" => "user_id",
        "e" => "email",
        "p" => "phone",
        "a" => "anonymous_id",
        "d" => "ios.id",
        "c" => "crm_id",
        "l" => "loyalty_id",
        _ => panic!("no such identifier: {token}"),
    };
    let value = match (rest.strip_prefix('='), letter) {
        (Some(value), _) => value.to_owned(),
        (None, "e") => format!("e{rest}@x.test"),
        (None, "p") => format!("+3161234560{rest}"),
        (None, _) => token.to_owned(),
    };
    (id_type.to_owned(), value)
}

/// The identifier of `e1` or `e=normalised`.
pub fn id(token: &str) -> Identifier {
    let (id_type, value) = raw(token);
    Identifier::new(id_type, value)
}

/// `0:u1,a1; 1:a1`.
pub fn events(text: &str) -> Vec<OracleEvent> {
    let mut events = Vec::new();
    for (index, event) in text.split("; ").enumerate() {
        let (day, ids) = event.split_once(':').expect("a day, a colon, identifiers");
        let day: f64 = day.trim().parse().expect("a day");
        events.push(OracleEvent {
            message_id: format!("m{}", index + 1),
            ts: Timestamp((day * DAY_MS as f64) as i64),
            ids: ids.split(',').map(raw).collect(),
        });
    }
    events
}

/// `{a1,u1} {u2}`.
pub fn clusters(text: &str) -> BTreeSet<Cluster> {
    let inside = text.trim().trim_start_matches('{').trim_end_matches('}');
    inside
        .split("} {")
        .filter(|part| !part.is_empty())
        .map(|part| part.split(',').map(id).collect())
        .collect()
}

/// `cut e1 e2; undo 1`.
pub fn decisions(text: &str) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for decision in text.split("; ").filter(|text| !text.is_empty()) {
        let words: Vec<&str> = decision.split_whitespace().collect();
        decisions.push(match words[..] {
            ["link", a, b] => Decision::Link { a: id(a), b: id(b) },
            ["cut", a, b] => Decision::Cut { a: id(a), b: id(b) },
            ["force", a, b] => Decision::Force { a: id(a), b: id(b) },
            ["block", a] => Decision::Block { id: id(a) },
            ["unblock", a] => Decision::Unblock { id: id(a) },
            ["key", a] => Decision::IssueCustomerKey { id: id(a) },
            ["undo", number] => Decision::Undo { number: number.parse().expect("a number") },
            _ => panic!("no such decision: {decision}"),
        });
    }
    decisions
}

/// `m1->u1 m2->none`: whose each named event is; `none` has no usable identifier, `hub` only hubs.
pub fn check_owners(name: &str, resolution: &Resolution, text: &str) {
    for owner in text.split_whitespace() {
        let (message_id, whose) = owner.split_once("->").expect("a message, an arrow, an identifier");
        let expected = match whose {
            "none" => OracleOwner::None(NoOwnerReason::NoUsableId),
            "hub" => OracleOwner::None(NoOwnerReason::Hub),
            token => {
                OracleOwner::Cluster(resolution.cluster_of(&id(token)).expect("a known identifier").clone())
            }
        };
        assert_eq!(resolution.owner.get(message_id), Some(&expected), "{name}: the owner of {message_id}");
    }
}
