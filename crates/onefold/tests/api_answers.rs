//! What the API answers is what its description says: every JSON answer of every route, held against the schema in
//! `/api/openapi.json`. A member that the schema does not name fails too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Server, until};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;

/// What a schema may say here: a word that the check does not know would be a check that is not made.
const WORDS: &[&str] = &[
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "contentMediaType",
    "contentSchema",
    "description",
    "enum",
    "format",
    "items",
    "maximum",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "type",
];

/// The description of an API.
struct Description(Value);

impl Description {
    /// What a schema says, followed to where it is said.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let place = reference.strip_prefix('#').unwrap();
                let found = self.0.pointer(place).unwrap_or_else(|| panic!("{reference} leads nowhere"));
                self.resolved(found)
            }
            None => schema,
        }
    }

    /// Whether `value` is what `schema` says; if not, what is wrong and where.
    fn check(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = match self.resolved(schema) {
            Value::Bool(true) => return Ok(()),
            Value::Object(schema) => schema,
            other => return Err(format!("{place}: the schema is {other}")),
        };
        if let Some(word) = schema.keys().find(|word| !WORDS.contains(&word.as_str())) {
            return Err(format!("{place}: the schema says `{word}`, which this test does not know"));
        }
        for (word, at_most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let Some(choices) = schema.get(word) else { continue };
            let checked: Vec<_> =
                choices.as_array().unwrap().iter().map(|choice| self.check(choice, value, place)).collect();
            let fitting = checked.iter().filter(|checked| checked.is_ok()).count();
            if fitting == 0 || fitting > at_most {
                return Err(format!("{place}: {fitting} of {word} fit {value}: {checked:#?}"));
            }
        }
        if let Some(types) = schema.get("type") {
            let types = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
            if !types.iter().any(|known| is_of(known.as_str().unwrap(), value)) {
                return Err(format!("{place}: {value} is none of {types:?}"));
            }
        }
        if schema.get("const").is_some_and(|expected| expected != value) {
            return Err(format!("{place}: {value} is not {}", schema["const"]));
        }
        if let Some(Value::Array(known)) = schema.get("enum")
            && !known.contains(value)
        {
            return Err(format!("{place}: {value} is none of {known:?}"));
        }
        if let Some(minimum) = schema.get("minimum")
            && value.as_f64().zip(minimum.as_f64()).is_some_and(|(value, least)| value < least)
        {
            return Err(format!("{place}: {value} is less than {minimum}"));
        }
        match value {
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return Ok(()) };
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, item)| self.check(schema, item, &format!("{place}[{index}]")))
            }
            Value::Object(members) => self.check_members(schema, members, place),
            _ => Ok(()),
        }
    }

    fn check_members(
        &self,
        schema: &Map<String, Value>,
        members: &Map<String, Value>,
        place: &str,
    ) -> Result<(), String> {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !members.contains_key(name.as_str().unwrap()) {
                return Err(format!("{place}: {name} is missing in {members:?}"));
            }
        }
        // A schema that says nothing of members is of free JSON.
        if !["type", "properties", "anyOf", "oneOf"].iter().any(|word| schema.contains_key(*word)) {
            return Ok(());
        }
        let is_choice = ["anyOf", "oneOf"].iter().any(|word| schema.contains_key(*word));
        for (name, member) in members {
            let place = format!("{place}.{name}");
            let said = schema.get("properties").and_then(|known| known.get(name));
            match said.or(schema.get("additionalProperties")) {
                Some(schema) => self.check(schema, member, &place)?,
                // The choice has held it.
                None if is_choice => {}
                None => return Err(format!("{place}: the schema does not say this member")),
            }
        }
        Ok(())
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

/// The schema of the success answer of an operation, by media type.
fn answers(operation: &Value) -> &Map<String, Value> {
    operation["responses"]["200"]["content"].as_object().unwrap()
}

/// A webhook that refuses whatever it is sent; its address.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What it was sent does not matter; a caller that went away does not either.
            drop(stream.read(&mut [0; 8 << 10]));
            drop(
                stream
                    .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            );
        }
    });
    format!("http://{address}/?key=S3")
}

const SECRET: &str = "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=";

fn workspace(hook: &str) -> Value {
    json!({
        "version": 1, "workspace": "acme", "timezone": "Europe/Amsterdam",
        "sources": [{ "key": "web", "kind": "browser", "write_key": "wk", "personalize": ["buyers", "revenue", "plan"] }],
        "identity": { "preset": "product", "blocked": ["nobody@example.com"] },
        "computed_traits": [{ "key": "revenue", "value": "count(\"Order Completed\")" }],
        "audiences": [
            { "key": "buyers", "name": "Buyers", "where": "did(\"Order Completed\")" },
            { "key": "others", "where": "did(\"Nothing\")", "enabled": false },
        ],
        "destinations": [{ "key": "hook", "kind": "webhook", "audiences": "*", "events": ["\"Order Completed\""],
            "config": { "url": hook, "secret": SECRET, "allow_private": true } }],
    })
}

/// Calls and holds each answer against the description.
struct Calls<'a> {
    server: &'a Server,
    description: Description,
    made: RefCell<BTreeSet<String>>,
}

impl Calls<'_> {
    /// The answer to `method` on `path`, which is `template` with its parameters, and maybe a query.
    fn call(&self, method: &str, template: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.server.request(method, path, &text);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        let operation = &self.description.0["paths"][template][method.to_ascii_lowercase()];
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let checked = self.description.check(schema, &answer, path);
        checked.unwrap_or_else(|wrong| panic!("{method} {path}: {wrong}\nin {answer:#}"));
        self.made.borrow_mut().insert(format!("{method} {template}"));
        answer
    }

    fn get(&self, path: &str) -> Value {
        self.call("GET", path.split('?').next().unwrap(), path, &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path.split('?').next().unwrap(), path, body)
    }

    /// What is refused is a problem as described.
    fn refused(&self, method: &str, path: &str, body: &Value, expected: u16) -> Value {
        let (status, problem) = self.server.request(method, path, &body.to_string());
        assert_eq!(status, expected, "{method} {path}: {problem}");
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        self.description.check(&schema, &problem, path).unwrap();
        problem
    }
}

fn profiles(calls: &Calls<'_>) {
    let template = "/v1/spaces/{workspace}/collections/{collection}/profiles/{id}/{part}";
    for of in [
        "users/profiles/user_id:ada/traits",
        "users/profiles/user_id:ada/traits?verbose=true",
        "users/profiles/user_id:ada/traits?limit=1",
        "users/profiles/user_id:ada/external_ids",
        "users/profiles/user_id:ada/events?limit=1",
        "users/profiles/user_id:ada/links",
        "users/profiles/user_id:ada/audiences",
        "users/profiles/user_id:ada/audiences?verbose=true",
        "users/profiles/user_id:ada/metadata",
        "accounts/profiles/group_id:inc/traits?verbose=true",
        "accounts/profiles/group_id:inc/external_ids",
        "accounts/profiles/group_id:inc/links",
        "accounts/profiles/group_id:inc/metadata",
    ] {
        let answer = calls.call("GET", template, &format!("/v1/spaces/acme/collections/{of}"), &Value::Null);
        let told = answer.as_object().unwrap().values().next().unwrap();
        let is_empty = told.as_array().map_or(told.as_object().is_some_and(Map::is_empty), Vec::is_empty);
        assert!(!is_empty, "{of} shows nothing: {answer}");
    }
    let personal = calls.get("/v1/personalize?anonymous_id=a1&write_key=wk");
    assert_eq!(
        personal,
        json!({ "audiences": { "buyers": true }, "traits": { "plan": "pro", "revenue": 1 } })
    );
    calls.refused("GET", "/v1/personalize?anonymous_id=a1&write_key=other", &Value::Null, 401);
}

fn identity(calls: &Calls<'_>) {
    for (b, kind) in [
        ("user_id:eve", "no_evidence"),
        ("user_id:never", "unknown"),
        ("email:nobody@example.com", "blocked"),
        ("user_id:ada", ""),
    ] {
        let why = calls.get(&format!("/api/why?a=anonymous_id:a1&b={b}"));
        let (together, reason) = (&why["together"], why["reason"]["kind"].as_str().unwrap_or_default());
        assert_eq!((together, reason), (&json!(kind.is_empty()), kind), "{why}");
    }
    let id = |id_type: &str, id: &str| json!({ "type": id_type, "id": id });
    let (ada, eve, device) = (id("user_id", "ada"), id("user_id", "eve"), id("anonymous_id", "a1"));
    let decide = |decision: Value| calls.post("/api/decisions", &decision);
    let refused =
        calls.refused("POST", "/api/decisions", &json!({ "kind": "link", "a": ada, "b": eve }), 409);
    assert_eq!(refused["witnesses"], json!([ada, eve]));
    decide(json!({ "kind": "force", "a": ada, "b": eve }));
    decide(json!({ "kind": "link", "a": ada, "b": eve, "reason": "same mail", "operator": "bo" }));
    calls.get("/api/why?a=user_id:ada&b=user_id:eve");
    decide(json!({ "kind": "undo", "number": 2 }));
    decide(json!({ "kind": "issue_customer_key", "id": ada }));
    decide(json!({ "kind": "cut", "a": ada, "b": device }));
    let apart = calls.get("/api/why?a=user_id:ada&b=anonymous_id:a1");
    assert_eq!(apart["reason"]["kind"], "rejected", "{apart}");
    decide(json!({ "kind": "block", "id": id("email", "list@example.com") }));
    decide(json!({ "kind": "unblock", "id": id("email", "list@example.com") }));
    decide(json!({ "kind": "delete_message", "message_id": "m-eve" }));
    decide(json!({ "kind": "delete_profile", "id": eve }));
    assert_eq!(calls.get("/api/decisions?limit=1000")["data"].as_array().unwrap().len(), 9);
    let changed = calls.get("/api/transitions?limit=1000");
    let kinds: BTreeSet<&String> = changed["data"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|item| item["transition"].as_object().unwrap().keys())
        .collect();
    assert!(kinds.contains(&"Merged".to_owned()) && kinds.contains(&"Split".to_owned()), "{changed}");
    let alike = calls.get("/api/near-duplicates");
    assert_eq!(alike["data"].as_array().unwrap().len(), 1, "{alike}");
}

fn refused_items(calls: &Calls<'_>) {
    assert_eq!(calls.get("/api/quarantine")["data"].as_array().unwrap().len(), 2);
    let items = calls.get("/api/quarantine?bodies=true")["data"].clone();
    let mended = json!({ "body": { "type": "track", "event": "Mended", "userId": "ada" } });
    let (send, discard) = ("/api/quarantine/{number}/send", "/api/quarantine/{number}/discard");
    calls.call("POST", send, &send.replace("{number}", &items[0]["number"].to_string()), &mended);
    calls.call("POST", discard, &discard.replace("{number}", &items[1]["number"].to_string()), &Value::Null);
    calls.refused("POST", "/api/quarantine/99/discard", &Value::Null, 409);
}

fn deliveries(calls: &Calls<'_>) {
    let template = "/api/destinations/{key}/dead-letters";
    let path = "/api/destinations/hook/dead-letters";
    until("no dead letters", || calls.server.get(path)["data"].as_array().unwrap().len() >= 2);
    let status = calls.get("/api/destinations")["data"][0].clone();
    assert!(status["last_error"].is_object(), "{status}");
    let number = calls.call("GET", template, path, &Value::Null)["data"][0]["number"].to_string();
    let all = calls.call(
        "POST",
        &format!("{template}/retry-all"),
        &format!("{path}/retry-all?limit=1"),
        &Value::Null,
    );
    assert_eq!(all["failures"].as_array().unwrap().len(), 1, "{all}");
    for what in ["retry", "discard"] {
        let template = format!("{template}/{{sequence}}/{what}");
        calls.call("POST", &template, &format!("{path}/{number}/{what}"), &Value::Null);
    }
}

fn workspaces(calls: &Calls<'_>, hook: &str) {
    let in_force = calls.get("/api/workspace");
    let printed = &in_force["workspace"];
    let mut expected = workspace(hook);
    expected["destinations"][0]["config"]["url"] = hook.replace("S3", "***").into();
    expected["destinations"][0]["config"]["secret"] = "***".into();
    for name in ["version", "workspace", "timezone", "computed_traits", "audiences", "destinations"] {
        assert_eq!(printed[name], expected[name], "{name}");
    }
    assert_eq!(printed["identity"]["blocked"], expected["identity"]["blocked"]);
    let sizes = calls.get("/api/audiences?limit=1");
    assert_eq!((&sizes["data"][0]["key"], &sizes["cursor"]), (&json!("buyers"), &json!("buyers")));

    let mut changed = expected.clone();
    changed["identity"] = json!({ "preset": "b2b" });
    changed["audiences"][0] =
        json!({ "key": "clients", "renamed_from": "buyers", "where": "did(\"Order Completed\")" });
    changed["audiences"][1]["enabled"] = true.into();
    let planned = calls.post("/api/plan?prune=true", &changed);
    let actions: Vec<&Value> = planned["changes"].as_array().unwrap().iter().map(|c| &c["action"]).collect();
    assert_eq!(actions, ["rename", "change", "change"], "{planned}");
    assert!(planned["identity"]["profiles_before"].is_u64(), "{planned}");
    calls.post("/api/apply", &changed);
    let problem = calls.refused("POST", "/api/plan", &json!({ "version": 2 }), 422);
    assert!(!problem["problems"].as_array().unwrap().is_empty(), "{problem}");
    for (expression, kind) in [("did(\"A\")", "condition"), ("count(\"A\")", "value")] {
        assert_eq!(calls.post("/api/check", &json!({ "expression": expression }))["kind"], kind);
    }
}

fn send(server: &Server) {
    let mut messages = [
        json!({ "type": "track", "event": "Order Completed", "userId": "ada", "anonymousId": "a1", "properties": { "x": [1.5] } }),
        json!({ "type": "identify", "userId": "ada", "anonymousId": "a1", "traits": { "plan": "pro" } }),
        json!({ "type": "group", "userId": "ada", "groupId": "inc", "traits": { "name": "Inc" } }),
        json!({ "type": "page", "name": "Home", "userId": "ADA", "messageId": "m-ADA" }),
        json!({ "type": "track", "event": "Seen", "userId": "eve", "messageId": "m-eve" }),
        json!({ "type": "page", "userId": "eve" }),
        json!({ "type": "track", "userId": "eve" }),
        json!({ "type": "track", "userId": "ada" }),
    ];
    for message in &mut messages {
        message["writeKey"] = "wk".into();
    }
    server.post("/v1/batch", &json!({ "writeKey": "wk", "batch": messages }));
    server.drained();
}

#[test]
fn every_answer_is_what_its_description_says() {
    let folder = tempfile::tempdir().unwrap();
    let hook = refusing();
    let server = Server::start(folder.path(), &workspace(&hook).to_string());
    send(&server);
    let description = Description(server.get("/api/openapi.json"));
    let calls = Calls { server: &server, description, made: RefCell::default() };
    calls.get("/api/status");
    profiles(&calls);
    identity(&calls);
    refused_items(&calls);
    deliveries(&calls);
    workspaces(&calls, &hook);

    let mut described = BTreeSet::new();
    for (path, operations) in calls.description.0["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if answers(operation).contains_key("application/json") {
                described.insert(format!("{} {path}", method.to_ascii_uppercase()));
            }
        }
    }
    assert_eq!(*calls.made.borrow(), described, "every route that answers JSON was asked");
    assert!(described.len() > 20, "{described:?}");
}

#[test]
fn every_answer_and_every_member_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "version: 1\nworkspace: acme\n");
    let description = Description(server.get("/api/openapi.json"));
    for (path, operations) in description.0["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            for (media_type, content) in answers(operation) {
                let schema = description.resolved(&content["schema"]);
                let says = ["type", "anyOf"].iter().any(|word| schema.get(word).is_some());
                assert!(says, "{path} as {media_type}: {schema}");
            }
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"];
            assert_eq!(problem, &json!({ "$ref": "#/components/schemas/Problem" }), "{path}");
        }
    }
    let schemas = description.0["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        undescribed(schema, name);
    }
    for expected in ["Problem", "Identifier", "Decision", "Hop", "Page_of_Event", "DeadLetter", "LiveEvent"] {
        assert!(schemas.contains_key(expected), "{expected} is not in {:?}", schemas.keys());
    }
    let events = &schemas["Page_of_Event"]["properties"];
    assert_eq!(events["data"]["items"]["$ref"], "#/components/schemas/Event");
    assert!(
        schemas["Event"]["properties"]["properties"]["description"].as_str().unwrap().contains("any JSON")
    );
    assert_eq!(schemas["Event"]["properties"]["received_at"]["format"], "date-time");
}

/// Fails at a member without a description.
fn undescribed(schema: &Value, place: &str) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        // The tag of a choice: the choice is described.
        let is_tag =
            member.get("const").is_some() || schema.get("description").is_some() && place.ends_with('|');
        let is_described = is_tag || member["description"].is_string();
        assert!(is_described, "{place}.{name} has no description: {member}");
        undescribed(member, &format!("{place}.{name}"));
    }
    for choice in ["anyOf", "oneOf"].iter().flat_map(|word| schema[*word].as_array().into_iter().flatten()) {
        undescribed(choice, &format!("{place}|"));
    }
}
