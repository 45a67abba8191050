//! The profile API and personalise over HTTP, against a running server.
//!
//! Expectations come from what the test itself sent: ids, event times, order. Receive times are nobody's choice, so they
//! are compared with what another part of the same profile says of the same event.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{PATIENCE, Server, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

const WORKSPACE: &str = r#"
version: 1
workspace: acme
sources:
  - { key: web, kind: browser, write_key: wk_web, personalize: [buyers, orders, plan], origins: ["https://shop.example"] }
  - { key: blog, kind: browser, write_key: wk_blog, personalize: [buyers], origins: ["*"] }
  - { key: server, kind: server, write_key: wk_server }
computed_traits:
  - { key: orders, value: 'count("Order Completed")' }
  - { key: views, value: 'count("Product Viewed")' }
audiences:
  - { key: buyers, where: 'did("Order Completed")' }
  - { key: lookers, where: 'did("Product Viewed")' }
"#;

fn served() -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    (folder, server)
}

/// Sends a message of the server's source.
fn send(server: &Server, call: &str, mut message: Value) {
    message["writeKey"] = "wk_server".into();
    server.post(&format!("/v1/{call}"), &message);
}

fn path(collection: &str, id: &str, part: &str) -> String {
    format!("/v1/spaces/acme/collections/{collection}/profiles/{id}/{part}")
}

fn user(server: &Server, id: &str, part: &str) -> Value {
    server.get(&path("users", id, part))
}

fn account(server: &Server, id: &str, part: &str) -> Value {
    server.get(&path("accounts", id, part))
}

fn with(part: &str, parameters: &str) -> String {
    format!("{part}{}{parameters}", if part.contains('?') { '&' } else { '?' })
}

/// Every page of a list, `limit` items each, from the first to the one that says that it is the last.
fn pages(
    server: &Server,
    collection: &str,
    id: &str,
    part: &str,
    limit: usize,
    mut between: impl FnMut(),
) -> Vec<Value> {
    let part = with(part, &format!("limit={limit}"));
    let mut found = vec![server.get(&path(collection, id, &part))];
    loop {
        let cursor = &found[found.len() - 1]["cursor"];
        assert_eq!(cursor["limit"], limit, "{cursor}");
        let next = cursor["next"].as_str().unwrap();
        assert_eq!(cursor["has_more"], !next.is_empty(), "{cursor}");
        if next.is_empty() {
            return found;
        }
        let further = with(&part, &format!("cursor={next}"));
        between();
        found.push(server.get(&path(collection, id, &further)));
    }
}

/// The items of a list, page by page: none has more than `limit`, and only the last has fewer.
fn items(server: &Server, collection: &str, id: &str, part: &str, limit: usize) -> Vec<Value> {
    let pages = pages(server, collection, id, part, limit, || {});
    let sizes: Vec<usize> = pages.iter().map(|page| page["data"].as_array().unwrap().len()).collect();
    assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == limit), "{part}: {sizes:?}");
    pages.iter().flat_map(|page| page["data"].as_array().unwrap().clone()).collect()
}

fn texts(items: &[Value], member: &str) -> Vec<String> {
    items
        .iter()
        .map(|item| item[member].as_str().unwrap_or_else(|| panic!("{member}: {item}")).to_owned())
        .collect()
}

/// Someone with five plain traits, one order, three identifiers.
fn ada(server: &Server) {
    let traits = json!({ "plan": "pro", "email": "Ada@Example.com", "age": 36, "vip": true, "tags": ["a", "b"], "left": 1 });
    let says = json!({ "userId": "ada", "anonymousId": "d1", "messageId": "m1", "timestamp": "2026-01-01T10:00:00.250Z", "traits": traits });
    send(server, "identify", says);
    let says = json!({ "userId": "ada", "messageId": "m2", "timestamp": "2026-01-02T10:00:00Z", "traits": { "plan": "team", "left": null } });
    send(server, "identify", says);
    let order = json!({ "userId": "ada", "messageId": "m3", "timestamp": "2026-01-03T10:00:00Z", "event": "Order Completed", "properties": { "revenue": 7 } });
    send(server, "track", order);
    server.drained();
}

#[test]
fn traits_of_a_user_are_chosen_by_key_and_class_and_paged() {
    let (_folder, server) = served();
    ada(&server);
    let plain =
        json!({ "plan": "team", "email": "Ada@Example.com", "age": 36, "vip": true, "tags": ["a", "b"] });
    let computed = json!({ "orders": 1, "views": 0 });
    let audiences = json!({ "buyers": true, "lookers": false });
    let mut whole = plain.as_object().unwrap().clone();
    whole.extend(computed.as_object().unwrap().clone());
    whole.extend(audiences.as_object().unwrap().clone());
    let whole = Value::Object(whole);
    let traits =
        |parameters: &str| user(&server, "user_id:ada", &with("traits", parameters))["traits"].clone();
    assert_eq!(user(&server, "user_id:ada", "traits")["traits"], whole);
    assert_eq!(traits("class=trait"), plain);
    assert_eq!(traits("class=computed_trait"), computed);
    assert_eq!(traits("class=audience"), audiences);
    assert_eq!(
        traits("include=plan,%20buyers,orders,nothing"),
        json!({ "plan": "team", "buyers": true, "orders": 1 })
    );
    assert_eq!(traits("include=plan,buyers&class=audience"), json!({ "buyers": true }));
    assert_eq!(traits("include=nothing"), json!({}));
    for limit in [1, 2, 4, 9, 200] {
        let pages = pages(&server, "users", "user_id:ada", "traits", limit, || {});
        assert_eq!(pages.len(), 9usize.div_ceil(limit), "limit {limit}");
        let all = pages.iter().flat_map(|page| page["traits"].as_object().unwrap().clone());
        assert_eq!(Value::Object(all.collect()), whole, "limit {limit}");
    }
    let first = user(&server, "user_id:ada", "traits?limit=2");
    assert_eq!(first["cursor"]["url"], path("users", "user_id:ada", "traits"));
}

#[test]
fn every_trait_has_its_source_and_its_time() {
    let (_folder, server) = served();
    ada(&server);
    let received = |message: &str| {
        let events = user(&server, "user_id:ada", "events");
        let event = events["data"].as_array().unwrap().iter().find(|event| event["message_id"] == message);
        event.unwrap()["received_at"].clone()
    };
    let traits = || user(&server, "user_id:ada", "traits?verbose=true")["traits"].clone();
    let known = traits();
    let said = |value: Value, time: &str, message: &str| json!({ "value": value, "source_id": "server", "updated_at": time, "message_id": message });
    assert_eq!(known["age"], said(json!(36), "2026-01-01T10:00:00.250Z", "m1"));
    assert_eq!(known["plan"], said(json!("team"), "2026-01-02T10:00:00.000Z", "m2"));
    let derived =
        |value: Value, time: Value| json!({ "value": value, "source_id": "onefold", "updated_at": time });
    assert_eq!(known["orders"], derived(json!(1), received("m3")));
    assert_eq!(known["buyers"], derived(json!(true), received("m3")));
    assert_eq!(known["views"], derived(json!(0), Value::Null), "it never had another value");
    assert_eq!(known["lookers"], derived(json!(false), Value::Null), "never in it");
    send(&server, "track", json!({ "userId": "ada", "messageId": "m4", "event": "Order Completed" }));
    server.drained();
    let later = traits();
    assert_eq!(later["orders"], derived(json!(2), received("m4")));
    assert_eq!(later["buyers"], known["buyers"], "in it since the first order");
    let since = user(&server, "user_id:ada", "audiences?verbose=true")["data"].clone();
    assert_eq!(since, json!([{ "key": "buyers", "since": received("m3") }]));
    // What was counted of a deleted message is not any more, from now on; the entry was true and is over.
    for message in ["m3", "m4"] {
        server.post("/api/decisions", &json!({ "kind": "delete_message", "message_id": message }));
    }
    let after = traits();
    assert_eq!(
        (&after["orders"]["value"], &after["buyers"]),
        (&json!(0), &derived(json!(false), Value::Null))
    );
    assert!(after["orders"]["updated_at"].as_str() >= later["orders"]["updated_at"].as_str(), "{after}");
}

#[test]
fn identifiers_audiences_and_links_are_paged_in_order() {
    let (_folder, server) = served();
    ada(&server);
    for account in ["g3", "g1", "g2"] {
        send(
            &server,
            "group",
            json!({ "userId": "ada", "groupId": account, "timestamp": "2026-01-04T00:00:00Z" }),
        );
    }
    send(&server, "track", json!({ "anonymousId": "d1", "event": "Product Viewed" }));
    server.drained();
    let id = |id_type: &str, value: &str| json!({ "id": value, "type": id_type, "collection": "users", "encoding": "none" });
    let ids = [id("user_id", "ada"), id("email", "ada@example.com"), id("anonymous_id", "d1")];
    let link = |account: &str| {
        let ids =
            json!([{ "id": account, "type": "group_id", "collection": "accounts", "encoding": "none" }]);
        json!({ "to_collection": "accounts", "since": "2026-01-04T00:00:00.000Z", "external_ids": ids })
    };
    for limit in 1..=4 {
        assert_eq!(items(&server, "users", "user_id:ada", "external_ids", limit), ids, "limit {limit}");
        let audiences = items(&server, "users", "user_id:ada", "audiences", limit);
        assert_eq!(audiences, [json!({ "key": "buyers" }), json!({ "key": "lookers" })], "limit {limit}");
        let links = items(&server, "users", "user_id:ada", "links", limit);
        assert_eq!(links, ["g1", "g2", "g3"].map(link), "limit {limit}");
    }
    let some = items(&server, "users", "user_id:ada", "external_ids?include=anonymous_id,user_id", 1);
    assert_eq!(some, [ids[0].clone(), ids[2].clone()]);
    // One that comes between two pages moves nothing that is still to come.
    let mut met = Vec::new();
    for page in pages(&server, "users", "user_id:ada", "external_ids", 2, || {
        send(
            &server,
            "identify",
            json!({ "userId": "ada", "externalIds": [], "context": { "externalIds": [{ "id": "c1", "type": "crm_id", "collection": "users", "encoding": "none" }] } }),
        );
        server.drained();
    }) {
        met.extend(texts(page["data"].as_array().unwrap(), "type"));
    }
    assert_eq!(met, ["user_id", "email", "anonymous_id"]);
    assert_eq!(user(&server, "user_id:ada", "external_ids")["data"].as_array().unwrap().len(), 4);
}

#[test]
fn metadata_says_when_someone_was_first_and_last_seen() {
    let (_folder, server) = served();
    ada(&server);
    // Late: it comes last, and was first.
    let late = json!({ "anonymousId": "d1", "messageId": "m0", "timestamp": "2025-12-31T23:59:59Z", "event": "Seen", "writeKey": "wk_web" });
    server.post("/v1/track", &late);
    server.drained();
    let metadata = user(&server, "email:ada@example.com", "metadata")["metadata"].clone();
    for (member, expected) in [
        ("events", json!(4)),
        ("created_at", json!("2025-12-31T23:59:59.000Z")),
        ("updated_at", json!("2026-01-03T10:00:00.000Z")),
        ("first_message_id", json!("m0")),
        ("last_message_id", json!("m3")),
        ("first_source_id", json!("web")),
        ("last_source_id", json!("server")),
        ("expires_at", Value::Null),
    ] {
        assert_eq!(metadata[member], expected, "{member}: {metadata}");
    }
}

#[test]
fn every_page_of_events_together_is_every_event_once_newest_first_while_new_ones_come() {
    let (_folder, server) = served();
    send(
        &server,
        "identify",
        json!({ "userId": "u", "anonymousId": "d", "messageId": "login", "timestamp": "2026-01-01T00:00:00Z" }),
    );
    let mut expected = vec![(0, 0, "login".to_owned())];
    for number in 1..=23usize {
        // Out of order, and several at one instant: then what was received later comes first.
        let minute = number * 7 % 10;
        let who = if number % 2 == 0 { "userId" } else { "anonymousId" };
        let id = if number % 2 == 0 { "u" } else { "d" };
        let message = format!("e{number}");
        let event = json!({ who: id, "messageId": message, "event": "Step", "timestamp": format!("2026-01-02T00:{minute:02}:00Z"), "properties": { "number": number } });
        send(&server, "track", event);
        expected.push((minute + 1, number, message));
    }
    server.drained();
    expected.sort();
    let expected: Vec<String> = expected.into_iter().rev().map(|(.., message)| message).collect();
    for limit in [1, 5, 24, 200] {
        let mut comes = 0;
        let pages = pages(&server, "users", "anonymous_id:d", "events", limit, || {
            comes += 1;
            let id = format!("new-{limit}-{comes}");
            send(&server, "track", json!({ "userId": "u", "messageId": id, "event": "New" }));
            server.drained();
        });
        let mut met: Vec<String> =
            pages.iter().flat_map(|page| texts(page["data"].as_array().unwrap(), "message_id")).collect();
        // What came during an earlier walk is newer than all of these.
        met.retain(|message| !message.starts_with("new-"));
        assert_eq!(met, expected, "limit {limit}");
    }
    let newest = user(&server, "user_id:u", "events?include=Step&limit=1")["data"][0].clone();
    assert_eq!(newest["message_id"], expected[0]);
    assert_eq!((&newest["type"], &newest["event"]), (&json!("track"), &json!("Step")));
    let number: usize = expected[0][1..].parse().unwrap();
    assert_eq!(newest["properties"], json!({ "number": number }));
    assert_eq!(newest["timestamp"], "2026-01-02T00:09:00.000Z");
    assert!(newest["received_at"].as_str() > newest["timestamp"].as_str(), "{newest}");
}

#[test]
fn events_of_some_names_fill_their_pages() {
    let (_folder, server) = served();
    for number in 0..60 {
        let name = match number {
            3 | 40 => "Rare",
            11 => "Scarce",
            _ => "Noise",
        };
        let event = json!({ "userId": "u", "messageId": format!("e{number:02}"), "event": name, "timestamp": format!("2026-01-01T00:{number:02}:00Z") });
        send(&server, "track", event);
    }
    server.drained();
    let found =
        |part: &str, limit: usize| texts(&items(&server, "users", "user_id:u", part, limit), "message_id");
    for limit in [1, 2, 3, 20] {
        assert_eq!(found("events?include=Rare,Scarce", limit), ["e40", "e11", "e03"], "limit {limit}");
        assert_eq!(found("events?include=Rare", limit), ["e40", "e03"], "limit {limit}");
        assert_eq!(found("events?include=Never", limit), [""; 0], "limit {limit}");
    }
    assert_eq!(found("events?include=Noise", 7).len(), 57);
}

#[test]
fn every_known_identifier_is_answered_and_what_was_never_seen_is_not_found() {
    let (_folder, server) = served();
    ada(&server);
    let metadata = user(&server, "user_id:ada", "metadata")["metadata"].clone();
    let profile_id = format!("profile_id:{}", metadata["profile_id"].as_str().unwrap());
    for id in [
        "email:ada@example.com",
        "email:ADA@example.com",
        "anonymous_id:d1",
        "email%3Aada%40example.com",
        &profile_id,
    ] {
        assert_eq!(user(&server, id, "metadata")["metadata"], metadata, "{id}");
    }
    for part in ["traits", "external_ids", "events", "metadata", "links", "audiences"] {
        for (collection, id) in
            [("users", "user_id:nobody"), ("users", "crm_id:ada"), ("users", "profile_id:unheard-of")]
        {
            let (status, problem) = server.request("GET", &path(collection, id, part), "");
            assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{id}/{part}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains("never seen"), "{problem}");
        }
    }
    let (status, problem) = server.request("GET", &path("users", "user_id:anonymous", "traits"), "");
    assert_eq!(status, 404, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("is blocked by the rules"), "{problem}");
    for part in ["traits", "external_ids", "metadata", "links"] {
        let (status, problem) = server.request("GET", &path("accounts", "group_id:none", part), "");
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{part}: {problem}");
    }
}

#[test]
fn an_account_has_traits_metadata_and_its_members() {
    let (_folder, server) = served();
    let says = |user: &str, message: &str, day: usize, traits: Value| json!({ "userId": user, "groupId": "g 1", "messageId": message, "timestamp": format!("2026-01-0{day}T00:00:00Z"), "traits": traits });
    send(&server, "group", says("ada", "g1", 2, json!({ "name": "Acme", "seats": 5, "gone": true })));
    send(&server, "group", says("bob", "g2", 3, json!({ "seats": 7, "gone": null })));
    send(&server, "group", says("cleo", "g3", 1, json!({ "industry": "shoes", "seats": 1 })));
    send(&server, "group", json!({ "userId": "dan", "groupId": "g 11" }));
    server.drained();
    let get = |part: &str| account(&server, "group_id:g%201", part);
    let traits = json!({ "name": "Acme", "seats": 7, "industry": "shoes" });
    assert_eq!(get("traits")["traits"], traits);
    assert_eq!(get("traits?class=trait")["traits"], traits);
    assert_eq!(get("traits?include=seats,none")["traits"], json!({ "seats": 7 }));
    let verbose = json!({ "value": 7, "source_id": "server", "updated_at": "2026-01-03T00:00:00.000Z", "message_id": "g2" });
    assert_eq!(get("traits?verbose=true&include=seats")["traits"], json!({ "seats": verbose }));
    for limit in 1..=4 {
        let pages = pages(&server, "accounts", "group_id:g%201", "traits", limit, || {});
        let all = pages.iter().flat_map(|page| page["traits"].as_object().unwrap().clone());
        assert_eq!(Value::Object(all.collect()), traits, "limit {limit}");
    }
    let id = json!({ "id": "g 1", "type": "group_id", "collection": "accounts", "encoding": "none" });
    assert_eq!(items(&server, "accounts", "group_id:g%201", "external_ids", 1), [id]);
    let metadata = get("metadata")["metadata"].clone();
    let expected = json!({ "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-03T00:00:00.000Z", "expires_at": null,
        "first_message_id": "g3", "last_message_id": "g2", "first_source_id": "server", "last_source_id": "server" });
    assert_eq!(metadata, expected);
    let member = |user: &str, day: usize| {
        let ids = json!([{ "id": user, "type": "user_id", "collection": "users", "encoding": "none" }]);
        json!({ "to_collection": "users", "since": format!("2026-01-0{day}T00:00:00.000Z"), "external_ids": ids })
    };
    for limit in 1..=4 {
        let mut links = items(&server, "accounts", "group_id:g%201", "links", limit);
        links.sort_by_key(|link| link["external_ids"][0]["id"].to_string());
        assert_eq!(links, [member("ada", 2), member("bob", 3), member("cleo", 1)], "limit {limit}");
    }
}

#[test]
fn what_segment_does_not_know_of_an_account_is_said_and_not_empty() {
    let (_folder, server) = served();
    send(&server, "group", json!({ "userId": "ada", "groupId": "g" }));
    server.drained();
    for (id, part, status, words) in [
        ("group_id:g", "events", 404, "its members'"),
        ("group_id:g", "audiences", 404, "only its members are"),
        ("group_id:g", "nothing", 404, "expected traits, external_ids, metadata or links"),
        ("user_id:ada", "traits", 400, "expected `group_id`"),
        ("group_id:g", "traits?class=audience", 400, "expected class `trait`"),
        ("group_id:g", "traits?class=computed_trait", 400, "expected class `trait`"),
        ("group_id:g", "links?include=ada", 400, "takes no `include`"),
    ] {
        let (answered, problem) = server.request("GET", &path("accounts", id, part), "");
        assert_eq!(answered, status, "{id}/{part}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{id}/{part}: {problem}");
    }
    assert_eq!(account(&server, "group_id:g", "traits")["traits"], json!({}));
}

#[test]
fn what_a_parameter_cannot_be_is_refused_with_what_was_expected() {
    let (_folder, server) = served();
    ada(&server);
    let cursor = |part: &str| {
        user(&server, "user_id:ada", &with(part, "limit=1"))["cursor"]["next"].as_str().unwrap().to_owned()
    };
    let (of_events, of_ids, of_traits) = (cursor("events"), cursor("external_ids"), cursor("traits"));
    let foreign = "not one that this list gave";
    let cursors: Vec<(String, &str)> = [
        ("events", "0"),
        ("events", "1.2.3"),
        ("events", ""),
        ("events", of_ids.as_str()),
        ("external_ids", of_events.as_str()),
        ("external_ids", "1"),
        ("audiences", "1"),
        ("links", of_traits.as_str()),
        ("traits", "plan"),
        ("traits", of_ids.as_str()),
    ]
    .into_iter()
    .map(|(part, cursor)| (format!("{part}?cursor={cursor}"), foreign))
    .collect();
    let parameters = [
        ("traits?class=foo", "expected one of `trait`, `computed_trait`, `audience`"),
        ("traits?limit=0", "expected a whole number from 1"),
        ("events?limit=-3", "expected a whole number from 1"),
        ("links?limit=many", "expected a whole number from 1"),
        ("external_ids?limit=", "expected a whole number from 1"),
        ("traits?verbose=maybe", "`true` or `false`"),
        ("traits?include=", "expected names with commas between"),
        ("events?exclude=Noise", "expected one of `include`"),
        ("links?include=g1", "takes no `include`"),
        ("events?class=trait", "takes no `class`"),
    ];
    let parameters = parameters.into_iter().map(|(part, words)| (part.to_owned(), words));
    for (part, words) in cursors.into_iter().chain(parameters) {
        let (status, problem) = server.request("GET", &path("users", "user_id:ada", &part), "");
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{part}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{part}: {problem}");
    }
    // Of someone else's list, too.
    send(&server, "track", json!({ "userId": "bob", "event": "E" }));
    server.drained();
    let (status, problem) =
        server.request("GET", &path("users", "user_id:bob", &format!("events?cursor={of_events}")), "");
    assert_eq!(status, 400, "{problem}");
    for (place, words) in [
        ("/v1/spaces/acme/collections/users/profiles/ada/traits", "expected `type:value`"),
        ("/v1/spaces/acme/collections/shops/profiles/user_id:ada/traits", "expected users or accounts"),
        ("/v1/spaces/acme/collections/users/profiles/user_id:ada/nothing", "expected traits, external_ids"),
        ("/v1/spaces/other/collections/users/profiles/user_id:ada/traits", "no workspace `other`"),
    ] {
        let (status, problem) = server.request("GET", place, "");
        assert!(matches!(status, 400 | 404), "{place}: {status}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{place}: {problem}");
    }
}

#[test]
fn a_page_has_at_most_two_hundred_items_and_says_so() {
    let (_folder, server) = served();
    let batch: Vec<Value> = (0..205)
        .map(|number| json!({ "type": "track", "userId": "u", "event": "E", "messageId": format!("e{number:03}"), "timestamp": 1_767_225_600_000i64 + number }))
        .collect();
    send(&server, "batch", json!({ "batch": batch }));
    server.drained();
    let page = user(&server, "user_id:u", "events?limit=999999");
    assert_eq!((page["data"].as_array().unwrap().len(), &page["cursor"]["limit"]), (200, &json!(200)));
    let rest = user(
        &server,
        "user_id:u",
        &format!("events?limit=999999&cursor={}", page["cursor"]["next"].as_str().unwrap()),
    );
    assert_eq!(
        texts(rest["data"].as_array().unwrap(), "message_id"),
        ["e004", "e003", "e002", "e001", "e000"]
    );
    assert_eq!(user(&server, "user_id:u", "events")["data"].as_array().unwrap().len(), 20);
    let described = server.get("/api/openapi.json");
    let parameters = &described["paths"]["/v1/spaces/{workspace}/collections/{collection}/profiles/{id}/{part}"]
        ["get"]["parameters"];
    let limit = parameters.as_array().unwrap().iter().find(|parameter| parameter["name"] == "limit").unwrap();
    assert!(limit["description"].as_str().unwrap().contains("never more than 200"), "{limit}");
}

/// Status, headers in lower case, and JSON of what a page of `origin` is told of its visitor.
fn told(server: &Server, write_key: &str, visitor: &str, origin: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let origin = if origin.is_empty() { String::new() } else { format!("origin: {origin}\r\n") };
    let head = format!(
        "GET /v1/personalize?anonymous_id={visitor}&write_key={write_key} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{origin}\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

fn shown(server: &Server, visitor: &str) -> Value {
    let (status, _, body) = told(server, "wk_web", visitor, "https://shop.example");
    assert_eq!(status, 200, "{body}");
    body
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_page_is_told_what_its_source_lists_if_it_is_of_an_allowed_origin() {
    let (_folder, server) = served();
    ada(&server);
    let expected = json!({ "audiences": { "buyers": true }, "traits": { "orders": 1, "plan": "team" } });
    let allow = "access-control-allow-origin";
    let (status, head, body) = told(&server, "wk_web", "d1", "https://shop.example");
    assert_eq!((status, &body), (200, &expected), "no e-mail, no views, no lookers: they are not listed");
    assert_eq!(header(&head, allow), Some("https://shop.example"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    assert_eq!(header(&head, "vary"), Some("origin"));
    for foreign in
        ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"]
    {
        let (_, head, _) = told(&server, "wk_web", "d1", foreign);
        assert_eq!(header(&head, allow), None, "{foreign}: its browser must not show it the answer");
        assert_eq!(header(&head, "cache-control"), Some("no-store"));
    }
    let (status, head, body) = told(&server, "wk_blog", "d1", "https://any.example");
    assert_eq!((status, header(&head, allow)), (200, Some("https://any.example")));
    assert_eq!(
        body,
        json!({ "audiences": { "buyers": true }, "traits": {} }),
        "each source has its own list"
    );
    let (status, _, body) = told(&server, "wk_server", "d1", "https://shop.example");
    assert_eq!((status, body), (200, json!({ "audiences": {}, "traits": {} })), "it lists nothing");
}

#[test]
fn a_visitor_never_seen_is_in_nothing_and_an_unknown_write_key_is_refused() {
    let (_folder, server) = served();
    assert_eq!(shown(&server, "never-seen"), json!({ "audiences": { "buyers": false }, "traits": {} }));
    assert_eq!(
        server.request("GET", &path("users", "anonymous_id:never-seen", "metadata"), "").0,
        404,
        "asking makes nobody"
    );
    let (status, head, problem) = told(&server, "wk_nobody", "d1", "https://evil.example");
    assert_eq!((status, &problem["code"]), (401, &json!("unknown_write_key")));
    assert_eq!(header(&head, "access-control-allow-origin"), Some("*"), "a page may read why");
}

/// identity.md: personalise on a shared device answers for whoever would own an event of that device now.
#[test]
fn on_a_shared_device_a_visitor_sees_who_logged_in_last() {
    let (_folder, server) = served();
    let logs_in = |user: &str, time: &str| {
        send(
            &server,
            "identify",
            json!({ "userId": user, "anonymousId": "tablet", "timestamp": time, "traits": { "plan": user } }),
        );
        server.drained();
    };
    send(&server, "track", json!({ "userId": "ada", "event": "Order Completed" }));
    let ada = json!({ "audiences": { "buyers": true }, "traits": { "orders": 1, "plan": "ada" } });
    let bob = json!({ "audiences": { "buyers": false }, "traits": { "orders": 0, "plan": "bob" } });
    logs_in("ada", "2026-01-01T10:00:00Z");
    assert_eq!(shown(&server, "tablet"), ada);
    logs_in("bob", "2026-01-01T11:00:00Z");
    assert_eq!(shown(&server, "tablet"), bob, "nothing of Ada's");
    logs_in("ada", "2026-01-01T10:30:00Z");
    assert_eq!(shown(&server, "tablet"), bob, "a login that comes late was before Bob's");
    logs_in("ada", "2026-01-01T12:00:00Z");
    assert_eq!(shown(&server, "tablet"), ada);
}

#[test]
fn before_a_workspace_is_loaded_personalise_does_not_pretend_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"])
        .arg(folder.path().join("data"));
    let server = Server::ready(&mut command, folder.path());
    let (status, head, problem) = told(&server, "wk_web", "d1", "https://shop.example");
    assert_eq!((status, &problem["code"]), (503, &json!("not_ready")));
    assert_eq!(header(&head, "retry-after"), Some("1"));
    let file = folder.path().join("workspace.yaml");
    std::fs::write(&file, WORKSPACE).unwrap();
    let (code, said, error) = server.onefold(&["apply", "--yes", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(shown(&server, "d1"), json!({ "audiences": { "buyers": false }, "traits": {} }));
}

#[test]
fn a_just_acknowledged_event_is_seen_by_profile_api_and_personalise() {
    let (_folder, server) = served();
    for round in 0..20 {
        let visitor = format!("visitor-{round}");
        let order = json!({ "writeKey": "wk_web", "anonymousId": visitor, "event": "Order Completed" });
        server.post("/v1/track", &order);
        until("the order is not seen by the page", || {
            shown(&server, &visitor)["audiences"]["buyers"] == true
        });
        let traits = user(&server, &format!("anonymous_id:{visitor}"), "traits")["traits"].clone();
        assert_eq!((&traits["buyers"], &traits["orders"]), (&json!(true), &json!(1)), "one state for both");
    }
}
