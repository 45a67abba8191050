//! `onefold quarantine list`: pages as the server ends them, and bodies only where they are shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::onefold;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// A server with three items, one a page whatever the limit is, as if each filled its page; its address, and what it was
/// asked for.
fn server() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, paths) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 8 << 10];
            let length = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = head.split_whitespace().nth(1).unwrap().to_owned();
            let from: u64 = path.split_once("cursor=").unwrap().1.split('&').next().unwrap().parse().unwrap();
            let mut item = json!({ "number": from, "received_at": "2026-01-02T03:04:05.000Z", "source": "server",
                "code": "no_event", "detail": "needs `event`" });
            if path.contains("bodies=true") {
                item["body"] = "{\"n\":1}".into();
            }
            let cursor = if from < 2 { json!(from + 1) } else { Value::Null };
            let answer = json!({ "data": [item], "cursor": cursor, "dropped": 4 }).to_string();
            asked.send(path).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    (format!("http://{address}"), paths)
}

#[test]
fn bodies_are_asked_for_only_where_they_are_shown() {
    let (address, paths) = server();
    let list = |more: &[&str]| {
        let (code, out, error) = onefold(&[&["quarantine", "list", "--server", &address], more].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{out}");
        (out, paths.try_iter().collect::<Vec<_>>())
    };
    let without = [0, 1, 2].map(|from| format!("/api/quarantine?cursor={from}&limit=500"));
    let with = without.clone().map(|path| path + "&bodies=true");

    let (out, asked) = list(&[]);
    assert_eq!(asked, without);
    assert!(out.ends_with("3 items; 4 dropped by the cap so far\n") && !out.contains("{\"n\":1}"), "{out}");
    let (out, asked) = list(&["--bodies"]);
    assert_eq!(asked, with);
    assert_eq!(out.matches("\n    {\"n\":1}\n").count(), 3, "{out}");

    let document = |out: &str| serde_json::from_str::<Value>(out).unwrap()["data"].clone();
    let (out, asked) = list(&["--json"]);
    assert_eq!((asked, document(&out)[2]["body"].clone()), (without.to_vec(), Value::Null));
    let (out, asked) = list(&["--json", "--bodies"]);
    assert_eq!((asked, document(&out)[2]["body"].clone()), (with.to_vec(), json!("{\"n\":1}")));
}
