//! Items of the quarantine that are sent again: a copy that says something else, and when what is sent again happened.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::Server;
use serde_json::{Value, json};

const WORKSPACE: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

fn only_item(server: &Server) -> Value {
    server.drained();
    let items = server.get("/api/quarantine?bodies=true")["data"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
    items[0].clone()
}

#[test]
fn a_copy_that_says_something_else_is_taken_with_an_id_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for user in ["u", "v"] {
        let page = json!({ "writeKey": "wk_server", "userId": user, "messageId": "once" });
        assert_eq!(server.request("POST", "/v1/page", &page.to_string()).0, 200);
    }
    let item = only_item(&server);
    let body: Value = serde_json::from_str(item["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&item["code"], &body["type"], &body["userId"]),
        (&json!("dup_conflict"), &json!("page"), &json!("v"))
    );
    let path = format!("/api/quarantine/{}/send", item["number"]);
    let mut mended = body.clone();
    mended["properties"] = json!({ "more": true });
    for sent in [json!({}), json!({ "body": body }), json!({ "body": mended })] {
        let (status, problem) = server.request("POST", &path, &sent.to_string());
        assert_eq!((status, &problem["code"]), (422, &json!("same_message_id")), "{problem}");
    }
    mended["messageId"] = json!("twice");
    assert_eq!(server.post(&path, &json!({ "body": mended })), json!({ "sent": true }));
    server.drained();
    assert_eq!(server.events("user_id:v").len(), 1);
    assert_eq!(server.get("/api/quarantine")["data"], json!([]));
}

#[test]
fn what_is_sent_again_happened_when_it_happened() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let page = json!({ "writeKey": "wk_server", "type": "page" });
    assert_eq!(
        server
            .request("POST", "/v1/batch", &json!({ "writeKey": "wk_server", "batch": [page] }).to_string())
            .0,
        400
    );
    let item = only_item(&server);
    let path = format!("/api/quarantine/{}/send", item["number"]);
    let mended = json!({ "body": { "type": "page", "userId": "u" } });
    assert_eq!(server.post(&path, &mended), json!({ "sent": true }));
    server.drained();
    let events = server.profile("user_id:u", "events").unwrap();
    assert_eq!(events["data"][0]["timestamp"], item["received_at"], "{events}");
}
