//! The binary as a user runs it: real clients, the demo, `plan` and `apply`, a wrong link cut, `kill -9` under load.
//!
//! Needs what `tests/run` installs: Node with `clients/`, Python with segment-analytics-python, Chromium.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use common::{Server, onefold, request, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WORKSPACE: &str = r#"
version: 1
workspace: acme
sources:
  - { key: web, kind: browser, write_key: wk_web, personalize: [buyers], origins: ["*"] }
  - { key: server, kind: server, write_key: wk_server }
audiences:
  - { key: buyers, where: 'did("Order Completed")' }
"#;

fn run(program: &str, args: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let output = Command::new(program)
        .args(args)
        .current_dir(root)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run tests/run"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn analytics_node_is_stitched_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    run("node", &["node.mjs", &server.url(), "wk_server", "1"]);
    server.drained();
    let expected = [
        "alias ",
        "group ",
        "identify ",
        "page Home",
        "screen Cart",
        "track Order Completed",
        "track Product Viewed",
    ];
    assert_eq!(server.events("user_id:node-user-1"), expected);
    assert_eq!(server.events("anonymous_id:node-anon-1"), expected);
    assert_eq!(server.events("email:node-1@example.com"), expected);
    let traits = server.profile("user_id:node-user-1", "traits").unwrap();
    assert_eq!((&traits["traits"]["plan"], &traits["traits"]["buyers"]), (&json!("pro"), &json!(true)));
    let links = server.profile("user_id:node-user-1", "links").unwrap();
    assert_eq!(links["data"][0]["external_ids"][0]["id"], "node-account-1");
}

fn python() -> String {
    std::env::var("ONEFOLD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

#[test]
fn the_api_describes_itself_in_openapi() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let count: usize = run(&python(), &["openapi.py", &server.url()]).trim().parse().unwrap();
    assert!(count > 20, "{count} paths");
}

#[test]
fn analytics_python_is_stitched_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    run(&python(), &["python.py", &server.url(), "wk_server", "1"]);
    server.drained();
    let events = server.events("user_id:python-user-1");
    let expected = [
        "alias ",
        "group ",
        "identify ",
        "page Pricing",
        "screen Settings",
        "track Order Completed",
        "track Product Viewed",
    ];
    assert_eq!(events, expected);
}

#[test]
fn analytics_next_in_a_browser_is_stitched_and_counted() {
    for mode in ["npm", "served"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), WORKSPACE);
        let told = run("node", &["browser.mjs", &server.url(), "wk_web", "1", mode]);
        let anonymous: Value = serde_json::from_str(told.trim()).unwrap();
        let anonymous = anonymous["anonymousId"].as_str().unwrap();
        server.drained();
        let expected = ["group ", "identify ", "page Home", "track Order Completed", "track Product Viewed"];
        assert_eq!(server.events("user_id:browser-user-1"), expected, "{mode}");
        assert_eq!(server.events(&format!("anonymous_id:{anonymous}")), expected, "{mode}");
        let seen = server.get(&format!("/v1/personalize?anonymous_id={anonymous}&write_key=wk_web"));
        assert_eq!(seen["audiences"]["buyers"], true, "{mode}");
    }
}

#[test]
fn a_wrong_link_is_explained_cut_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let send = |body: Value| assert_eq!(server.request("POST", "/v1/identify", &body.to_string()).0, 200);
    send(json!({ "writeKey": "wk_server", "anonymousId": "a1", "traits": { "email": "e1@x.com" } }));
    send(json!({ "writeKey": "wk_server", "anonymousId": "a1", "userId": "u1" }));
    server.drained();
    let why = || server.get("/api/why?a=email:e1@x.com&b=user_id:u1");
    assert_eq!((why()["together"].clone(), why()["path"].as_array().unwrap().len()), (json!(true), 2));
    let before = server.profile("user_id:u1", "external_ids").unwrap();
    let cut = json!({ "kind": "cut", "a": { "type": "anonymous_id", "id": "a1" }, "b": { "type": "email", "id": "e1@x.com" } });
    let (status, answer) = server.request("POST", "/api/decisions", &cut.to_string());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(why()["together"], false);
    assert_eq!(server.events("email:e1@x.com"), ["identify "]);
    assert_eq!(server.events("user_id:u1"), ["identify "]);
    let undo = json!({ "kind": "undo", "number": answer["number"] });
    assert_eq!(server.request("POST", "/api/decisions", &undo.to_string()).0, 200);
    assert_eq!(server.profile("user_id:u1", "external_ids").unwrap(), before);
    let link = json!({ "kind": "link", "a": { "type": "user_id", "id": "u1" }, "b": { "type": "user_id", "id": "u2" } });
    send(json!({ "writeKey": "wk_server", "userId": "u2" }));
    server.drained();
    let (status, refused) = server.request("POST", "/api/decisions", &link.to_string());
    assert_eq!((status, &refused["code"]), (409, &json!("refused")));
}

#[test]
fn what_the_management_api_refuses_is_a_problem_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for (method, path, body, status, code) in [
        ("GET", "/api/nothing", "", 404, "not_found"),
        ("DELETE", "/api/decisions", "", 405, "method_not_allowed"),
        ("GET", "/api/decisions?limit=many", "", 400, "invalid_request"),
        ("POST", "/api/decisions", "{", 400, "invalid_request"),
        ("POST", "/api/quarantine/first/discard", "", 400, "invalid_request"),
        ("GET", "/v1/personalize?write_key=nobody&anonymous_id=a", "", 401, "unknown_write_key"),
        ("GET", "/v1/personalize?write_key=wk_web", "", 400, "invalid_request"),
    ] {
        let (answered, problem) = server.request(method, path, body);
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{method} {path}");
    }
}

#[test]
fn audiences_stand_among_the_traits_as_true_and_false() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let does = |event: &str| {
        let body = json!({ "writeKey": "wk_server", "userId": "u", "event": event });
        assert_eq!(server.request("POST", "/v1/track", &body.to_string()).0, 200);
        server.drained();
        server.profile("user_id:u", "traits?class=audience").unwrap()["traits"].clone()
    };
    assert_eq!(does("Product Viewed"), json!({ "buyers": false }));
    assert_eq!(does("Order Completed"), json!({ "buyers": true }));
}

#[test]
fn plan_and_apply_take_effect_at_once_history_included() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let order = json!({ "writeKey": "wk_server", "userId": "u", "event": "Product Viewed" });
    assert_eq!(server.request("POST", "/v1/track", &order.to_string()).0, 200);
    server.drained();
    let file = folder.path().join("more.yaml");
    let more = format!("{WORKSPACE}  - {{ key: lookers, where: 'did(\"Product Viewed\")' }}\n");
    std::fs::write(&file, &more).unwrap();
    let (file, url) = (file.display().to_string(), server.url());
    let (code, text, _) = onefold(&["plan", &file, "--server", &url]);
    assert_eq!((code, text.as_str()), (2, "+ audiences lookers\n1 would change\n"));
    let (code, text, error) = server.onefold(&["apply", &file, "--yes"]);
    assert_eq!(code, 0, "{text}{error}");
    until("history was not taken in", || {
        server.profile("user_id:u", "audiences").unwrap()["data"] == json!([{ "key": "lookers" }])
    });
    let nothing = (0, "nothing would change\n".to_owned(), String::new());
    assert_eq!(server.onefold(&["plan", &file]), nothing);
    std::fs::write(
        folder.path().join("bad.yaml"),
        more.replace("did(\"Product Viewed\")", "dib(\"Product Viewed\")"),
    )
    .unwrap();
    let (code, _, error) = server.onefold(&["plan", &folder.path().join("bad.yaml").display().to_string()]);
    assert!(code == 1 && error.contains("audiences.lookers") && error.contains("did"), "{error}");
}

/// I16: what other rules would make of everybody is shown first, then done for the whole history at once, and undone by
/// the rules of before.
#[test]
fn other_identity_rules_are_previewed_and_applied_to_history() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    for (user, email) in [("u1", "house@x.com"), ("u2", "house@x.com"), ("u2", "own@x.com")] {
        let body = json!({ "writeKey": "wk_server", "userId": user, "traits": { "email": email } });
        assert_eq!(server.request("POST", "/v1/identify", &body.to_string()).0, 200);
    }
    server.drained();
    let alone = server.profile("email:own@x.com", "external_ids").unwrap();
    let file = folder.path().join("rules.yaml");
    let rules = "version: 1\nworkspace: acme\nidentity: { preset: product, identifiers: [{ type: user_id, limit: 5 }] }\n";
    std::fs::write(&file, rules).unwrap();
    let file = file.display().to_string();
    let (code, text, _) = server.onefold(&["plan", &file]);
    let expected = "~ identity rules\n  2 profiles become 1\n  1 come of several:\n    user_id:u1, user_id:u2 -> user_id:u1\n";
    assert!(code == 2 && text.starts_with(expected), "{text}");
    assert_eq!(server.profile("email:own@x.com", "external_ids").unwrap(), alone, "a plan changes nothing");
    let (code, text, error) = server.onefold(&["apply", "--yes", &file]);
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(server.events("user_id:u1").len(), 3);
    assert_eq!(server.get("/api/why?a=user_id:u1&b=email:own@x.com")["together"], true);
    std::fs::write(&file, "version: 1\nworkspace: acme\nidentity: { preset: product }\n").unwrap();
    let (code, text, _) = server.onefold(&["apply", "--yes", &file]);
    assert!(code == 0 && text.contains("1 become several:"), "{text}");
    assert_eq!(server.profile("email:own@x.com", "external_ids").unwrap(), alone);
}

/// ACK and ONCE: whatever was answered with 200 is there after `kill -9`, once, however often the client repeats it.
#[test]
fn every_acknowledged_event_survives_kill_9_and_is_folded_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0u64;
    for round in 0..3 {
        let server = Server::start(folder.path(), WORKSPACE);
        let address = server.address.clone();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let address = address.clone();
                std::thread::spawn(move || {
                    let mut last = 0;
                    for number in 0..10_000u64 {
                        let id = format!("r{round}-c{client}-{number}");
                        let body =
                            json!({ "writeKey": "wk_server", "userId": "u", "event": "E", "messageId": id })
                                .to_string();
                        match request(&address, "POST", "/v1/track", &body) {
                            Ok((200, _)) => last = number + 1,
                            _ => break,
                        }
                        if number % 5 == 0 {
                            // A client that lost the answer sends again.
                            drop(request(&address, "POST", "/v1/track", &body));
                        }
                    }
                    last
                })
            })
            .collect();
        until("too little is folded", || {
            server.get("/api/status")["folded"].as_u64().unwrap() >= acknowledged + 150
        });
        server.kill();
        acknowledged += clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>();
    }
    let server = Server::start(folder.path(), WORKSPACE);
    server.drained();
    let folded = server.get("/api/status")["folded"].as_u64().unwrap();
    // Beyond those acknowledged, at most one per client and round was durable when its answer was lost.
    assert!(
        (acknowledged..=acknowledged + 12).contains(&folded),
        "{folded} folded of {acknowledged} acknowledged"
    );
    let owned = server.profile("user_id:u", "metadata").unwrap()["metadata"]["events"].as_u64().unwrap();
    assert_eq!(owned, folded);
    let data = server.kill();
    let (code, text, _) = onefold(&["verify", "--data", &data.display().to_string()]);
    assert!(code == 0 && text.ends_with("everything holds\n"), "{text}");
}

#[test]
fn the_demo_stitches_fills_and_empties_audiences_and_delivers() {
    let output = Command::new(env!("CARGO_BIN_EXE_onefold"))
        .args(["demo", "--seconds", "40", "--visitors", "10", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_str(&text[text.find("\n{").unwrap()..]).unwrap();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    assert_eq!(
        number(&summary["folded"]) + number(&summary["duplicates"]),
        number(&summary["accepted"]),
        "LOSS: {summary:#}"
    );
    assert!(number(&summary["identity_transitions"]) > 0, "{summary:#}");
    for what in [
        "Audience Entered high_intent",
        "Audience Exited in_checkout",
        "Audience Entered abandoned_checkout",
        "Trait Computed orders",
        "Order Completed",
    ] {
        assert!(number(&summary["webhooks"][what]) > 0, "no {what}: {summary:#}");
    }
}

#[test]
fn what_is_exported_changes_nothing_and_keeps_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let file = folder.path().join("hook.yaml");
    let hook = "version: 1\nworkspace: acme\ndestinations:\n  - { key: hook, kind: webhook, config: { url: 'http://127.0.0.1:9/', secret: whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=, allow_private: true } }\n";
    std::fs::write(&file, hook).unwrap();
    assert_eq!(server.onefold(&["apply", "--yes", file.to_str().unwrap()]).0, 0);
    let (code, exported, _) = server.onefold(&["export"]);
    assert_eq!(code, 0);
    assert!(exported.contains("did(\"Order Completed\")") && !exported.contains("b25lZm9s"), "{exported}");
    std::fs::write(&file, &exported).unwrap();
    assert_eq!(server.onefold(&["plan", "--prune", file.to_str().unwrap()]).0, 0);
    std::fs::write(&file, exported.replace("127.0.0.1:9/", "127.0.0.1:10/")).unwrap();
    let (code, changes, _) = server.onefold(&["plan", file.to_str().unwrap()]);
    assert_eq!((code, changes.contains("~ destinations hook")), (2, true), "{changes}");
    // Elsewhere there is no secret for the three stars to stand for.
    let other = tempfile::tempdir().unwrap();
    let elsewhere = Server::start(other.path(), WORKSPACE);
    let (code, _, error) = elsewhere.onefold(&["plan", file.to_str().unwrap()]);
    assert_eq!((code, error.contains("destinations.hook.config.secret")), (1, true), "{error}");
}

#[test]
fn what_was_refused_is_listed_mended_and_sent_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let (code, _, error) = server.onefold(&["send", "track", "--user-id", "u1"]);
    assert_eq!((code, error.contains("needs `event`")), (1, true), "{error}");
    server.drained();
    let (_, list, _) = server.onefold(&["quarantine", "list", "--bodies"]);
    assert!(list.contains("missing_event") && list.contains("\"type\":\"track\""), "{list}");
    assert!(list.contains("1 item; 0 dropped"), "{list}");
    let (code, _, error) = server.onefold(&["quarantine", "send", "0"]);
    assert_eq!((code, error.contains("refused again (missing_event)")), (1, true), "{error}");
    let mended = r#"{"type":"track","event":"Mended","userId":"u1"}"#;
    assert_eq!(server.onefold(&["quarantine", "send", "0", "--body", mended]).0, 0);
    server.drained();
    assert_eq!(server.events("user_id:u1"), ["track Mended"]);
    let (code, _, error) = server.onefold(&["quarantine", "discard", "0"]);
    assert_eq!((code, error.contains("no item 0")), (1, true), "{error}");
    let decisions = server.get("/api/decisions");
    assert_eq!(decisions["data"][0]["decision"], json!({ "kind": "release", "number": 0 }));
}

#[test]
fn tail_shows_the_events_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), WORKSPACE);
    let mut tail = server
        .command(&["tail", "--count", "1", "--json", "--where", "\"Order Completed\" where revenue > 10"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(tail.stdout.take().unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    // The stream begins at some instant after the start: orders come until one is shown.
    let (done, stop) = std::sync::mpsc::channel::<()>();
    let url = server.url();
    let orders = std::thread::spawn(move || {
        let address = url.trim_start_matches("http://").to_owned();
        for n in 0.. {
            for (revenue, name) in [(5, "small"), (20 + n, "large")] {
                let body = json!({ "writeKey": "wk_server", "userId": name, "event": "Order Completed", "properties": { "revenue": revenue } });
                request(&address, "POST", "/v1/track", &body.to_string()).unwrap();
            }
            if stop.try_recv().is_ok() || Instant::now() > until {
                return;
            }
        }
    });
    let mut line = String::new();
    shown.read_line(&mut line).unwrap();
    done.send(()).unwrap();
    orders.join().unwrap();
    assert!(tail.wait().unwrap().success());
    let happening: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    assert_eq!(happening["data"]["message"]["userId"], "large", "{line}");
}

#[test]
fn the_config_file_gives_way_to_variables_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.yaml"), WORKSPACE).unwrap();
    let config = format!(
        "data: {0}/data\nworkspace: {0}/w.yaml\nlisten: 127.0.0.1:1\nlimit_item_bytes: 100\n",
        folder.path().display()
    );
    std::fs::write(folder.path().join("onefold.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.env("ONEFOLD_CONFIG", folder.path().join("onefold.yaml")).env("ONEFOLD_LIMIT_ITEM_BYTES", "150");
    let server = Server::ready(&mut command, folder.path());
    let send = |length: usize| {
        let item = json!({ "type": "track", "event": "X", "userId": "u".repeat(length) });
        let body = json!({ "writeKey": "wk_server", "batch": [item] });
        server.request("POST", "/v1/batch", &body.to_string()).0
    };
    assert_eq!((send(75), send(120)), (200, 400));
    assert!(folder.path().join("data/log").is_dir());
}
