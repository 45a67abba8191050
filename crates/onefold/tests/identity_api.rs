//! Identity over HTTP: what is blocked, who may ask, near duplicates, customer keys on request, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Server, request_with};
use serde_json::{Value, json};
use std::process::Command;

const WORKSPACE: &str = r#"
version: 1
workspace: acme
sources:
  - { key: server, kind: server, write_key: wk_server }
identity:
  blocked: ["/^test-[0-9]+$/", "shop@acme.example"]
"#;

fn track(server: &Server, ids: &Value) {
    let mut body = json!({ "writeKey": "wk_server", "event": "Product Viewed" });
    body.as_object_mut().unwrap().append(&mut ids.as_object().unwrap().clone());
    server.post("/v1/track", &body);
}

/// The customer key of whoever has an identifier; `null` if none was issued.
fn customer_key(server: &Server, id: &str) -> Value {
    let found = server.profile(id, "metadata").unwrap_or_else(|| panic!("nobody is {id}"));
    found["metadata"]["customer_key"].clone()
}

#[test]
fn what_the_workspace_blocks_is_accepted_and_joins_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let shared = json!({ "traits": { "email": "Shop@ACME.example" } });
    track(&server, &json!({ "userId": "TEST-7", "anonymousId": "a1", "context": shared }));
    track(&server, &json!({ "userId": "test-7", "anonymousId": "a2", "context": shared }));
    track(&server, &json!({ "userId": "test-8" }));
    track(&server, &json!({ "userId": "my-test-7" }));
    server.drained();

    let status = server.get("/api/status");
    assert_eq!((&status["folded"], &status["persons"]), (&json!(4), &json!(3)), "test-8 alone is nobody");
    for (id, other) in [("anonymous_id:a1", "anonymous_id:a2"), ("anonymous_id:a2", "anonymous_id:a1")] {
        assert_eq!(server.events(id), ["track Product Viewed"]);
        let why = server.get(&format!("/api/why?a={id}&b={other}"));
        assert_eq!((&why["together"], &why["reason"]["kind"]), (&json!(false), &json!("no_evidence")));
    }
    assert_eq!(server.events("user_id:my-test-7"), ["track Product Viewed"], "the pattern is anchored");
    for blocked in ["user_id:test-7", "user_id:Test-8", "email:shop@acme.example"] {
        let why = server.get(&format!("/api/why?a={blocked}&b=anonymous_id:a1"));
        assert_eq!(
            (&why["together"], &why["reason"]["kind"]),
            (&json!(false), &json!("blocked")),
            "{blocked}"
        );
        let path = format!("/v1/spaces/acme/collections/users/profiles/{blocked}/traits");
        let (status, problem) = server.request("GET", &path, "");
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{blocked}");
        assert!(problem["detail"].as_str().unwrap().contains("blocked"), "{problem}");
    }
}

#[test]
fn user_ids_that_differ_in_case_are_listed_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for user in ["ada", "Ada", "Solo", "u2", "U2", "ADA", "bob"] {
        track(&server, &json!({ "userId": user }));
    }
    server.drained();
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = server.get(&format!("/api/near-duplicates?limit=1{cursor}"));
        pages += 1;
        for item in page["data"].as_array().unwrap() {
            let ids = item["ids"].as_array().unwrap();
            assert!(ids.iter().all(|id| id["type"] == "user_id"), "{item}");
            let mut values: Vec<&str> = ids.iter().map(|id| id["id"].as_str().unwrap()).collect();
            values.sort_unstable();
            found.push(values.join(" "));
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(pages < 10, "the pages do not end");
    }
    assert_eq!(found, ["U2 u2", "ADA Ada ada"], "the shorter ones first");
    assert_eq!(server.get("/api/near-duplicates")["data"].as_array().unwrap().len(), 2);
}

#[test]
fn a_customer_key_is_issued_on_request_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), WORKSPACE);
    track(&server, &json!({ "userId": "u", "anonymousId": "a1" }));
    track(&server, &json!({ "anonymousId": "a2" }));
    server.drained();
    assert_eq!(customer_key(&server, "user_id:u"), Value::Null);

    let ask = |id_type: &str, value: &str| json!({ "kind": "issue_customer_key", "id": { "type": id_type, "id": value }, "reason": "for the CRM" });
    let issued = server.post("/api/decisions", &ask("anonymous_id", "a1"));
    let key = issued["customer_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("cus_"), "{issued}");
    assert_eq!(issued["number"], 1);
    for id in ["user_id:u".to_owned(), "anonymous_id:a1".to_owned(), format!("customer_key:{key}")] {
        assert_eq!(customer_key(&server, &id), *key, "{id}");
    }
    let again = server.post("/api/decisions", &ask("user_id", "u"));
    assert_eq!(again, json!({ "number": 2, "customer_key": key }));

    for (id_type, value, expected) in [
        ("anonymous_id", "a2", "anonymous"),
        ("user_id", "nobody", "never seen"),
        ("user_id", "test-1", "blocked"),
    ] {
        let (status, problem) = server.request("POST", "/api/decisions", &ask(id_type, value).to_string());
        assert_eq!((status, &problem["code"]), (409, &json!("refused")), "{id_type}:{value}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{problem}");
    }
    let taken = server.get("/api/decisions");
    let kinds: Vec<&Value> =
        taken["data"].as_array().unwrap().iter().map(|item| &item["decision"]["kind"]).collect();
    assert_eq!(kinds, ["issue_customer_key", "issue_customer_key"]);
    let described =
        server.get("/api/openapi.json")["components"]["schemas"]["Asked"]["description"].to_string();
    for kind in ["link", "cut", "force", "block", "undo", "delete_profile", "issue_customer_key"] {
        assert!(described.contains(kind), "{kind}: {described}");
    }

    server.kill();
    server = Server::start(folder.path(), WORKSPACE);
    server.drained();
    assert_eq!(customer_key(&server, "user_id:u"), *key, "after a restart");
}

/// A browser sends a POST without a body to anyone, and only then looks whether its page may read the answer.
#[test]
fn a_page_of_another_site_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    track(&server, &json!({ "userId": "u" }));
    server.drained();
    let delete = json!({ "kind": "delete_profile", "id": { "type": "user_id", "id": "u" } }).to_string();
    let from = |origin: &str, method: &str, path: &str, body: &str| {
        request_with(&server.address, method, path, &[("origin", origin)], body).unwrap()
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
        for (path, body) in [("/api/decisions", delete.as_str()), ("/api/quarantine/1/discard", "")] {
            let (status, problem) = from(origin, "POST", path, body);
            assert_eq!((status, &problem["code"]), (403, &json!("foreign_origin")), "{origin} {path}");
        }
    }
    assert_eq!(server.events("user_id:u"), ["track Product Viewed"]);
    assert_eq!(server.get("/api/decisions")["data"], json!([]));
    assert_eq!(from("https://evil.example", "GET", "/api/status", "").0, 200);
    assert_eq!(from("http://localhost:3000", "POST", "/api/decisions", &delete).0, 200);
    assert_eq!(server.profile("user_id:u", "traits"), None);
}

/// Behind a proxy on the same machine every request comes from loopback, and may name it as its host.
#[test]
fn a_proxy_on_the_same_machine_does_not_open_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let headers = [(header, "for=203.0.113.9")];
        for path in
            ["/api/status", "/api/decisions", "/v1/spaces/acme/collections/users/profiles/user_id:u/traits"]
        {
            let (status, problem) = request_with(&server.address, "GET", path, &headers, "").unwrap();
            assert_eq!((status, &problem["code"]), (403, &json!("proxied")), "{header} {path}: {problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(header) && detail.contains("ONEFOLD_ADMIN_TOKEN"), "{detail}");
        }
        let event = json!({ "writeKey": "wk_server", "userId": "u", "event": "X" }).to_string();
        let sent = request_with(&server.address, "POST", "/v1/track", &headers, &event).unwrap();
        assert_eq!(sent.0, 200, "events come in through a proxy: {}", sent.1);
        assert_eq!(request_with(&server.address, "GET", "/healthz", &headers, "").unwrap().0, 200);
    }
}

#[test]
fn a_token_that_is_given_on_loopback_is_asked_for_proxy_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"]);
    command.arg(folder.path().join("data")).env("ONEFOLD_ADMIN_TOKEN", "let-me-in");
    let server = Server::ready(&mut command, folder.path());
    let status = |headers: &[(&str, &str)]| {
        request_with(&server.address, "GET", "/api/status", headers, "").unwrap().0
    };
    let forwarded = ("x-forwarded-for", "203.0.113.9");
    assert_eq!((status(&[]), status(&[forwarded])), (401, 401));
    assert_eq!(status(&[forwarded, ("authorization", "Bearer wrong")]), 401);
    let token = ("authorization", "Bearer let-me-in");
    assert_eq!((status(&[token]), status(&[forwarded, token])), (200, 200));
}

#[test]
fn a_body_larger_than_a_record_is_refused_as_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for (path, bytes, status, code) in [
        ("/api/decisions", 16 << 20, 422, "invalid_request"),
        ("/api/decisions", (16 << 20) + 1, 413, "too_large"),
        ("/api/quarantine/1/send", (16 << 20) + 1, 413, "too_large"),
    ] {
        let (answered, problem) = server.request("POST", path, &of(bytes));
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{path} of {bytes}: {problem}");
        assert_eq!(problem["status"], status, "{path} of {bytes}");
        assert!(problem.to_string().len() < 2_000, "a problem does not repeat the body");
    }
}

#[test]
fn sending_again_takes_no_body_or_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let refused = json!({ "writeKey": "wk_server", "batch": [{ "type": "track", "userId": "u" }] });
    let (_, answer) = server.request("POST", "/v1/batch", &refused.to_string());
    assert_eq!(answer["rejected"][0]["index"], 0, "{answer}");
    server.drained();
    let items = server.get("/api/quarantine")["data"].clone();
    let number = items[0]["number"].as_u64().unwrap_or_else(|| panic!("nothing in quarantine: {items}"));
    let path = format!("/api/quarantine/{number}/send");
    for body in ["{", "[]", r#"{ "reason": 7 }"#] {
        let (status, problem) = server.request("POST", &path, body);
        assert!(matches!(status, 400 | 422), "{body}: {status}: {problem}");
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(status), &json!("invalid_request")),
            "{body}"
        );
    }
    let (status, problem) = server.request("POST", &path, "");
    assert_eq!((status, &problem["code"]), (422, &json!("refused_again")), "as it was: {problem}");
    let mended = json!({ "body": { "type": "track", "userId": "u", "event": "Order Completed" } });
    assert_eq!(server.post(&path, &mended), json!({ "sent": true }));
    server.drained();
    assert_eq!(server.events("user_id:u"), ["track Order Completed"]);
    assert_eq!(server.get("/api/quarantine")["data"], json!([]));
}

/// A type becomes part of a storage key, and no engine takes keys of any length.
#[test]
fn a_decision_about_a_type_that_is_none_is_refused_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let id = |id_type: &str, value: &str| json!({ "type": id_type, "id": value });
    for wrong in ["t".repeat(70_000).as_str(), "User Id", ""] {
        let link = json!({ "kind": "link", "a": id(wrong, "z"), "b": id(wrong, "y") });
        let (status, problem) = server.request("POST", "/api/decisions", &link.to_string());
        assert_eq!(status, 409, "{problem:.300}");
    }
    track(&server, &json!({ "userId": "ada" }));
    server.drained();
    assert_eq!(server.events("user_id:ada"), ["track Product Viewed"]);
}

#[test]
fn a_refused_decision_names_its_rule_and_who_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    track(&server, &json!({ "userId": "u1" }));
    track(&server, &json!({ "userId": "u2" }));
    server.drained();
    let id = |value: &str| json!({ "type": "user_id", "id": value });
    let refused = |decision: &Value| {
        let (status, problem) = server.request("POST", "/api/decisions", &decision.to_string());
        assert_eq!((status, &problem["code"]), (409, &json!("refused")), "{problem}");
        problem
    };
    let link = refused(&json!({ "kind": "link", "a": id("u1"), "b": id("u2") }));
    assert_eq!(link["rule"], "user_id: at most 1 in one profile");
    assert_eq!(link["witnesses"], json!([id("u1"), id("u2")]));
    assert_eq!(
        link["detail"],
        "refused, and not recorded: user_id: at most 1 in one profile (user_id:u1, user_id:u2)"
    );
    let undo = refused(&json!({ "kind": "undo", "number": 99 }));
    assert_eq!(undo["rule"], "there is no decision 99 to take back");
    assert_eq!(undo.get("witnesses"), None);
    let (_, other) = server.request("GET", "/api/why?a=x", "");
    assert_eq!((other.get("rule"), other.get("witnesses")), (None, None), "{other}");
}
