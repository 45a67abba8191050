//! `onefold send`: one event, the way a client sends it.

use crate::args::Send;
use crate::http::{Failed, Remote};
use crate::out::say;
use hyper::Method;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

const TYPES: [&str; 6] = ["track", "identify", "page", "screen", "group", "alias"];

pub(crate) async fn run(send: Send) -> Result<ExitCode, Failed> {
    if !TYPES.contains(&send.message_type.as_str()) {
        let message =
            format!("`{}` is no type of event; expected one of {}", send.message_type, TYPES.join(", "));
        return Err(Failed::new(message));
    }
    let remote = Remote::of(&send.server);
    let write_key = match &send.write_key {
        Some(key) => key.clone(),
        None => first_key(&remote).await?,
    };
    let mut message = message(&send)?;
    message["writeKey"] = write_key.into();
    remote.ask(Method::POST, &format!("/v1/{}", send.message_type), Some(&message)).await?;
    message["writeKey"].take();
    if send.server.json {
        say!("{message}")
    } else {
        say!("accepted: {}", message["messageId"])
    }
    Ok(ExitCode::SUCCESS)
}

fn message(send: &Send) -> Result<Value, Failed> {
    let object = |name: &str, text: &Option<String>| -> Result<Option<Value>, Failed> {
        let Some(text) = text else { return Ok(None) };
        let read = serde_json::from_str::<Map<String, Value>>(text);
        read.map(|object| Some(object.into()))
            .map_err(|error| Failed::new(format!("--{name} is no JSON object: {error}")))
    };
    let id = format!("send-{}", uuid());
    // Without anyone a message is refused; a device that nobody has is somebody new.
    let nobody = send.user_id.is_none() && send.anonymous_id.is_none();
    let anonymous_id = if nobody { Some(id.clone()) } else { send.anonymous_id.clone() };
    let mut message = json!({ "type": send.message_type, "messageId": id });
    let members = [
        ("userId", send.user_id.clone().map(Value::from)),
        ("anonymousId", anonymous_id.map(Value::from)),
        ("event", send.event.clone().map(Value::from)),
        ("name", send.name.clone().map(Value::from)),
        ("groupId", send.group_id.clone().map(Value::from)),
        ("previousId", send.previous_id.clone().map(Value::from)),
        ("properties", object("properties", &send.properties)?),
        ("traits", object("traits", &send.traits)?),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            message[name] = value;
        }
    }
    Ok(message)
}

/// Sixteen random bytes as hexadecimal digits.
fn uuid() -> String {
    let mut bytes = [0u8; 16];
    // Without randomness the clock tells two calls apart.
    if getrandom::fill(&mut bytes).is_err() {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        bytes = since.as_nanos().to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn first_key(remote: &Remote) -> Result<String, Failed> {
    let answer = remote.ask(Method::GET, "/api/workspace", None).await?;
    let sources = answer["workspace"]["sources"].as_array();
    let enabled = sources.into_iter().flatten().filter(|source| source["enabled"] != false);
    let keys = enabled.filter_map(|source| match &source["write_key"] {
        Value::Array(keys) => keys.first().and_then(Value::as_str),
        key => key.as_str(),
    });
    keys.map(str::to_owned).next().ok_or_else(|| {
        Failed::new("the workspace has no enabled source; add one and apply it, or give --write-key")
    })
}
