//! Workspace files from the command line: answers of any size, files that say a part, what is refused and where.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod common;

use common::{Server, onefold, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use tempfile::TempDir;

const HEAD: &str =
    "version: 1\nworkspace: acme\nsources:\n  - { key: server, kind: server, write_key: wk_server }\n";

fn served(workspace: &str) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), workspace);
    (folder, server)
}

/// A file in `folder`; its path.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What a command that succeeds prints.
fn told(server: &Server, args: &[&str]) -> String {
    let (code, out, error) = server.onefold(args);
    assert_eq!(code, 0, "{args:?}: {out}{error}");
    out
}

#[test]
fn an_answer_of_any_size_is_told_whole() {
    let (folder, server) = served(HEAD);
    let audience = |index: usize| {
        format!(
            "  - {{ key: a{index}, name: Audience number {index}, where: 'count(\"Event {index}\" in last 7d) >= 3' }}\n"
        )
    };
    let many = file(
        folder.path(),
        "many.yaml",
        &format!("{HEAD}audiences:\n{}", (0..2_000).map(audience).collect::<String>()),
    );
    let (code, out, error) = server.onefold(&["plan", &many]);
    assert_eq!((code, error.as_str()), (2, ""));
    assert_eq!(out.lines().filter(|line| line.starts_with("+ audiences a")).count(), 2_000);
    assert!(out.ends_with("2000 would change\n"));
    assert!(told(&server, &["apply", "--yes", &many]).ends_with("applied: 2000 changed, version 2\n"));

    let exported = told(&server, &["export"]);
    assert!(exported.len() > 64 << 10, "the answer is larger than what used to be read of one");
    assert_eq!(exported.matches("Audience number").count(), 2_000);
    let exported = file(folder.path(), "exported.yaml", &exported);
    assert_eq!(told(&server, &["plan", "--prune", &exported]), "nothing would change\n");

    let event = |n: usize| json!({ "type": "track", "userId": "u1", "event": format!("E{n}"), "properties": { "text": "x".repeat(1_500) } });
    let batch: Vec<Value> = (0..50).map(event).collect();
    server.post("/v1/batch", &json!({ "writeKey": "wk_server", "batch": batch }));
    server.drained();
    let timeline = told(&server, &["profile", "timeline", "user_id:u1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&timeline).unwrap()["data"].as_array().unwrap().len(), 50);

    for n in 0..3 {
        let refused =
            json!({ "writeKey": "wk_server", "userId": format!("u{n}"), "text": "x".repeat(31 << 10) });
        assert_eq!(server.request("POST", "/v1/track", &refused.to_string()).0, 400);
    }
    until("not all are in the quarantine", || {
        told(&server, &["quarantine", "list"]).contains("3 items; 0 dropped")
    });
}

/// Answers every request with `answer`; its address.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 8 << 10]));
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn an_answer_that_is_cut_or_no_json_is_an_error_and_never_an_empty_one() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\n<html/>", "what is no JSON"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "what is no JSON"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"data\":[", "no answer from"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\nconnection: close\r\n\r\n", "no answer from"),
    ] {
        let server = answering(answer);
        for command in [&["export"][..], &["quarantine", "list"], &["deliveries", "list"]] {
            let (code, out, error) = onefold(&[command, &["--server", &server]].concat());
            assert_eq!((code, out.as_str()), (1, ""), "{command:?}: {error}");
            assert!(error.contains(expected), "{command:?}: {error}");
        }
    }
}

#[test]
fn a_file_that_says_a_part_changes_that_part() {
    let whole = format!("{HEAD}timezone: Europe/Amsterdam\nidentity: {{ preset: b2b, size_cap: 77 }}\n");
    let (folder, server) = served(&whole);
    let part = file(
        folder.path(),
        "audiences.yaml",
        "version: 1\nworkspace: acme\naudiences:\n  - { key: buyers, where: 'did(\"Bought\")' }\n",
    );
    let (code, out, _) = server.onefold(&["plan", &part]);
    assert_eq!((code, out.as_str()), (2, "+ audiences buyers\n1 would change\n"));
    told(&server, &["apply", "--yes", &part]);
    let kept = |server: &Server| {
        let workspace = server.get("/api/workspace")["workspace"].take();
        (workspace["timezone"].clone(), workspace["identity"].clone())
    };
    let (timezone, identity) = kept(&server);
    assert_eq!(timezone, "Europe/Amsterdam");
    assert_eq!((&identity["preset"], &identity["size_cap"]), (&json!("b2b"), &json!(77)));
    // Nor does removing what is not named, nor a call of the API.
    let body = json!({ "version": 1, "workspace": "acme", "sources": [{ "key": "server", "kind": "server", "write_key": "wk" }] });
    server.post("/api/apply?prune=true", &body);
    assert_eq!(kept(&server), (timezone, identity));
    // What is said is done.
    told(
        &server,
        &["apply", "--yes", &file(folder.path(), "utc.yaml", "version: 1\nworkspace: acme\ntimezone: UTC\n")],
    );
    assert_eq!(kept(&server).0, "UTC");
}

#[test]
fn a_file_of_another_workspace_is_refused_and_a_rename_is_said() {
    let (folder, server) = served(HEAD);
    let text = "version: 1\nworkspace: other\naudiences: [{ key: buyers, where: 'did(\"Bought\")' }]\n";
    let other = file(folder.path(), "other.yaml", text);
    for command in [&["plan"][..], &["plan", "--prune"], &["apply"], &["apply", "--yes"]] {
        let (code, out, error) = server.onefold(&[command, &[&other]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{command:?}: {error}");
        assert!(error.contains("`other`") && error.contains("`acme` is in force"), "{command:?}: {error}");
        assert!(error.contains("renamed_from: acme"), "{command:?}: {error}");
    }
    let body = json!({ "version": 1, "workspace": "other" }).to_string();
    for path in ["/api/plan", "/api/apply", "/api/apply?prune=true"] {
        let (status, answer) = server.request("POST", path, &body);
        assert_eq!((status, &answer["problems"][0]["place"]), (422, &json!("workspace")), "{path}: {answer}");
    }
    let in_force = server.get("/api/workspace");
    assert_eq!((&in_force["workspace"]["workspace"], &in_force["version"]), (&json!("acme"), &json!(1)));

    let renamed = file(folder.path(), "renamed.yaml", &format!("renamed_from: acme\n{text}"));
    told(&server, &["apply", "--yes", &renamed]);
    let in_force = server.get("/api/workspace")["workspace"].clone();
    assert_eq!(
        (&in_force["workspace"], &in_force["audiences"][0]["key"]),
        (&json!("other"), &json!("buyers"))
    );
    assert_eq!(in_force["sources"][0]["key"], "server", "what was there stays");
    // The same file again changes nothing.
    assert_eq!(told(&server, &["plan", &renamed]), "nothing would change\n");
}

#[test]
fn the_api_swallows_no_key_and_tells_every_place() {
    let (_folder, server) = served(HEAD);
    let tail = server.get("/api/status")["log_tail"].clone();
    let body = json!({
        "version": 1, "workspace": "acme", "timezone": 5,
        "sources": [{ "key": "server", "kind": "server", "write_key": "wk_server", "rate_limt": 5 }],
        "audiences": [{ "key": "a", "where": "did(\"X\")", "enabld": false }],
    });
    for path in ["/api/apply", "/api/plan"] {
        let (status, answer) = server.request("POST", path, &body.to_string());
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_workspace")), "{answer}");
        assert_eq!(
            answer["problems"],
            json!([
                { "place": "timezone", "detail": "expected text, found the number 5; in quotes it is text" },
                { "place": "sources[0].rate_limt", "detail": "unknown key; did you mean `rate_limit`?" },
                { "place": "audiences[0].enabld", "detail": "unknown key; did you mean `enabled`?" },
            ])
        );
    }
    assert_eq!(server.get("/api/status")["log_tail"], tail, "nothing was appended");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place_by_check_and_apply_alike() {
    let (folder, server) = served(HEAD);
    let source = "sources:\n  - { key: web, kind: browser, write_key: wk_web, ";
    let hook = "destinations:\n  - { key: hook, kind: webhook, config: { secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=, ";
    for (text, place, detail) in [
        ("timezone: Mars/Olympus\n".to_owned(), "timezone:", "there is no time zone `Mars/Olympus`"),
        (format!("{source}rate_limit: 0 }}\n"), "sources.web.rate_limit:", "0 lets no message through"),
        (format!("{source}origins: [shop.example] }}\n"), "sources.web.origins:", "`https://shop.example`"),
        ("sources: [{ key: web, kind: browser }]\n".to_owned(), "sources.web.write_key:", "missing"),
        (
            format!("{hook}url: 'ftp://a.example' }} }}\n"),
            "destinations.hook:",
            "expected an http or https address",
        ),
        (
            "destinations: [{ key: hook, kind: webhok }]\n".to_owned(),
            "destinations.hook:",
            "did you mean `webhook`?",
        ),
        // Two things of two kinds are told at once.
        (
            "timezone: Mars/Olympus\naudiences: [{ key: a, where: 'did(' }]\n".to_owned(),
            "audiences.a",
            "there is no time zone",
        ),
    ] {
        let file = file(folder.path(), "wrong.yaml", &format!("version: 1\nworkspace: acme\n{text}"));
        for command in [&["check"][..], &["plan"], &["apply", "--yes"]] {
            let (code, out, error) = server.onefold(&[command, &[&file]].concat());
            assert_eq!((code, out.as_str()), (1, ""), "{command:?} {text}: {error}");
            assert!(error.contains(place) && error.contains(detail), "{command:?} {text}: {error}");
        }
    }
}

#[test]
fn check_tells_what_it_could_not_check_and_what_is_worth_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{HEAD}destinations:\n  - {{ key: hook, kind: webhook, config: {{ url: '${{ONEFOLD_TEST_NOT_SET}}' }} }}\n"
    );
    let text = text.replace("wk_server }", "wk_server, personalize: [buyer] }")
        + "audiences: [{ key: buyers, where: 'did(\"X\")' }]\n";
    let (code, out, error) = onefold(&["check", &file(folder.path(), "w.yaml", &text)]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("note: destinations.hook.config: not checked"), "{out}");
    assert!(out.contains("note: sources.server.personalize: `buyer` is no audience"), "{out}");
    assert!(out.contains("did you mean `buyers`?"), "{out}");

    for name in ["nofile.yaml", "no/such/thing", "nofile.json", "./nofile.yml"] {
        let (code, out, error) = onefold(&["check", name]);
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        assert!(error.starts_with(&format!("error: there is no file {name}\n")), "{error}");
    }
    for expression in ["did(page where path = \"/a/b.yaml\")", "traits.plan = 'a/b'"] {
        let (code, out, error) = onefold(&["check", expression]);
        assert!(!error.contains("there is no file"), "{code} {out} {error}");
    }
    let (code, _, error) = onefold(&["plan", folder.path().join("gone.yaml").to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(error.contains("gone.yaml: cannot be read: No such file"), "{error}");
}

/// A receiver that takes everything; what it was asked for, each a request line.
fn receiver() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 8 << 10];
            let length = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]);
            // The test may be over.
            drop(asked.send(head.lines().next().unwrap_or_default().to_owned()));
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"));
        }
    });
    (format!("http://{address}/hook?token=S3CRET&team=7"), lines)
}

#[test]
fn an_export_hides_secrets_shows_no_change_and_keeps_them() {
    let (folder, server) = served(HEAD);
    let (url, asked) = receiver();
    let config = json!({ "url": url, "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=", "batch": null,
        "headers": {}, "allow_private": true });
    let hook = json!({ "key": "hook", "kind": "webhook", "config": config, "events": ["any"] });
    server.post("/api/apply", &json!({ "version": 1, "workspace": "acme", "destinations": [hook] }));

    let exported = told(&server, &["export"]);
    assert!(!exported.contains("S3CRET") && !exported.contains("whsec_"), "{exported}");
    assert!(exported.contains("/hook?token=***&team=***"), "{exported}");
    let path = file(folder.path(), "exported.yaml", &exported);
    assert_eq!(told(&server, &["plan", "--prune", &path]), "nothing would change\n");

    let changed = file(folder.path(), "changed.yaml", &exported.replace("any", "'\"Bought\"'"));
    told(&server, &["apply", "--yes", &changed]);
    server.post("/v1/track", &json!({ "writeKey": "wk_server", "userId": "u1", "event": "Bought" }));
    let line = asked.recv_timeout(common::PATIENCE).unwrap();
    assert_eq!(line, "POST /hook?token=S3CRET&team=7 HTTP/1.1");
}

#[test]
fn what_looks_like_a_variable_comes_back_from_an_export_as_it_was() {
    let (folder, server) = served(HEAD);
    let audience =
        json!({ "key": "a", "where": "traits.plan = \"${PLAN}\"", "description": "costs $${x} and ${" });
    let document = json!({ "version": 1, "workspace": "acme", "audiences": [audience] });
    server.post("/api/apply", &document);
    let exported = file(folder.path(), "exported.yaml", &told(&server, &["export"]));
    assert_eq!(told(&server, &["plan", "--prune", &exported]), "nothing would change\n");
    let as_json: Value = serde_json::from_str(&told(&server, &["export", "--json"])).unwrap();
    assert_eq!(as_json["audiences"][0]["description"], audience["description"]);
}

#[test]
fn a_secret_is_rotated_from_an_export() {
    let (folder, server) = served(HEAD);
    let key = |n: u8| format!("whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZX{n}5");
    let document = |secret: Value| {
        let config = json!({ "url": "http://127.0.0.1:9/", "secret": secret });
        let hook = json!({ "key": "hook", "kind": "webhook", "config": config });
        json!({ "version": 1, "workspace": "acme", "destinations": [hook] })
    };
    server.post("/api/apply", &document(json!(key(1))));
    let exported = told(&server, &["export"]);
    let (before, after) = exported.rsplit_once("***").unwrap();
    let quotes = &['\'', '"'];
    let both =
        format!("{}['***', {}]{}", before.trim_end_matches(quotes), key(2), after.trim_start_matches(quotes));
    told(&server, &["apply", "--yes", &file(folder.path(), "both.yaml", &both)]);
    let mut in_force = server.get("/api/workspace")["workspace"].take();
    assert_eq!(in_force["destinations"][0]["config"]["secret"].take(), json!(["***", "***"]));
    // That those are the two: to say them changes nothing.
    let plan = server.post("/api/plan", &document(json!([key(1), key(2)])));
    assert_eq!(plan["changes"], json!([]));
    let (status, answer) = server.request("POST", "/api/apply", &document(json!(["***"])).to_string());
    assert_eq!((status, &answer["problems"][0]["place"]), (422, &json!("destinations.hook.config.secret")));
}
