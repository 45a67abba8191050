//! What an operator decides from the command line: what it prints for people and for programs, what it refuses, what it
//! asks first. What a decision does to identity is tested elsewhere; here the command's word is held against the API's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, onefold};
use serde_json::{Value, json};
use std::process::Command;

const WORKSPACE: &str = "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n\
                         identity: { preset: product, blocked: ['nobody@example.com'] }\n";

fn identify(server: &Server, message: Value) {
    let mut message = message;
    message["writeKey"] = "wk_server".into();
    server.post("/v1/identify", &message);
}

/// The profile that has an identifier, as the command names it; asked of the API.
fn stands(server: &Server, id: &str) -> String {
    let Some(metadata) = server.profile(id, "metadata") else { return "nobody".to_owned() };
    let (profile, events) = (&metadata["metadata"]["profile_id"], &metadata["metadata"]["events"]);
    let plural = if *events == 1 { "" } else { "s" };
    format!("profile {} with {events} event{plural}", profile.as_str().unwrap())
}

fn together(server: &Server, a: &str, b: &str) -> bool {
    server.get(&format!("/api/why?a={a}&b={b}"))["together"] == true
}

fn decided(server: &Server) -> Vec<Value> {
    server.get("/api/decisions")["data"].as_array().unwrap().clone()
}

/// What a command prints that succeeds and has nothing to complain of.
fn says(server: &Server, args: &[&str]) -> String {
    let (code, out, error) = server.onefold(args);
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {out}");
    out
}

/// What a command says that fails: on stderr alone, exit code 1.
fn complains(server: &Server, args: &[&str]) -> String {
    let (code, out, error) = server.onefold(args);
    assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {error}");
    error
}

/// An e-mail and a user that one device joins: three events in one profile.
fn shared_laptop(server: &Server) {
    identify(server, json!({ "anonymousId": "a1", "messageId": "m1", "traits": { "email": "e1@x.com" } }));
    identify(server, json!({ "anonymousId": "a1", "messageId": "m2", "userId": "u1" }));
    identify(server, json!({ "messageId": "m3", "userId": "u1" }));
    server.drained();
}

#[test]
fn a_wrong_link_is_cut_told_listed_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    assert_eq!(says(&server, &["decisions", "list"]), "0 decisions\n");
    shared_laptop(&server);
    let (device, email) = ("anonymous_id:a1", "email:e1@x.com");
    let (device_was, email_was) = (stands(&server, device), stands(&server, email));
    assert_eq!(device_was, email_was);
    let why = ["--reason", "shared laptop", "--operator", "ada"];
    let told = says(&server, &[&["decisions", "cut", device, email], &why[..]].concat());
    let (device_is, email_is) = (stands(&server, device), stands(&server, email));
    assert_ne!(device_is, email_is);
    let mut expected = format!("decision 1: cut {device} from {email}\n");
    for (id, was, is) in [(device, &device_was, &device_is), (email, &email_was, &email_is)] {
        if was != is {
            expected.push_str(&format!("  {id}: {was} -> {is}\n"));
        }
    }
    assert_eq!(told, expected);

    // An identifier is normalised by the server, and named here as it was typed.
    assert_eq!(
        says(&server, &["decisions", "cut", device, "email:E1@X.COM"]),
        format!("decision 2: cut {device} from email:E1@X.COM\n  no profile is another by it\n")
    );
    says(&server, &["decisions", "undo", "2"]);
    let told = says(&server, &["decisions", "undo", "1", "--operator", "ada"]);
    assert!(told.starts_with(&format!("decision 4: undo 1, cut {device} from {email}\n")), "{told}");
    assert!(told.contains(&format!("  {email}: {email_is} -> {email_was}\n")), "{told}");
    assert_eq!((stands(&server, device), stands(&server, email)), (device_was, email_was));
    let error = complains(&server, &["decisions", "undo", "1"]);
    assert_eq!(error, "error: refused, and not recorded: decision 1 was taken back already\n");
    let error = complains(&server, &["decisions", "undo", "99"]);
    assert_eq!(error, "error: refused, and not recorded: there is no decision 99 to take back\n");

    let all = decided(&server);
    let at = |index: usize| all[index]["at"].as_str().unwrap().to_owned();
    let list = says(&server, &["decisions", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], format!("1 {} ada: cut {device} from {email} (shared laptop), undone by 4", at(0)));
    assert_eq!(lines[3..], [format!("4 {} ada: undo 1", at(3)).as_str(), "4 decisions"]);
    let from: Vec<String> =
        says(&server, &["decisions", "list", "--from", "4"]).lines().map(str::to_owned).collect();
    assert_eq!(from, [lines[3], "1 decision"]);
    let document: Value = serde_json::from_str(&says(&server, &["decisions", "list", "--json"])).unwrap();
    assert_eq!(document, json!({ "data": all }));
}

#[test]
fn two_users_are_linked_only_after_they_count_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for user in ["u1", "u2"] {
        identify(&server, json!({ "userId": user, "messageId": format!("of-{user}") }));
    }
    server.drained();
    let link = ["decisions", "link", "user_id:u1", "user_id:u2"];
    let refusal =
        "error: refused, and not recorded: user_id: at most 1 in one profile (user_id:u1, user_id:u2)\n";
    assert_eq!(complains(&server, &link), refusal);
    assert_eq!(complains(&server, &[&link[..], &["--json"]].concat()), refusal);
    assert_eq!(decided(&server), [] as [Value; 0]);
    let never = complains(&server, &["decisions", "link", "user_id:u1", "email:never@x.com"]);
    assert_eq!(
        never,
        "error: refused, and not recorded: the identifier was never seen (email:never@x.com)\n"
    );
    let mixed = complains(&server, &["decisions", "force", "user_id:u1", "email:e@x.com"]);
    assert!(mixed.contains("two values of one type (user_id:u1, email:e@x.com)"), "{mixed}");

    let told = says(&server, &["decisions", "force", "user_id:u1", "user_id:u2"]);
    assert!(told.starts_with("decision 1: force user_id:u1 and user_id:u2 to count as one\n"), "{told}");
    let before = [stands(&server, "user_id:u1"), stands(&server, "user_id:u2")];
    let told = says(&server, &[&link[..], &["--reason", "one\u{1b}[31mperson"]].concat());
    assert!(together(&server, "user_id:u1", "user_id:u2"));
    let after = stands(&server, "user_id:u1");
    assert_eq!((after.ends_with("with 2 events"), stands(&server, "user_id:u2")), (true, after.clone()));
    let [one, other] = before;
    let expected = format!(
        "decision 2: link user_id:u1 and user_id:u2\n  user_id:u1: {one} -> {after}\n  user_id:u2: {other} -> {after}\n"
    );
    assert_eq!(told, expected);
    let list = says(&server, &["decisions", "list"]);
    assert!(list.contains("(one\\u{1b}[31mperson)") && !list.contains('\u{1b}'), "{list:?}");

    // For programs: the API's answer, and nothing else.
    let undone = says(&server, &["decisions", "undo", "2", "--json", "--reason", "two after all"]);
    assert_eq!(serde_json::from_str::<Value>(&undone).unwrap(), json!({ "number": 3 }));
    assert!(!together(&server, "user_id:u1", "user_id:u2"));
    assert_eq!(decided(&server)[2]["reason"], "two after all");
}

#[test]
fn a_blocked_identifier_is_nobodys_until_it_is_unblocked() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    shared_laptop(&server);
    let email = "email:e1@x.com";
    let was = stands(&server, email);
    let told = says(&server, &["decisions", "block", email]);
    assert_eq!(told, format!("decision 1: block {email}\n  {email}: {was} -> nobody\n"));
    assert!(server.profile(email, "metadata").is_none());
    let told = says(&server, &["decisions", "unblock", email]);
    assert_eq!(told, format!("decision 2: unblock {email}\n  {email}: nobody -> {was}\n"));
    let error = complains(&server, &["decisions", "block", "email:nobody@example.com"]);
    assert_eq!(
        error,
        "error: refused, and not recorded: the identifier is blocked by the rules (email:nobody@example.com)\n"
    );
}

#[test]
fn a_customer_key_is_issued_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    shared_laptop(&server);
    let told = says(&server, &["decisions", "issue-customer-key", "user_id:u1"]);
    let key = server.profile("user_id:u1", "metadata").unwrap()["metadata"]["customer_key"].clone();
    let expected = format!(
        "decision 1: issue the customer key of user_id:u1\n  customer key {}\n",
        key.as_str().unwrap()
    );
    assert_eq!(told, expected);
}

#[test]
fn what_cannot_be_brought_back_is_deleted_only_when_it_is_sure() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    shared_laptop(&server);
    // Nobody is there to be asked.
    let unsure = "error: not deleted; run with --yes to delete without being asked\n";
    assert_eq!(complains(&server, &["decisions", "delete-message", "m3"]), unsure);
    assert_eq!(complains(&server, &["decisions", "delete-profile", "user_id:u1", "--json"]), unsure);
    assert_eq!(decided(&server), [] as [Value; 0]);
    let error = complains(&server, &["decisions", "delete-profile", "user_id:never"]);
    assert_eq!(error, "error: user_id:never was never seen\n");
    let error = complains(&server, &["decisions", "delete-profile", "user_id:never", "--yes"]);
    assert_eq!(error, "error: refused, and not recorded: the identifier was never seen (user_id:never)\n");
    let error = complains(&server, &["decisions", "delete-message", "m9", "--yes"]);
    assert_eq!(error, "error: refused, and not recorded: no message with this id is known\n");

    let told = says(&server, &["decisions", "delete-message", "m3", "--yes"]);
    assert_eq!(told, "decision 1: delete the message m3\n");
    assert_eq!(server.events("user_id:u1").len(), 2);
    let was = stands(&server, "user_id:u1");
    let told =
        says(&server, &["decisions", "delete-profile", "user_id:u1", "--yes", "--reason", "asked for"]);
    assert_eq!(
        told,
        format!("decision 2: delete the profile of user_id:u1\n  user_id:u1: {was} -> nobody\n")
    );
    for id in ["user_id:u1", "anonymous_id:a1", "email:e1@x.com"] {
        assert!(server.profile(id, "metadata").is_none(), "{id}");
    }
}

/// Runs a command with a terminal on which `answer` was typed.
fn on_a_terminal(command: &Command, answer: &str) -> (i32, String, String) {
    const TERMINAL: &str = "import os, pty, subprocess, sys\n\
                            ours, theirs = pty.openpty()\n\
                            os.write(ours, sys.argv[1].encode() + b'\\n')\n\
                            sys.exit(subprocess.run(sys.argv[2:], stdin=theirs).returncode)\n";
    let mut python = Command::new("python3");
    python.args(["-c", TERMINAL, answer]).arg(command.get_program()).args(command.get_args());
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = python.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn on_a_terminal_it_is_asked_what_is_to_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    shared_laptop(&server);
    let delete = server.command(&["decisions", "delete-profile", "email:e1@x.com"]);
    let question = format!(
        "{}: user_id:u1, email:e1@x.com, anonymous_id:a1\nforget it for good? [y/N] ",
        stands(&server, "email:e1@x.com")
    );
    let no = "error: not deleted; run with --yes to delete without being asked\n";
    for answer in ["n", "", "of course not"] {
        assert_eq!(on_a_terminal(&delete, answer), (1, String::new(), format!("{question}{no}")));
    }
    assert_eq!(server.events("user_id:u1").len(), 3);
    let message = server.command(&["decisions", "delete-message", "m3"]);
    let (code, out, asked) = on_a_terminal(&message, "y");
    assert_eq!((code, out.as_str()), (0, "decision 1: delete the message m3\n"));
    assert_eq!(asked, "forget the message m3 for good? [y/N] ");
    let (code, out, _) = on_a_terminal(&delete, "yes");
    assert!(code == 0 && out.starts_with("decision 2: delete the profile of email:e1@x.com\n"), "{out}");
    assert!(server.profile("user_id:u1", "metadata").is_none());
}

#[test]
fn without_a_server_every_decision_says_so() {
    // A port that was free a moment ago; whoever takes it is no Onefold.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for args in [
        &["decisions", "list"][..],
        &["decisions", "link", "user_id:u1", "user_id:u2"],
        &["decisions", "block", "user_id:u1", "--json"],
        &["decisions", "delete-profile", "user_id:u1"],
        &["profile", "get", "user_id:u1"],
        &["profile", "why", "user_id:u1", "user_id:u2"],
    ] {
        let (code, out, error) = onefold(&[args, &["--server", &url]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(error.starts_with(&format!("error: no answer from {url}: ")), "{args:?}: {error}");
        assert!(error.ends_with("hint: is the server running? name it with --server URL\n"), "{error}");
    }
}
