//! The tracking API in the binary: limits that can work, and what becomes of what is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Server, request_with, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const SOURCES: &str =
    "version: 1\nworkspace: acme\nsources: [{ key: web, kind: server, write_key: wk_web }]\n";

#[test]
fn a_limit_that_takes_nothing_is_refused_at_the_start_with_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    for (setting, expected) in [
        (["--limit-in-flight-bytes", "1000"], "--limit-in-flight-bytes is 1000; expected at least "),
        (["--limit-body-seconds", "0"], "--limit-body-seconds is 0; expected at least 1"),
        (["--limit-body-seconds", "4000"], "--limit-body-seconds is 4000; expected at most 3600"),
        (["--limit-single-bytes", "0"], "--limit-single-bytes is 0; expected at least 1024"),
        (["--limit-batch-bytes", "10"], "--limit-batch-bytes is 10; expected at least 1024"),
        (["--limit-batch-items", "0"], "--limit-batch-items is 0; expected at least 1"),
        (["--limit-depth", "0"], "--limit-depth is 0; expected at least 1"),
        (
            ["--limit-rejected-bytes", "9000000"],
            "--limit-rejected-bytes is 9000000; expected at most 8388608",
        ),
        (["--cache-mib", "17592186044416"], "is not in 0..=1099511627776"),
        (["--log-max-mib", "17592186044416"], "is not in 0..=1099511627776"),
        (["--log-max-days", "213503982334602"], "is not in 0..=1000000"),
    ] {
        let data = folder.path().join("data");
        let output = Command::new(env!("CARGO_BIN_EXE_onefold"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .args(setting)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{setting:?}: {said}");
        assert!(!data.exists(), "{setting:?}: nothing was made");
    }
}

#[test]
fn what_was_kept_whole_is_sent_again_and_of_what_was_cut_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.yaml"), SOURCES).unwrap();
    let start = |item_bytes: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--cache-mib",
            "64",
            "--limit-item-bytes",
            item_bytes,
        ]);
        command.args(["--limit-rejected-bytes", "60000", "--data"]).arg(folder.path().join("data"));
        command.arg("--workspace").arg(folder.path().join("w.yaml"));
        Server::ready(&mut command, folder.path())
    };
    let server = start("32768");
    let item = |user: &str, bytes: usize| json!({ "type": "page", "userId": user, "properties": { "x": "é".repeat(bytes / 2) } });
    let batch = json!({ "writeKey": "wk_web", "batch": [item("whole", 50_000), item("cut", 70_000)] });
    assert_eq!(server.request("POST", "/v1/batch", &batch.to_string()).0, 400);
    let quarantine =
        |server: &Server| server.get("/api/quarantine?bodies=true")["data"].as_array().unwrap().clone();
    until("nothing is in the quarantine", || quarantine(&server).len() == 2);
    let found = quarantine(&server);
    assert_eq!((&found[0]["truncated"], &found[1]["truncated"]), (&json!(false), &json!(true)));
    let whole: Value = serde_json::from_str(found[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(whole, item("whole", 50_000));
    let send = |server: &Server, index: usize, body: Value| {
        let path = format!("/api/quarantine/{}/send", found[index]["number"]);
        server.request("POST", &path, &json!({ "body": body }).to_string())
    };
    let (status, answer) = send(&server, 0, Value::Null);
    assert_eq!((status, &answer["code"]), (422, &json!("refused_again")));
    assert!(answer["detail"].as_str().unwrap().contains("too_large"), "{answer}");
    let (status, answer) = send(&server, 1, Value::Null);
    assert_eq!((status, &answer["code"]), (410, &json!("body_truncated")));
    drop(server);
    let server = start("100000");
    assert_eq!(send(&server, 0, Value::Null).0, 200);
    assert_eq!(send(&server, 1, item("cut", 70_000)).0, 200);
    server.drained();
    assert_eq!(server.events("user_id:whole").len() + server.events("user_id:cut").len(), 2);
    assert!(quarantine(&server).is_empty());
}

#[test]
fn a_page_may_ask_whether_it_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), SOURCES);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let head = "OPTIONS /v1/personalize?anonymous_id=a&write_key=wk_web HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                origin: https://shop.example\r\naccess-control-request-headers: x-mine\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    for line in ["access-control-allow-origin: *", "access-control-allow-headers: x-mine"] {
        assert!(answer.contains(line), "{answer}");
    }
    // The profile API's own paths are not those of the tracking API.
    let (status, answer) = request_with(&server.address, "GET", "/v1/spaces/acme/nothing", &[], "").unwrap();
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
}

#[test]
fn a_body_without_a_key_that_does_not_come_is_given_up_in_its_time() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.yaml"), SOURCES).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--cache-mib",
        "64",
        "--limit-body-seconds",
        "1",
        "--data",
    ]);
    command.arg(folder.path().join("data")).arg("--workspace").arg(folder.path().join("w.yaml"));
    let server = Server::ready(&mut command, folder.path());
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.set_read_timeout(Some(common::PATIENCE)).unwrap();
    slow.write_all(b"POST /v1/m HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
