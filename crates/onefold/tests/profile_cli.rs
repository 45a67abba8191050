//! `onefold profile` for people: who someone is, and why, on lines that nothing a client sent can break.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::Server;
use serde_json::{Value, json};

const WORKSPACE: &str = r#"
version: 1
workspace: acme
sources:
  - { key: server, kind: server, write_key: wk_server }
audiences:
  - { key: buyers, where: 'did("Order Completed")' }
  - { key: lookers, where: 'did("Looked")' }
computed_traits:
  - { key: orders, value: 'count("Order Completed")' }
identity: { preset: product, blocked: ['nobody@example.com'] }
"#;

fn send(server: &Server, kind: &str, message: Value) {
    let mut message = message;
    message["writeKey"] = "wk_server".into();
    server.post(&format!("/v1/{kind}"), &message);
}

fn says(server: &Server, args: &[&str]) -> String {
    let (code, out, error) = server.onefold(args);
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
    out
}

fn document(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&says(server, &[args, &["--json"]].concat())).unwrap()
}

#[test]
fn who_someone_is_stands_in_columns_with_source_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let at = |minute: u32| format!("2026-01-02T03:{minute:02}:00.000Z");
    let long = "田".repeat(500);
    let traits = json!({ "email": "e1@x.com", "plan": "pro", "名前": "Zoë 👩‍👩‍👧", "bio": long, "trick": "a\u{202e}b\u{7f}" });
    send(&server, "identify", json!({ "userId": "u1", "timestamp": at(1), "traits": traits }));
    send(&server, "group", json!({ "userId": "u1", "timestamp": at(2), "groupId": "acme-1" }));
    send(&server, "track", json!({ "userId": "u1", "timestamp": at(3), "event": "Order Completed" }));
    server.drained();
    let metadata = server.profile("user_id:u1", "metadata").unwrap()["metadata"].clone();
    let derived = |key: &str| {
        let traits = server.profile("user_id:u1", "traits?verbose=true").unwrap();
        traits["traits"][key]["updated_at"].as_str().unwrap().to_owned()
    };
    let cut = format!("\"{}…", "田".repeat(39));
    let expected = [
        "user_id:u1".to_owned(),
        format!("  profile       {}", metadata["profile_id"].as_str().unwrap()),
        "  customer key  none yet".to_owned(),
        format!("  events        3 events, first {}, last {}", at(1), at(3)),
        "identifiers".to_owned(),
        "  user_id  u1".to_owned(),
        "  email    e1@x.com".to_owned(),
        "traits".to_owned(),
        // 1 quote, 39 letters of two columns and the ellipsis: 80 columns.
        format!("  bio    {cut}  server  {}", at(1)),
        format!("  email  \"e1@x.com\"{}  server  {}", " ".repeat(70), at(1)),
        format!("  plan   \"pro\"{}  server  {}", " ".repeat(75), at(1)),
        format!("  trick  \"a\\u{{202e}}b\\u{{7f}}\"{}  server  {}", " ".repeat(62), at(1)),
        format!("  名前   \"Zoë 👩‍👩‍👧\"{}  server  {}", " ".repeat(72), at(1)),
        "computed traits".to_owned(),
        format!("  orders  1  onefold  {}", derived("orders")),
        "audiences".to_owned(),
        format!("  buyers  since {}", derived("buyers")),
        "accounts".to_owned(),
        format!("  acme-1  since {}", at(2)),
    ];
    let told = says(&server, &["profile", "get", "user_id:u1"]);
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);

    // For programs: the API's answers, whole.
    let whole = document(&server, &["profile", "get", "user_id:u1"]);
    for (name, part) in [
        ("metadata", "metadata"),
        ("external_ids", "external_ids?limit=200"),
        ("audiences", "audiences?limit=200"),
        ("traits", "traits?verbose=true"),
        ("links", "links?limit=200"),
    ] {
        assert_eq!(whole[name], server.profile("user_id:u1", part).unwrap(), "{name}");
    }
    assert_eq!(whole.as_object().unwrap().len(), 5);
    assert_eq!(whole["traits"]["traits"]["bio"]["value"], json!(long));
}

#[test]
fn someone_of_whom_little_is_known_has_empty_lists() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    send(&server, "track", json!({ "anonymousId": "a1", "event": "Looked around" }));
    server.drained();
    let told = says(&server, &["profile", "get", "anonymous_id:a1"]);
    let lists: Vec<&str> = told.lines().skip(4).collect();
    assert_eq!(lists[..3], ["identifiers", "  anonymous_id  a1", "traits: none"]);
    assert_eq!(lists[lists.len() - 2..], ["audiences: none", "accounts: none"]);
    let timeline = says(&server, &["profile", "timeline", "anonymous_id:a1"]);
    assert!(timeline.ends_with("Z  track  Looked around  {}\n1 event\n"), "{timeline}");
    for args in [&["profile", "get", "user_id:never"][..], &["profile", "timeline", "user_id:never"]] {
        let expected = (1, String::new(), "error: user_id:never was never seen\n".to_owned());
        assert_eq!(server.onefold(args), expected);
    }
}

#[test]
fn why_two_are_one_person_is_a_chain_of_events_and_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let identify = |id: &str, minute: u32, mut message: Value| {
        message["messageId"] = id.into();
        message["timestamp"] = format!("2026-01-02T03:{minute:02}:00.000Z").into();
        send(&server, "identify", message);
    };
    identify("m1", 1, json!({ "anonymousId": "a1", "traits": { "email": "e1@x.com" } }));
    identify("m2", 2, json!({ "anonymousId": "a1", "userId": "u1" }));
    identify("m3", 3, json!({ "anonymousId": "a1", "userId": "u1" }));
    identify("m4", 4, json!({ "anonymousId": "a9" }));
    server.drained();
    let told = says(&server, &["profile", "why", "email:e1@x.com", "user_id:u1"]);
    let expected = "email:e1@x.com and user_id:u1 are one person, by 2 links:\n\
        \x20 email:e1@x.com – anonymous_id:a1\n\
        \x20   1 event, first 2026-01-02T03:01:00.000Z: message m1\n\
        \x20 anonymous_id:a1 – user_id:u1\n\
        \x20   2 events, first 2026-01-02T03:02:00.000Z, last 2026-01-02T03:03:00.000Z: messages m2, m3\n";
    assert_eq!(told, expected);
    let same = says(&server, &["profile", "why", "email:e1@x.com", "email:E1@x.com"]);
    assert_eq!(same, "email:e1@x.com and email:E1@x.com are one identifier\n");

    let link =
        ["decisions", "link", "user_id:u1", "anonymous_id:a9", "--operator", "ada", "--reason", "by phone"];
    says(&server, &link);
    let at = server.get("/api/decisions")["data"][0]["at"].as_str().unwrap().to_owned();
    let told = says(&server, &["profile", "why", "user_id:u1", "anonymous_id:a9"]);
    let expected = format!(
        "user_id:u1 and anonymous_id:a9 are one person, by 1 link:\n  user_id:u1 – anonymous_id:a9\n    \
         decision 1 of ada at {at}: by phone\n"
    );
    assert_eq!(told, expected);
    let answer = server.get("/api/why?a=user_id:u1&b=anonymous_id:a9");
    assert_eq!(document(&server, &["profile", "why", "user_id:u1", "anonymous_id:a9"]), answer);
}

#[test]
fn why_two_are_not_one_person_names_the_rule_and_the_two() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for (id, user) in [("m1", "u1"), ("m2", "u2")] {
        let message = json!({ "messageId": id, "userId": user, "timestamp": "2026-01-02T03:04:05.000Z",
            "traits": { "email": "house@x.com" } });
        send(&server, "identify", message);
    }
    send(&server, "identify", json!({ "userId": "u3" }));
    server.drained();
    // Which of the two has the e-mail is the rules' affair; the other one is kept out by the limit of user ids.
    let answer = server.get("/api/why?a=user_id:u1&b=user_id:u2");
    let hop = &answer["reason"]["hop"];
    let name = |id: &Value| format!("{}:{}", id["type"].as_str().unwrap(), id["id"].as_str().unwrap());
    let told = says(&server, &["profile", "why", "user_id:u1", "user_id:u2"]);
    let lines: Vec<&str> = told.lines().collect();
    let message = if told.contains("message m1") { "m1" } else { "m2" };
    assert_eq!(lines[0], "user_id:u1 and user_id:u2 are not one person:");
    assert_eq!(lines[1], "  what would link them:");
    assert_eq!(lines[2], format!("    {} – {}", name(&hop["from"]), name(&hop["to"])));
    assert_eq!(lines[3], format!("      1 event, first 2026-01-02T03:04:05.000Z: message {message}"));
    assert_eq!(lines[4], "  what forbids it: user_id: at most 1 in one profile");
    assert!(
        ["    shown by user_id:u1 and user_id:u2", "    shown by user_id:u2 and user_id:u1"]
            .contains(&lines[5]),
        "{told}"
    );
    assert_eq!(lines.len(), 6, "{told}");
    assert_eq!(document(&server, &["profile", "why", "user_id:u1", "user_id:u2"]), answer);
    for (other, why) in [
        ("user_id:u3", "no chain of events or decisions leads from one to the other"),
        ("user_id:never", "user_id:never was never seen"),
        ("email:nobody@example.com", "one of them is blocked by the rules: it says nothing about anyone"),
    ] {
        let told = says(&server, &["profile", "why", "user_id:u1", other]);
        assert_eq!(told, format!("user_id:u1 and {other} are not one person:\n  {why}\n"));
    }
    let (code, out, error) = server.onefold(&["profile", "why", "u1", "user_id:u2"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(error, "error: `u1` is no identifier; expected `type:value`\n");
}

#[test]
fn a_timeline_says_how_much_of_it_is_shown_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let event = |n: usize| {
        let at = format!("2026-01-02T03:{:02}:{:02}.000Z", n / 60, n % 60);
        json!({ "type": "track", "userId": "u1", "event": format!("E{n}"), "timestamp": at })
    };
    // More than two pages of the API.
    let batch: Vec<Value> = (0..430).map(event).collect();
    server.post("/v1/batch", &json!({ "writeKey": "wk_server", "batch": batch }));
    server.drained();
    let latest = |told: &str, count: usize| {
        let names: Vec<String> =
            told.lines().take(count).map(|line| line.split("  ").nth(3).unwrap().trim().to_owned()).collect();
        let expected: Vec<String> = (430 - count..430).rev().map(|n| format!("E{n}")).collect();
        assert_eq!(names, expected);
        assert_eq!(told.lines().count(), count + 1);
        told.lines().last().unwrap().to_owned()
    };
    let ask = |more: &[&str]| says(&server, &[&["profile", "timeline", "user_id:u1"], more].concat());
    let more = "the latest; there are more: --limit N shows N, --all every one";
    assert_eq!(latest(&ask(&[]), 50), format!("50 events, {more}"));
    assert_eq!(latest(&ask(&["--limit", "201"]), 201), format!("201 events, {more}"));
    assert_eq!(latest(&ask(&["--limit", "430"]), 430), "430 events");
    assert_eq!(latest(&ask(&["--limit", "9999"]), 430), "430 events");
    assert_eq!(latest(&ask(&["--all"]), 430), "430 events");
    let all = document(&server, &["profile", "timeline", "user_id:u1", "--all"]);
    assert_eq!((all["data"].as_array().unwrap().len(), &all["cursor"]["has_more"]), (430, &json!(false)));
    let some = document(&server, &["profile", "timeline", "user_id:u1", "--limit", "201"]);
    assert_eq!((some["data"].as_array().unwrap().len(), &some["cursor"]["has_more"]), (201, &json!(true)));
    assert_eq!(some["data"].as_array().unwrap()[..], all["data"].as_array().unwrap()[..201]);
}

#[test]
fn for_programs_someone_has_every_identifier_audience_and_trait() {
    let folder = tempfile::tempdir().unwrap();
    let audience = |n: usize| format!("  - {{ key: a{n:03}, where: 'did(\"Looked\")' }}\n");
    let workspace = format!(
        "version: 1\nworkspace: acme\nsources:\n  - {{ key: server, kind: server, write_key: wk_server }}\nidentity: {{ identifiers: [{{ type: anonymous_id, limit: 1000 }}] }}\naudiences:\n{}",
        (0..210).map(audience).collect::<String>()
    );
    let server = Server::start(folder.path(), &workspace);
    let traits: serde_json::Map<String, Value> = (0..250).map(|n| (format!("t{n:03}"), json!(n))).collect();
    send(&server, "identify", json!({ "userId": "u1", "traits": traits }));
    send(&server, "track", json!({ "userId": "u1", "event": "Looked" }));
    let device = |n: usize| json!({ "type": "identify", "userId": "u1", "anonymousId": format!("d{n:03}") });
    let batch: Vec<Value> = (0..230).map(device).collect();
    server.post("/v1/batch", &json!({ "writeKey": "wk_server", "batch": batch }));
    server.drained();
    let whole = document(&server, &["profile", "get", "user_id:u1"]);
    let names = |list: &str, name: &str| -> std::collections::BTreeSet<String> {
        whole[list]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[name].as_str().unwrap().to_owned())
            .collect()
    };
    let devices = (0..230).map(|n| format!("d{n:03}")).chain(["u1".to_owned()]).collect();
    assert_eq!(names("external_ids", "id"), devices);
    assert_eq!(names("audiences", "key"), (0..210).map(|n| format!("a{n:03}")).collect());
    let shown = whole["traits"]["traits"].as_object().unwrap();
    for (key, value) in &traits {
        assert_eq!(&shown[key]["value"], value, "{key}");
    }
    for list in ["external_ids", "audiences", "traits", "links"] {
        assert_eq!(whole[list]["cursor"]["has_more"], false, "{list}");
    }
    let told = says(&server, &["profile", "get", "user_id:u1"]);
    assert!(told.contains("  and more: --json has them all\n"), "{told}");
}
