//! A log that takes nothing more stops the server, which says why; started again it has what was acknowledged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, request, until};
use serde_json::json;
use std::io::Read;
use std::process::{Command, Stdio};

const WORKSPACE: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

/// Batches of 400 KB until one is not taken: how many were. A segment of the log has room for some 160.
fn fill(address: &str) -> usize {
    let page = |n: usize| json!({ "type": "page", "userId": format!("u{n}"), "properties": { "x": "y".repeat(20_000) } });
    let batch =
        json!({ "writeKey": "wk_server", "batch": (0..20).map(page).collect::<Vec<_>>() }).to_string();
    (0..1_000)
        .take_while(|_| request(address, "POST", "/v1/batch", &batch).is_ok_and(|(status, _)| status == 200))
        .count()
}

#[test]
fn a_log_that_fails_stops_the_server_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.yaml"), WORKSPACE).unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"]);
        command.arg(folder.path().join("data")).arg("--workspace").arg(folder.path().join("w.yaml"));
        Server::ready(command.stderr(Stdio::piped()), folder.path())
    };
    let mut server = start();
    // The next segment finds its folder gone.
    let (log, aside) = (folder.path().join("data/log"), folder.path().join("aside"));
    std::fs::rename(&log, &aside).unwrap();
    let taken = fill(&server.address);
    assert!((1..1_000).contains(&taken), "{taken}");
    let mut exit = None;
    until("the server goes on without its log", || {
        exit = server.child.try_wait().unwrap();
        exit.is_some()
    });
    assert_eq!(exit.unwrap().code(), Some(1));
    let mut said = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("the log stopped") && said.contains("No such file"), "{said}");
    std::fs::rename(&aside, &log).unwrap();
    let server = start();
    server.drained();
    // What got no answer may have been taken too: here it was not.
    assert_eq!(server.events("user_id:u0").len(), taken.min(200));
    assert_eq!(page(&server.address), 200);
}

fn page(address: &str) -> u16 {
    let page = json!({ "writeKey": "wk_server", "userId": "u" });
    request(address, "POST", "/v1/page", &page.to_string()).unwrap().0
}
