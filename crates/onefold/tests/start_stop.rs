//! What a server needs to start again, whom it lets in outside loopback, and that it stops when it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Server, request_with, until};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SOURCES: &str = "version: 1\nworkspace: acme\nsources: [{ key: web, kind: server, write_key: wk }]\n";

/// What `onefold serve` on a folder says when it does not start.
fn refused(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_onefold"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn metrics(server: &Server) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let host = &server.address;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
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
    // As long as it is, it is told of.
    let destination = || server.get("/api/destinations")["data"][0].clone();
    until("nobody is told that it waits", || destination()["queued"] == 1 && destination()["in_flight"] == 1);
    let hook = destination();
    assert!(hook["oldest"].is_string() && hook["enabled"] == true && hook["unreadable"] == 0, "{hook}");
    let gauges = metrics(&server);
    for line in [
        "onefold_delivery_queued{destination=\"hook\"} 1",
        "onefold_delivery_in_flight{destination=\"hook\"} 1",
        "onefold_delivery_trouble{destination=\"hook\"} 0",
        "onefold_delivery_breaker{destination=\"hook\",state=\"closed\"} 1",
        "onefold_delivery_breaker{destination=\"hook\",state=\"open\"} 0",
        "onefold_delivery_stopped 0",
    ] {
        assert!(gauges.lines().any(|found| found == line), "{line} is not in:\n{gauges}");
    }
    let age = gauges
        .lines()
        .find_map(|line| line.strip_prefix("onefold_delivery_oldest_seconds{destination=\"hook\"} "));
    assert!(age.unwrap().parse::<f64>().unwrap() > 0.0);
    terminate(&server.child);
    until("it does not stop", || server.child.try_wait().unwrap().is_some());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut stream = String::new();
    live.read_to_string(&mut stream).unwrap();
    assert!(stream.ends_with("0\r\n\r\n"), "the live stream was ended, not cut off: {stream}");
}

/// Told to stop.
fn terminate(child: &Child) {
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
}

/// A folder with a log of many messages and no state: a start has to fold them all before its workspace file is applied.
fn with_a_backlog(folder: &Path) {
    let server = Server::start(folder, SOURCES);
    for batch in 0..20 {
        let item = |n: usize| json!({ "type": "track", "event": "X", "userId": format!("u{batch}-{n}") });
        let items: Vec<_> = (0..1_000).map(item).collect();
        server.post("/v1/batch", &json!({ "writeKey": "wk", "batch": items }));
    }
    let data = server.kill();
    std::fs::remove_dir_all(data.join("state")).unwrap();
}

/// `onefold serve` with the folder's workspace file.
fn serve(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_onefold"))
        .args(["serve", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"])
        .arg(folder.join("data"))
        .arg("--workspace")
        .arg(folder.join("workspace.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether a process has a handler of its own for SIGTERM.
fn handles_sigterm(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
}

#[test]
fn a_server_that_is_told_to_stop_before_it_is_ready_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    with_a_backlog(folder.path());
    let mut child = serve(folder.path());
    until("it does not listen for signals", || handles_sigterm(&child));
    terminate(&child);
    until("it does not stop", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout.is_empty(), "it was ready: {}", String::from_utf8_lossy(&output.stdout));
    // Nothing that was accepted is lost, whatever was folded by then.
    let server = Server::start(folder.path(), SOURCES);
    server.drained();
    assert_eq!(server.get("/api/status")["folded"], 20_000);
}

/// The server is there by then, and may have begun to deliver.
#[test]
fn a_server_whose_workspace_file_is_refused_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    with_a_backlog(folder.path());
    let bad = format!("{SOURCES}audiences: [{{ key: a, where: 'did(' }}]\n");
    std::fs::write(folder.path().join("workspace.yaml"), bad).unwrap();
    let output = serve(folder.path()).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("audiences.a") && output.stdout.is_empty(), "{said}");
    // A stop syncs what was folded: nothing is left for `verify` to miss.
    let data = folder.path().join("data");
    let (code, said, error) = common::onefold(&["verify", "--data", data.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}{error}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = receiver.local_addr().unwrap();
    let workspace = format!(
        "{SOURCES}destinations: [{{ key: hook, kind: webhook, events: [any], config: {{ url: 'http://{hook}', \
         secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=, allow_private: true }} }}]\n"
    );
    let silent = "export ONEFOLD_LOG=debug; exec 2>/dev/full";
    let mut server = Server::start_after(silent, folder.path(), &workspace);
    server.post("/v1/track", &json!({ "writeKey": "wk", "userId": "ada", "event": "X" }));
    for status in ["500 Internal Server Error", "204 No Content"] {
        let (mut asked, _) = receiver.accept().unwrap();
        assert!(asked.read(&mut [0; 8 << 10]).unwrap() > 0);
        write!(asked, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
    until("it is not noted", || server.get("/api/destinations")["data"][0]["delivered"] == 1);
    assert_eq!(server.request("GET", "/readyz", "").0, 200);
    terminate(&server.child);
    until("it does not stop", || server.child.try_wait().unwrap().is_some());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
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
