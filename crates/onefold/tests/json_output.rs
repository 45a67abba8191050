//! `--json` is for programs: stdout of every command that talks to a server is JSON and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(folder: &Path, workspace: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onefold"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .arg("--workspace")
            .arg(workspace)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = address.unwrap_or_else(|| panic!("not ready: {line}")).to_owned();
        Self { child, url }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command.args(args).arg("--json").env("ONEFOLD_SERVER", &self.url);
        command
    }

    /// Exit code, stdout and stderr.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The one document that a command prints.
    fn document(&self, args: &[&str], expected: i32) -> Value {
        let (code, out, error) = self.run(args);
        assert_eq!(code, expected, "{args:?}: {out}{error}");
        serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("{args:?}: {wrong}: {out}"))
    }

    /// The documents of a command that prints one a line.
    fn documents(&self, args: &[&str]) -> Vec<Value> {
        let (code, out, error) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {out}{error}");
        lines(&out)
    }

    /// What a command that fails says, on stderr alone.
    fn failure(&self, args: &[&str]) -> String {
        let (code, out, error) = self.run(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {error}");
        error
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that is gone already needs no killing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|wrong| panic!("{wrong}: {line}"));
    text.lines().map(parse).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
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
    assert_eq!(server.document(&["check", file], 0)["audiences"], 2);
    assert_eq!(server.document(&["check", "did(\"Looked\")"], 0)["kind"], "condition");
    let change = json!([{ "action": "create", "kind": "audiences", "key": "lookers" }]);
    assert_eq!(server.document(&["plan", file], 2)["changes"], change);
    // Nobody is there to be asked; what would have changed is told beside the error.
    assert!(server.failure(&["apply", file]).contains("+ audiences lookers\n"));
    assert_eq!(server.document(&["apply", "--yes", file], 0)["changes"], change);
    assert_eq!(server.document(&["apply", file], 0)["changes"], json!([]));
    assert_eq!(server.document(&["plan", file], 0)["changes"], json!([]));
    assert_eq!(server.document(&["export"], 0)["workspace"], "acme");
}

fn events(server: &Server) {
    // The stream begins at some instant after the start: orders come until it has shown two.
    let mut tail = server.command(&["tail", "--all", "--count", "2"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("tail shows nothing", || {
        let sent = server.document(&["send", "track", "--user-id", "u1", "--event", "Order Completed"], 0);
        assert_eq!(sent["userId"], "u1");
        tail.try_wait().unwrap().is_some()
    });
    let mut shown = String::new();
    tail.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(lines(&shown).len(), 2, "{shown}");
    assert!(server.document(&["profile", "get", "user_id:u1"], 0)["traits"].is_object());
    assert!(server.document(&["profile", "timeline", "user_id:u1"], 0)["data"].is_array());
    assert_eq!(server.document(&["profile", "why", "user_id:u1", "user_id:u2"], 0)["together"], false);
    assert!(server.failure(&["profile", "get", "user_id:never"]).starts_with("error: "));
}

fn dead_letters(server: &Server) {
    let list = || server.document(&["deliveries", "list", "hook"], 0)["data"][0].clone();
    wait_until("no dead letter", || !list()["dead_letters"].as_array().unwrap().is_empty());
    let number = list()["dead_letters"][0]["number"].clone();
    let tried = server.documents(&["deliveries", "retry", "hook", &number.to_string()]);
    assert_eq!((&tried[0]["number"], &tried[0]["delivered"]), (&number, &json!(false)));
    assert!(!server.documents(&["deliveries", "retry", "hook"]).is_empty());
}

fn refused_items(server: &Server) {
    for _ in 0..2 {
        assert!(server.failure(&["send", "track", "--user-id", "u1"]).contains("needs `event`"));
    }
    let list = || server.documents(&["quarantine", "list"]);
    wait_until("nothing was refused", || list().len() == 2);
    let numbers: Vec<String> = list().iter().map(|item| item["number"].to_string()).collect();
    let mended = r#"{"type":"track","event":"Mended","userId":"u1"}"#;
    let sent = server.documents(&["quarantine", "send", &numbers[0], "--body", mended]);
    assert_eq!(sent, [json!({ "number": 0, "outcome": "sent" })]);
    let discarded = server.documents(&["quarantine", "discard", &numbers[1]]);
    assert_eq!(discarded, [json!({ "number": 1, "outcome": "discarded" })]);
    assert!(list().is_empty());
}

#[test]
fn what_every_command_prints_for_programs_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(&refusing_webhook());
    let file = folder.path().join("workspace.yaml");
    std::fs::write(&file, &workspace).unwrap();
    let mut server = Server::start(folder.path(), &file);
    configuration(&server, folder.path(), &workspace);
    events(&server);
    dead_letters(&server);
    refused_items(&server);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let data = folder.path().join("data");
    assert_eq!(server.document(&["verify", "--data", data.to_str().unwrap()], 0)["found"], 0);
    assert!(server.failure(&["deliveries", "list"]).contains("is the server running?"));
}
