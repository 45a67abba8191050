//! A renamed audience over HTTP: what a plan says of it, and that nobody leaves or enters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::Server;
use serde_json::{Value, json};

const WORKSPACE: &str = r#"
version: 1
workspace: acme
sources:
  - { key: server, kind: server, write_key: wk_server }
audiences:
  - { key: vip, where: 'did("Order Completed")' }
  - { key: quiet, where: 'not in audience("vip")' }
"#;

fn with(audiences: &Value) -> Value {
    json!({
        "version": 1, "workspace": "acme",
        "sources": [{ "key": "server", "kind": "server", "write_key": "wk_server" }],
        "audiences": audiences,
    })
}

#[test]
fn a_rename_is_planned_as_one_and_moves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let order = json!({ "writeKey": "wk_server", "userId": "u", "event": "Order Completed" });
    server.post("/v1/track", &order);
    server.drained();

    let beside = with(&json!([
        { "key": "best", "renamed_from": "vip", "where": "did(\"Order Completed\")" },
        { "key": "vip", "where": "did(\"Order Refunded\")" },
    ]));
    for path in ["/api/plan", "/api/apply"] {
        let (status, problem) = server.request("POST", path, &beside.to_string());
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_workspace")), "{path}: {problem}");
        assert_eq!(problem["problems"][0]["place"], "audiences.best", "{path}: {problem}");
    }

    let renamed = with(&json!([
        { "key": "best", "renamed_from": "vip", "where": "did(\"Order Completed\")" },
        { "key": "quiet", "where": "not in audience(\"best\")" },
    ]));
    let expected = json!([
        { "action": "rename", "kind": "audiences", "key": "best", "from": "vip" },
        { "action": "change", "kind": "audiences", "key": "quiet" },
    ]);
    assert_eq!(server.post("/api/plan", &renamed)["changes"], expected);
    assert_eq!(server.post("/api/apply", &renamed)["changes"], expected);
    server.drained();
    let audiences = server.get("/api/audiences");
    let sizes: Vec<_> =
        audiences["data"].as_array().unwrap().iter().map(|a| (&a["key"], &a["size"])).collect();
    assert_eq!(sizes, [(&json!("best"), &json!(1)), (&json!("quiet"), &json!(0))]);
    assert_eq!(server.profile("user_id:u", "traits").unwrap()["traits"]["best"], true);
    assert_eq!(server.post("/api/plan", &renamed)["changes"], json!([]), "carried out, it is no difference");
}
