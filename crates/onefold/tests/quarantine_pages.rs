//! The quarantine over HTTP: bodies when they are asked for, and pages that end by bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::Server;
use serde_json::{Value, json};

const WORKSPACE: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

/// Bytes of the bodies of one page.
const PAGE_BYTES: usize = 4 << 20;

/// Sends one batch of items that have no event, and so are refused; their JSON.
fn refuse(server: &Server, items: &[Value]) {
    let batch = json!({ "writeKey": "wk_server", "batch": items });
    let (status, answer) = server.request("POST", "/v1/batch", &batch.to_string());
    assert_eq!(
        (status, answer["rejected"].as_array().map(Vec::len)),
        (400, Some(items.len())),
        "{answer:.300}"
    );
}

/// All pages.
fn pages(server: &Server, query: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), json!(0));
    while !cursor.is_null() {
        let mut page = server.get(&format!("/api/quarantine?{query}&cursor={cursor}"));
        cursor = page["cursor"].take();
        pages.push(page["data"].as_array().unwrap().clone());
        assert!(pages.len() < 100, "the pages do not end");
    }
    pages
}

#[test]
fn a_page_of_large_items_ends_by_bytes_and_none_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let item = |number: usize, bytes: usize| json!({ "type": "track", "userId": format!("u{number}"), "x": "x".repeat(bytes) });
    let large: Vec<Value> = (0..25).map(|number| item(number, 400 << 10)).collect();
    let small: Vec<Value> = (25..1_500).map(|number| item(number, 10)).collect();
    large.iter().for_each(|item| refuse(&server, std::slice::from_ref(item)));
    refuse(&server, &small);
    server.drained();
    let sent: Vec<&Value> = large.iter().chain(&small).collect();

    let with = pages(&server, "limit=1000&bodies=true");
    let body = |item: &Value| item["body"].as_str().unwrap_or_else(|| panic!("{item:.300}")).to_owned();
    for page in &with {
        let bytes: usize = page.iter().map(|item| body(item).len()).sum();
        assert!((1..=PAGE_BYTES).contains(&bytes), "{bytes} bytes of {} items", page.len());
    }
    let told: Vec<Value> =
        with.iter().flatten().map(|item| serde_json::from_str(&body(item)).unwrap()).collect();
    assert!(told.iter().eq(sent.iter().copied()), "each once, in order, each with its own body");
    assert!(with.iter().flatten().all(|item| item["truncated"] == false));
    assert_eq!(with[0].len(), PAGE_BYTES / large[0].to_string().len(), "as many as there is room for");

    let without = pages(&server, "limit=1000");
    assert_eq!(without.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 500]);
    let bare = |item: &Value| {
        let mut item = item.as_object().unwrap().clone();
        let had = (item.shift_remove("body").is_some(), item.shift_remove("truncated").is_some());
        (Value::Object(item), had)
    };
    for (with, without) in with.iter().flatten().zip(without.iter().flatten()) {
        assert_eq!((bare(with).0, (false, false)), bare(without));
    }
    assert_eq!(server.get("/api/quarantine?limit=3&bodies=true")["data"].as_array().unwrap().len(), 3);
    let (status, problem) = server.request("GET", "/api/quarantine?bodies=some", "");
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{problem}");
}
