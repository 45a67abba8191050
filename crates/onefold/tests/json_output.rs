//! `--json` is for programs: stdout of every command that talks to a server is JSON and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Exit code, stdout and stderr of a command that is asked for JSON.
fn run(server: &Server, args: &[&str]) -> (i32, String, String) {
    server.onefold(&[args, &["--json"]].concat())
}

/// The one document that a command prints.
fn document(server: &Server, args: &[&str], expected: i32) -> Value {
    let (code, out, error) = run(server, args);
    assert_eq!(code, expected, "{args:?}: {out}{error}");
    serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("{args:?}: {wrong}: {out}"))
}

/// The documents of a command that prints one a line.
fn documents(server: &Server, args: &[&str], expected: i32) -> Vec<Value> {
    let (code, out, error) = run(server, args);
    assert_eq!(code, expected, "{args:?}: {out}{error}");
    lines(&out)
}

/// What a command that fails says, on stderr alone.
fn failure(server: &Server, args: &[&str]) -> String {
    let (code, out, error) = run(server, args);
    assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {error}");
    error
}

fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|wrong| panic!("{wrong}: {line}"));
    text.lines().map(parse).collect()
}

/// A webhook that refuses whatever it is sent, so that there are dead letters; its address.
fn refusing_webhook() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What it was sent does not matter; a caller that went away does not either.
            drop(stream.read(&mut [0; 8 << 10]));
            drop(stream.write_all(REFUSAL));
        }
    });
    format!("http://{address}/")
}

fn workspace(hook: &str) -> String {
    format!(
        r#"
version: 1
workspace: acme
sources:
  - {{ key: server, kind: server, write_key: wk_server }}
destinations:
  - key: hook
    kind: webhook
    config: {{ url: "{hook}", secret: "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=", allow_private: true }}
    events: ['"Order Completed"']
audiences:
  - {{ key: buyers, where: 'did("Order Completed")' }}
"#
    )
}

fn configuration(server: &Server, folder: &Path, workspace: &str) {
    let file = folder.join("more.yaml");
    std::fs::write(&file, format!("{workspace}  - {{ key: lookers, where: 'did(\"Looked\")' }}\n")).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(document(server, &["check", file], 0)["audiences"], 2);
    assert_eq!(document(server, &["check", "did(\"Looked\")"], 0)["kind"], "condition");
    let change = json!([{ "action": "create", "kind": "audiences", "key": "lookers" }]);
    assert_eq!(document(server, &["plan", file], 2)["changes"], change);
    // Nobody is there to be asked; what would have changed is told beside the error.
    assert!(failure(server, &["apply", file]).contains("+ audiences lookers\n"));
    assert_eq!(document(server, &["apply", "--yes", file], 0)["changes"], change);
    assert_eq!(document(server, &["apply", file], 0)["changes"], json!([]));
    assert_eq!(document(server, &["plan", file], 0)["changes"], json!([]));
    assert_eq!(document(server, &["export"], 0)["workspace"], "acme");
}

fn events(server: &Server) {
    // The stream begins at some instant after the start: orders come until it has shown two.
    let mut tail =
        server.command(&["tail", "--all", "--count", "2", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    until("tail shows nothing", || {
        let sent = document(server, &["send", "track", "--user-id", "u1", "--event", "Order Completed"], 0);
        assert_eq!(sent["userId"], "u1");
        tail.try_wait().unwrap().is_some()
    });
    let mut shown = String::new();
    tail.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(lines(&shown).len(), 2, "{shown}");
    assert!(document(server, &["profile", "get", "user_id:u1"], 0)["traits"].is_object());
    assert!(document(server, &["profile", "timeline", "user_id:u1"], 0)["data"].is_array());
    assert_eq!(document(server, &["profile", "why", "user_id:u1", "user_id:u2"], 0)["together"], false);
    assert!(failure(server, &["profile", "get", "user_id:never"]).starts_with("error: "));
}

fn dead_letters(server: &Server) {
    let list = || document(server, &["deliveries", "list", "hook"], 0)["data"][0].clone();
    until("no dead letter", || !list()["dead_letters"].as_array().unwrap().is_empty());
    let number = list()["dead_letters"][0]["number"].clone();
    let tried = documents(server, &["deliveries", "retry", "hook", &number.to_string()], 1);
    assert_eq!((&tried[0]["number"], &tried[0]["delivered"]), (&number, &json!(false)));
    let all = documents(server, &["deliveries", "retry", "hook", "--all"], 1);
    let failed: u64 = all.iter().map(|page| page["failed"].as_u64().unwrap()).sum();
    assert!(failed > 0 && all.last().unwrap()["cursor"].is_null(), "{all:?}");
    assert_eq!(
        (&all[0]["failures"][0]["number"], &all[0]["failures"][0]["answer"]["status"]),
        (&number, &json!(400))
    );
}

/// One letter is given up, and with it nothing else.
fn discarded_letter(server: &Server) {
    let numbers = || -> Vec<u64> {
        let listed = document(server, &["deliveries", "list", "hook"], 0)["data"][0]["dead_letters"].take();
        listed.as_array().unwrap().iter().map(|letter| letter["number"].as_u64().unwrap()).collect()
    };
    document(server, &["send", "track", "--user-id", "u1", "--event", "Order Completed"], 0);
    document(server, &["send", "track", "--user-id", "u1", "--event", "Order Completed"], 0);
    let queued = || document(server, &["deliveries", "list", "hook"], 0)["data"][0]["queued"].clone();
    server.drained();
    until("not every order is a letter", || queued() == 0 && numbers().len() >= 2);
    let (first, before) = (numbers()[0], numbers());
    let done = documents(server, &["deliveries", "discard", "hook", &first.to_string()], 0);
    assert_eq!(done, [json!({ "number": first, "outcome": "discarded" })]);
    assert_eq!(numbers(), before[1..]);
    // It is not there any more, and nothing after it is done.
    let (first, second) = (first.to_string(), before[1].to_string());
    assert!(failure(server, &["deliveries", "discard", "hook", &first, &second]).contains(&first));
    assert_eq!(numbers(), before[1..]);
    failure(server, &["deliveries", "discard", "nobody", &second]);
}

/// What a removed destination had goes with it, and is counted.
fn removed_destination(server: &Server, folder: &Path, workspace: &str) {
    let letters = document(server, &["deliveries", "list", "hook"], 0)["data"][0]["dead_letters"].clone();
    assert!(!letters.as_array().unwrap().is_empty());
    let (before, rest) = workspace.split_once("destinations:").unwrap();
    let file = folder.join("without.yaml");
    std::fs::write(&file, format!("{before}audiences:{}", rest.split_once("audiences:").unwrap().1)).unwrap();
    document(server, &["apply", "--yes", "--prune", file.to_str().unwrap()], 0);
    assert_eq!(document(server, &["deliveries", "list"], 0)["data"], json!([]));
    let count = format!(
        "onefold_delivery_removed_rows_total{{table=\"dead_letters\"}} {}\n",
        letters.as_array().unwrap().len()
    );
    until("its dead letters are still there", || metrics(server).contains(&count));
}

fn metrics(server: &Server) -> String {
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn refused_items(server: &Server) {
    for _ in 0..2 {
        assert!(failure(server, &["send", "track", "--user-id", "u1"]).contains("needs `event`"));
    }
    let list = || document(server, &["quarantine", "list"], 0);
    until("nothing was refused", || list()["data"].as_array().unwrap().len() == 2);
    assert_eq!(list()["dropped"], 0);
    let numbers: Vec<String> =
        list()["data"].as_array().unwrap().iter().map(|item| item["number"].to_string()).collect();
    let mended = r#"{"type":"track","event":"Mended","userId":"u1"}"#;
    let sent = documents(server, &["quarantine", "send", &numbers[0], "--body", mended], 0);
    assert_eq!(sent, [json!({ "number": 0, "outcome": "sent" })]);
    let discarded = documents(server, &["quarantine", "discard", &numbers[1]], 0);
    assert_eq!(discarded, [json!({ "number": 1, "outcome": "discarded" })]);
    assert_eq!(list(), json!({ "data": [], "dropped": 0 }));
}

fn decisions(server: &Server) {
    let before = document(server, &["decisions", "list"], 0)["data"].as_array().unwrap().len();
    let taken = document(server, &["decisions", "block", "email:shared@x.com"], 0);
    let list = document(server, &["decisions", "list"], 0)["data"].clone();
    assert_eq!((list.as_array().unwrap().len(), &list[before]["number"]), (before + 1, &taken["number"]));
    let kind = json!({ "kind": "block", "id": { "type": "email", "id": "shared@x.com" } });
    assert_eq!(list[before]["decision"], kind);
    assert!(failure(server, &["decisions", "undo", "99"]).contains("there is no decision 99"));
    // Nobody is there to be asked.
    assert!(failure(server, &["decisions", "delete-profile", "user_id:u1"]).contains("--yes"));
}

#[test]
fn what_every_command_prints_for_programs_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(&refusing_webhook());
    let mut server = Server::start(folder.path(), &workspace);
    configuration(&server, folder.path(), &workspace);
    events(&server);
    dead_letters(&server);
    discarded_letter(&server);
    refused_items(&server);
    decisions(&server);
    removed_destination(&server, folder.path(), &workspace);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let data = folder.path().join("data");
    assert_eq!(document(&server, &["verify", "--data", data.to_str().unwrap()], 0)["found"], 0);
    assert!(failure(&server, &["deliveries", "list"]).contains("is the server running?"));
}
