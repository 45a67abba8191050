//! What tests of the binary share: a server of their own, calls of its API, and commands that talk to it.

#![allow(dead_code, reason = "each test binary uses its part of this")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `onefold serve` on a free port of loopback, killed when it is dropped.
pub struct Server {
    pub child: Child,
    /// `host:port`.
    pub address: String,
    /// Holds `workspace.yaml` and, as `data`, the data folder.
    pub folder: PathBuf,
}

impl Server {
    /// A server on `folder` with a workspace, given as YAML.
    pub fn start(folder: &Path, workspace: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        Self::start_by(command.arg("serve"), folder, workspace)
    }

    /// A server on `folder`, after `prelude` in the shell that becomes it.
    pub fn start_after(prelude: &str, folder: &Path, workspace: &str) -> Self {
        let mut command = Command::new("sh");
        let script = format!("{prelude}\nexec \"$0\" serve \"$@\"");
        Self::start_by(command.args(["-c", &script, env!("CARGO_BIN_EXE_onefold")]), folder, workspace)
    }

    fn start_by(command: &mut Command, folder: &Path, workspace: &str) -> Self {
        let file = folder.join("workspace.yaml");
        std::fs::write(&file, workspace).unwrap();
        command.args(["--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"]).arg(folder.join("data"));
        Self::ready(command.arg("--workspace").arg(file), folder)
    }

    /// Starts a command that serves, and waits until it says where.
    pub fn ready(command: &mut Command, folder: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (mut said, mut lines) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        let address = loop {
            if lines.read_line(&mut said).unwrap() == 0 {
                panic!("not ready; it said: {said}; its exit: {:?}", child.wait());
            }
            if let Some((_, rest)) = said.split_once("http://") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        Self { child, address, folder: folder.to_owned() }
    }

    /// Kills it as `kill -9` does; its data folder.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder.join("data")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Status and JSON; the server must answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        request(&self.address, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// What is there; it must be.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "");
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// What a call that must succeed answers.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.request("POST", path, &body.to_string());
        assert_eq!(status, 200, "POST {path}: {answer}");
        answer
    }

    /// A part of a profile of the workspace `acme`, or `None` if nobody has the identifier.
    pub fn profile(&self, id: &str, part: &str) -> Option<Value> {
        let path = format!("/v1/spaces/acme/collections/users/profiles/{id}/{part}");
        let (status, body) = self.request("GET", &path, "");
        assert!(matches!(status, 200 | 404), "GET {path}: {status}: {body}");
        (status == 200).then_some(body)
    }

    /// Type and name of what someone did, sorted.
    pub fn events(&self, id: &str) -> Vec<String> {
        let events = self.profile(id, "events?limit=200").unwrap_or_default();
        let events = events["data"].as_array().into_iter().flatten();
        let name = |event: &Value| {
            format!("{} {}", event["type"].as_str().unwrap(), event["event"].as_str().unwrap())
        };
        let mut names: Vec<String> = events.map(name).collect();
        names.sort();
        names
    }

    /// Waits until everything accepted is folded.
    pub fn drained(&self) {
        until("the fold stands still", || {
            let status = self.get("/api/status");
            status["folded_position"] == status["log_tail"]
        });
    }

    /// The command line, aimed at this server.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command.args(args).env("ONEFOLD_SERVER", self.url());
        command
    }

    /// Exit code, stdout and stderr of a command that talks to this server and has no terminal.
    pub fn onefold(&self, args: &[&str]) -> (i32, String, String) {
        outcome(&mut self.command(args))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that is gone already needs no killing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Exit code, stdout and stderr of a command of the binary, of no server in particular.
pub fn onefold(args: &[&str]) -> (i32, String, String) {
    outcome(Command::new(env!("CARGO_BIN_EXE_onefold")).args(args))
}

fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Waits until `done`; `or` says what is wrong if it never is.
pub fn until(or: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{or}");
        std::thread::yield_now();
    }
}

/// One request on a connection of its own: status and JSON, `null` for a body that is none.
pub fn request(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
    request_with(address, method, path, &[], body)
}

/// The same with headers of one's own.
pub fn request_with(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // In one piece: two would wait for each other (Nagle).
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let broken = || std::io::Error::other(format!("no HTTP: {}", String::from_utf8_lossy(&answer)));
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), &answer[end + 4..]);
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let chunked = head.contains("\r\ntransfer-encoding: chunked");
    let body = if chunked { unchunked(body).ok_or_else(broken)? } else { body.to_vec() };
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// A chunked body as one piece; `None` if it is cut short.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size)?);
        body = body.get(end + 4 + size..)?;
    }
}
