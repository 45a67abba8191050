//! The demo: it shows its shop wherever it listens, and leaves nothing behind however it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::until;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
    command.arg("demo").args(args).env("TMPDIR", temporary).env("ONEFOLD_LOG", "error").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn outside_loopback_it_has_its_own_token() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--listen", "0.0.0.0:0", "--seconds", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("--token "), "who tries it is told the token: {}", text(&output));
    assert!(text(&output).contains("\"webhooks_badly_signed\": 0"), "{}", text(&output));
    assert!(is_empty(folder.path()), "its folder is there still");
}

#[test]
fn a_port_that_is_taken_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = demo(folder.path(), &["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&format!("cannot listen on {address}")), "{}", text(&output));
    assert!(is_empty(folder.path()), "its folder is there still");
}

#[test]
fn what_stops_a_service_stops_it_as_ctrl_c_does() {
    for signal in ["-TERM", "-INT"] {
        let (folder, said) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let mut demo = demo(folder.path(), &["--listen", "127.0.0.1:0"]);
        let mut child = Killed(demo.stdout(said.reopen().unwrap()).spawn().unwrap());
        let told = || std::fs::read_to_string(said.path()).unwrap();
        until("it is not ready", || told().contains("onefold is ready"));
        assert!(!is_empty(folder.path()));
        let sent = Command::new("kill").args([signal, &child.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
        until("it does not stop", || child.0.try_wait().unwrap().is_some());
        assert_eq!(child.0.wait().unwrap().code(), Some(0), "{signal}");
        assert!(told().contains("\"webhooks\""), "the summary is told: {}", told());
        assert!(is_empty(folder.path()), "its folder is there still after {signal}");
    }
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // A child that is gone already needs no killing.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
