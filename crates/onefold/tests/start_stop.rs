//! What a server needs to start again, whom it lets in outside loopback, and that it stops when it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Server, request_with, until};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

const SOURCES: &str = "version: 1\nworkspace: acme\nsources: [{ key: web, kind: server, write_key: wk }]\n";

/// What `onefold serve` on a folder says when it does not start.
fn refused(folder: &std::path::Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_onefold"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_receiver_that_never_answers_and_a_reader_that_never_ends_do_not_hold_a_stop_up() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = receiver.local_addr().unwrap();
    // Longer than a test is patient.
    let workspace = format!(
        "{SOURCES}destinations: [{{ key: hook, kind: webhook, events: [any], config: {{ url: 'http://{hook}', \
         secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=, allow_private: true, timeout_ms: 120000 }} }}]\n"
    );
    let mut server = Server::start(folder.path(), &workspace);
    let mut live = TcpStream::connect(&server.address).unwrap();
    live.set_read_timeout(Some(common::PATIENCE)).unwrap();
    write!(live, "GET /api/live HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).unwrap();
    server.post("/v1/track", &json!({ "writeKey": "wk", "userId": "ada", "event": "X" }));
    let (mut asked, _) = receiver.accept().unwrap();
    assert!(asked.read(&mut [0; 1]).unwrap() > 0, "the webhook is under way");
    let told = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    assert!(told.success());
    until("it does not stop", || server.child.try_wait().unwrap().is_some());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut stream = String::new();
    live.read_to_string(&mut stream).unwrap();
    assert!(stream.ends_with("0\r\n\r\n"), "the live stream was ended, not cut off: {stream}");
}

#[test]
fn outside_loopback_a_token_is_made_shown_once_and_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("workspace.yaml"), SOURCES).unwrap();
    let start = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onefold"))
            .args(["serve", "--listen", "0.0.0.0:0", "--cache-mib", "64", "--data"])
            .arg(folder.path().join("data"))
            .arg("--workspace")
            .arg(folder.path().join("workspace.yaml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut said, mut byte) = (String::new(), [0]);
        while !said.contains("ready on http://") || !said.ends_with('\n') {
            assert!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap() > 0, "not ready: {said}");
            said.push(char::from(byte[0]));
        }
        let port = said.split("0.0.0.0:").nth(1).unwrap().split_whitespace().next().unwrap();
        let server = Server { child, address: format!("127.0.0.1:{port}"), folder: folder.path().to_owned() };
        (server, said)
    };
    let (server, said) = start();
    let token = said.split("admin token (shown once): ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let status = |server: &Server, headers: &[(&str, &str)]| {
        request_with(&server.address, "GET", "/api/status", headers, "").unwrap().0
    };
    let bearer = format!("Bearer {token}");
    assert_eq!(status(&server, &[]), 401);
    assert_eq!(status(&server, &[("authorization", "Bearer wk")]), 401, "a write key only writes");
    assert_eq!(status(&server, &[("authorization", &bearer)]), 200);
    let track = json!({ "writeKey": "wk", "userId": "ada", "event": "X" });
    server.post("/v1/track", &track);
    drop(server);
    let (server, said) = start();
    assert!(!said.contains("admin token"), "it is shown once: {said}");
    assert_eq!(status(&server, &[("authorization", &bearer)]), 200);
}

#[test]
fn a_folder_whose_secret_is_gone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = Server::start(folder.path(), SOURCES).kill();
    std::fs::remove_file(data.join("secret")).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("secret") && said.contains("is gone") && said.contains("backup"), "{said}");
    std::fs::write(data.join("secret"), "").unwrap();
    assert!(refused(folder.path()).contains("does not hold 32 bytes"));
}
