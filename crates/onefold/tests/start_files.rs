//! `serve --workspace` with a backlog, and settings that would open the server; lists of destinations and letters, a page at
//! a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const HEAD: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

/// Events of as many people, in batches.
fn send(server: &Server, people: usize) {
    let people: Vec<usize> = (0..people).collect();
    for some in people.chunks(1_000) {
        let event = |n: &usize| json!({ "type": "track", "userId": format!("u{n}"), "event": "Bought" });
        let batch: Vec<Value> = some.iter().map(event).collect();
        server.post("/v1/batch", &json!({ "writeKey": "wk_server", "batch": batch }));
    }
}

/// A state that is made anew has the whole log as its backlog, catalogues included: what a file is compared with at start is
/// the last catalogue of the log, not the last one that is folded by then.
#[test]
fn a_file_that_is_in_the_log_already_is_not_appended_again_however_far_the_fold_is() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = format!("{HEAD}audiences:\n  - {{ key: buyers, where: 'did(\"Bought\")' }}\n");
    let server = Server::start(folder.path(), &workspace);
    send(&server, 20_000);
    server.drained();
    let tail = server.get("/api/status")["log_tail"].clone();
    let data = server.kill();
    std::fs::remove_dir_all(data.join("state")).unwrap();

    let server = Server::start(folder.path(), &workspace);
    server.drained();
    assert_eq!(server.get("/api/status")["log_tail"], tail);
    assert_eq!(server.get("/api/workspace")["version"], 1);
    let data = server.kill();
    std::fs::remove_dir_all(data.join("state")).unwrap();

    // A file that changes something follows what the log has, and keeps the ids.
    let server =
        Server::start(folder.path(), &workspace.replace("key: buyers,", "key: buyers, name: Buyers,"));
    server.drained();
    assert_eq!(server.get("/api/workspace")["version"], 2);
    assert_eq!(server.get("/api/audiences")["data"][0]["size"], 20_000);
}

#[test]
fn to_trust_a_proxy_on_loopback_takes_an_admin_token() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--trust-proxy", "--cache-mib", "64", "--data"])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null());
        command
    };
    let output = serve().output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("--trust-proxy") && error.contains("--admin-token"), "{error}");
    let server = Server::ready(serve().args(["--admin-token", "t0ken"]), folder.path());
    assert_eq!(server.request("GET", "/api/status", "").0, 401);
}

/// A webhook that refuses whatever it is sent, in words that a terminal would obey; its address.
fn refusing_webhook() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = "\u{9b}2Jno\u{202e}";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What it was sent does not matter; a caller that went away does not either.
            drop(stream.read(&mut [0; 8 << 10]));
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    format!("http://{address}/")
}

#[test]
fn destinations_and_letters_are_listed_to_the_last_one_and_shown_clean() {
    let folder = tempfile::tempdir().unwrap();
    let hook = refusing_webhook();
    let config = format!(
        "{{ url: '{hook}', secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=, allow_private: true }}"
    );
    let destination = |key: &str, events: &str| {
        format!("  - {{ key: {key}, kind: webhook, config: {config}, events: [{events}] }}\n")
    };
    let destinations =
        [destination("c", "'\"Bought\"'"), destination("a", "'\"Never\"'"), destination("b", "'\"Never\"'")];
    let server = Server::start(folder.path(), &format!("{HEAD}destinations:\n{}", destinations.concat()));

    let page = server.get("/api/destinations?limit=2");
    assert_eq!((&page["data"][0]["key"], &page["data"][1]["key"]), (&json!("a"), &json!("b")));
    assert_eq!((page["data"].as_array().unwrap().len(), &page["cursor"]), (2, &json!("b")));
    let last = server.get("/api/destinations?limit=2&cursor=b");
    assert_eq!((&last["data"][0]["key"], &last["cursor"]), (&json!("c"), &Value::Null));
    assert_eq!(last["data"].as_array().unwrap().len(), 1);

    send(&server, 1_100);
    until("not every effect is a letter", || {
        server.get("/api/destinations?cursor=b")["data"][0]["dead"] == 1_100
    });
    let (code, out, error) = server.onefold(&["deliveries", "list", "c"]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(out.matches("after 1 attempts: 400 \"\\u{9b}2Jno\\u{202e}\"").count(), 1_100);
    assert!(!out.contains(['\u{9b}', '\u{202e}']));
}
