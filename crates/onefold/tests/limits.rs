//! The binary at the limits of its machine: more connections than anybody needs, a disk without room.
//!
//! The full disk is a small tmpfs: mounted as root, or else in a user namespace of the test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, until};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WORKSPACE: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

/// A server after `prelude` in its shell.
fn start(folder: &Path, prelude: &str) -> Server {
    Server::start_after(prelude, folder, WORKSPACE)
}

fn track(server: &Server, id: &str) -> u16 {
    let body = json!({ "writeKey": "wk_server", "userId": "u", "event": "E", "messageId": id });
    server.request("POST", "/v1/track", &body.to_string()).0
}

/// Memory of its own, in KiB.
fn anonymous_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap();
    // A file that was closed since it was listed is no socket.
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn ten_thousand_idle_connections_harm_nobody() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    // The test's and the server's other files are within the 1,000.
    let most = limit.current.map_or(10_000, |files| files.saturating_sub(1_000).min(10_000));
    let most = usize::try_from(most).unwrap();
    if most < 10_000 {
        eprintln!("only {most} connections: the hard limit of open files is {:?}", limit.maximum);
    }
    let folder = tempfile::tempdir().unwrap();
    // The soft limit that most systems give: the server has to raise it.
    let server = start(folder.path(), "ulimit -Sn 1024");
    assert_eq!(track(&server, "before"), 200);
    let before = anonymous_kib(&server);
    let mut idle = Vec::new();
    for number in 0..most {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /v1/tr").unwrap();
        }
        idle.push(stream);
    }
    until("the server does not take them all", || sockets(&server) >= most);
    assert_eq!(track(&server, "during"), 200);
    assert_eq!(server.request("GET", "/healthz", "").0, 200);
    let grown = anonymous_kib(&server).saturating_sub(before);
    assert!(grown < 300 << 10, "{most} idle connections take {grown} KiB");
    drop(idle);
    until("connections that are gone stay open", || sockets(&server) < 500);
    assert_eq!(track(&server, "after"), 200);
    server.drained();
    assert_eq!(server.get("/api/status")["folded"], 3);
}

/// With few file descriptors, connections wait for a place: files that the log and the state open still find one.
#[test]
fn connections_leave_file_descriptors_to_the_log_and_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path(), "ulimit -n 256");
    // More than there are places for, fewer than the kernel's queue takes besides.
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    until("the server takes too few", || sockets(&server) >= 128);
    assert!(open_files(&server) < 250, "{} files", open_files(&server));
    assert_eq!(server.child.try_wait().unwrap(), None);
    drop(idle);
    assert_eq!(track(&server, "after"), 200);
}

/// A tmpfs that goes with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path, mib: u32) -> Option<Self> {
        let options = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Runs a test of this file where a tmpfs can be mounted.
fn in_a_namespace(test: &str) {
    const INSIDE: &str = "ONEFOLD_TEST_IN_NAMESPACE";
    assert!(std::env::var_os(INSIDE).is_none(), "no tmpfs can be mounted, in a user namespace neither");
    let mut again = Command::new("unshare");
    again.arg("-rm").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    assert!(again.env(INSIDE, "1").status().unwrap().success(), "see above");
}

/// Batch `number`: some 400 KiB for one user of its own.
fn batch(number: usize) -> String {
    let items: Vec<Value> = (0..ITEMS)
        .map(|item| {
            json!({ "type": "track", "event": "E", "userId": format!("u{number}"), "messageId": format!("m{number}-{item}"),
                "properties": { "filling": "x".repeat(10_000) } })
        })
        .collect();
    json!({ "writeKey": "wk_server", "batch": items }).to_string()
}

const ITEMS: usize = 40;

#[test]
fn a_full_disk_answers_503_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // One segment of 64 MiB, and with the filler too little beside it for the next and for what is left to the state.
    let Some(disk) = Disk::mount(folder.path(), 320) else {
        return in_a_namespace("a_full_disk_answers_503_and_nothing_acknowledged_is_lost");
    };
    let filler = folder.path().join("filler");
    std::fs::write(&filler, vec![1; 150 << 20]).unwrap();
    let server = start(folder.path(), "");
    let mut taken = 0;
    let refused = loop {
        let (status, body) = server.request("POST", "/v1/batch", &batch(taken));
        if status != 200 {
            break (status, body["error"]["code"].clone());
        }
        taken += 1;
        assert!(taken < 1_000, "the disk does not fill");
    };
    assert_eq!(refused, (503, json!("disk_full")));
    // Clients send again and again; the state must go on meanwhile.
    for _ in 0..20 {
        assert_eq!(server.request("POST", "/v1/batch", &batch(taken)).0, 503);
    }
    server.drained();
    assert_eq!(server.get("/api/status")["folded"], taken * ITEMS);

    std::fs::remove_file(&filler).unwrap();
    until("the server does not recover", || {
        let (status, body) = server.request("POST", "/v1/batch", &batch(taken));
        assert!(status == 200 || status == 503, "{status}: {body}");
        status == 200
    });
    taken += 1;
    drop(server);
    let server = start(folder.path(), "");
    assert_eq!(server.request("POST", "/v1/batch", &batch(taken)).0, 200);
    taken += 1;
    server.drained();
    let status = server.get("/api/status");
    assert_eq!((&status["folded"], &status["duplicates"]), (&json!(taken * ITEMS), &json!(0)));
    for number in 0..taken {
        let path = format!(
            "/v1/spaces/acme/collections/users/profiles/user_id:u{number}/events?limit={}",
            ITEMS * 2
        );
        let events = server.get(&path);
        let mut ids: Vec<_> =
            events["data"].as_array().unwrap().iter().map(|event| event["message_id"].clone()).collect();
        let mut expected: Vec<_> = (0..ITEMS).map(|item| json!(format!("m{number}-{item}"))).collect();
        ids.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(ids, expected, "user u{number}");
    }
    drop(server);
    drop(disk);
}

/// A receiver that takes everything; how many requests came.
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

/// A journal that could not be written is poisoned until it is opened again: a server that went on would accept events and
/// deliver none of them.
#[test]
fn a_delivery_journal_without_room_ends_the_server_which_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("data/delivery");
    std::fs::create_dir_all(&journal).unwrap();
    let Some(disk) = Disk::mount(&journal, 4) else {
        return in_a_namespace(
            "a_delivery_journal_without_room_ends_the_server_which_goes_on_after_a_restart",
        );
    };
    let (hook, requests) = webhook();
    let workspace = format!(
        "{WORKSPACE}destinations:\n  - {{ key: hook, kind: webhook, events: [any], config: {{ url: '{hook}', \
         allow_private: true, secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk= }} }}\n"
    );
    let log = folder.path().join("stderr");
    let mut server = Server::start_after(&format!("exec 2>'{}'", log.display()), folder.path(), &workspace);
    let filler = journal.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4 << 10]).is_ok() {}
    drop(file);
    let mut sent = 0;
    until("the server goes on without its journal", || {
        let body = json!({ "writeKey": "wk_server", "userId": format!("u{sent}"), "event": "E" }).to_string();
        if let Ok((status, _)) = common::request(&server.address, "POST", "/v1/track", &body) {
            sent += u32::from(status == 200);
        }
        server.child.try_wait().unwrap().is_some()
    });
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("delivery stopped") && said.contains("until it is opened again"), "{said}");
    std::fs::remove_file(&filler).unwrap();
    let before = requests.load(Ordering::SeqCst);
    drop(server);
    let server = Server::start(folder.path(), &workspace);
    until("what waited is not delivered", || {
        let hook = server.get("/api/destinations")["data"][0].clone();
        hook["queued"] == 0 && requests.load(Ordering::SeqCst) > before
    });
    server.drained();
    assert_eq!(server.get("/api/status")["folded"], sent);
    drop(server);
    drop(disk);
}
