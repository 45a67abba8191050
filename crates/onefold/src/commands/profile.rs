//! `onefold profile`: who someone is, what they did, and why.

use crate::args::{Ask, Profile};
use crate::http::{Failed, Remote};
use hyper::Method;
use serde_json::Value;
use std::process::ExitCode;

pub(crate) async fn run(profile: Profile) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&profile.server);
    match &profile.ask {
        Ask::Get { id } => {
            let mut whole = serde_json::Map::new();
            for part in ["metadata", "external_ids", "audiences", "traits?verbose=true", "links"] {
                let name = part.split('?').next().unwrap_or(part);
                whole.insert(name.to_owned(), part_of(&remote, id, part).await?);
            }
            print(&Value::Object(whole));
        }
        Ask::Timeline { id } => {
            let events = part_of(&remote, id, "events?limit=50").await?;
            if profile.server.json {
                print(&events);
            } else {
                for event in events["data"].as_array().into_iter().flatten() {
                    let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
                    println!(
                        "{}  {:8} {:24} {}",
                        text("timestamp"),
                        text("type"),
                        text("event"),
                        event["properties"]
                    );
                }
            }
        }
        Ask::Why { a, b } => {
            let answer =
                remote.ask(Method::GET, &format!("/api/why?a={}&b={}", encoded(a), encoded(b)), None).await?;
            print(&answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(value: &Value) {
    println!("{value:#}");
}

async fn part_of(remote: &Remote, id: &str, part: &str) -> Result<Value, Failed> {
    let workspace = remote.ask(Method::GET, "/api/workspace", None).await?;
    let workspace = workspace["workspace"]["workspace"].as_str().unwrap_or_default().to_owned();
    remote
        .ask(
            Method::GET,
            &format!("/v1/spaces/{workspace}/collections/users/profiles/{}/{part}", encoded(id)),
            None,
        )
        .await
}

/// Percent-encodes everything but what stands in a path or query as itself (RFC 3986, unreserved).
fn encoded(text: &str) -> String {
    let keep =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@');
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
