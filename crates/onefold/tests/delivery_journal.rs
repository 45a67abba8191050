//! The delivery journal is derived from nothing: a start without it is refused, `verify` sees that it is gone or damaged, and
//! no message says that it could be made anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, onefold, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A webhook that takes what it is sent; its address, and how many requests came.
fn webhook() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 8 << 10]));
            counted.fetch_add(1, Ordering::SeqCst);
            // The server may be gone by now.
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"));
        }
    });
    (format!("http://{address}/"), count)
}

fn workspace(hook: &str) -> String {
    format!(
        "version: 1\nworkspace: acme\nsources:\n  - {{ key: server, kind: server, write_key: wk_server }}\n\
         destinations:\n  - {{ key: hook, kind: webhook, events: [any], config: {{ url: '{hook}', allow_private: true, \
         secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk= }} }}\n"
    )
}

/// Exit code and stderr of `serve`, which is expected not to start.
fn refused(data: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_onefold"))
        .args(["serve", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"])
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error
}

/// What `verify` finds: its exit code, and its document.
fn verified(data: &Path) -> (i32, Value) {
    let (code, out, error) = onefold(&["verify", "--json", "--data", data.to_str().unwrap()]);
    (code, serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("{wrong}: {out}{error}")))
}

#[test]
fn a_start_without_the_journal_is_refused_until_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, requests) = webhook();
    let server = Server::start(folder.path(), &workspace(&hook));
    server.post("/v1/track", &json!({ "writeKey": "wk_server", "userId": "u1", "event": "Bought" }));
    until("nothing was delivered", || server.get("/api/destinations")["data"][0]["delivered"] == 1);
    let data = server.kill();
    let sound = verified(&data);
    assert_eq!((sound.0, &sound.1["found"], &sound.1["dead_letters"]), (0, &json!(0), &json!(0)));
    assert!(refused(&data, &["--new-journal"]).contains("leave the flag out"));

    // Gone, and there in name alone, as a volume that is not mounted.
    std::fs::rename(data.join("delivery"), folder.path().join("kept")).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::create_dir(data.join("delivery")).unwrap();
        }
        let error = refused(&data, &[]);
        let gone = format!("error: {} is gone or empty", data.join("delivery").display());
        assert!(error.contains(&gone), "{error}");
        assert!(error.contains("dead letters are gone") && error.contains("--new-journal"), "{error}");
        assert!(error.contains("backup") && !error.contains("it is rebuilt"), "{error}");
        let (code, found) = verified(&data);
        assert_eq!((code, &found["found"], &found["dead_letters"]), (2, &json!(1), &Value::Null), "{found}");
        assert_eq!(found["findings"][0]["invariant"], "OUT");
        assert!(found["findings"][0]["detail"].as_str().unwrap().contains("is gone or empty"), "{found}");
    }
    // Asked for, it begins anew; the state is made anew too, and what was delivered is sent once more, as was said.
    std::fs::remove_dir_all(data.join("state")).unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_onefold"));
    serve
        .args(["serve", "--new-journal", "--listen", "127.0.0.1:0", "--cache-mib", "64", "--data"])
        .arg(&data);
    let server = Server::ready(&mut serve, folder.path());
    until("it is not sent again", || requests.load(Ordering::SeqCst) == 2);
    until("it is not noted", || server.get("/api/destinations")["data"][0]["delivered"] == 1);
    let data = server.kill();
    assert_eq!(verified(&data).0, 0);
}

#[test]
fn a_damaged_journal_is_not_said_to_be_rebuilt_and_the_state_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = Server::start(folder.path(), &workspace("http://127.0.0.1:9/")).kill();
    let damage = |name: &str| {
        let marker = data.join(name).join("version");
        let whole = std::fs::read(&marker).unwrap();
        std::fs::write(&marker, "no version").unwrap();
        (marker, whole)
    };
    let (marker, whole) = damage("delivery");
    let error = refused(&data, &[]);
    assert!(error.contains(&format!("{} is damaged", data.join("delivery").display())), "{error}");
    assert!(error.contains("cannot be made anew") && error.contains("from a backup"), "{error}");
    assert!(!error.contains("it is rebuilt"), "{error}");
    let (code, found) = verified(&data);
    assert_eq!((code, &found["found"]), (2, &json!(1)), "{found}");
    assert!(found["findings"][0]["detail"].as_str().unwrap().contains("is damaged"), "{found}");
    let (_, out, _) = onefold(&["verify", "--data", data.to_str().unwrap()]);
    let last = out.lines().last().unwrap();
    assert!(
        last.starts_with("1 thing does not hold. The delivery journal") && !last.contains("`state` away"),
        "{out}"
    );
    std::fs::write(marker, whole).unwrap();

    damage("state");
    let error = refused(&data, &[]);
    assert!(error.contains(&format!("{} is damaged", data.join("state").display())), "{error}");
    assert!(error.contains("it is rebuilt from what the log has kept"), "{error}");
}
