//! `onefold tail`: what is happening now, a line each.

use crate::args::Tail;
use crate::commands::text::clean;
use crate::http::{Failed, Remote, encoded};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

pub(crate) async fn run(tail: Tail) -> Result<ExitCode, Failed> {
    let mut path = "/api/live".to_owned();
    if let Some(filter) = &tail.filter {
        onefold_audience::parse_selector(filter).map_err(|error| Failed::new(error.render(filter)))?;
        path = format!("/api/live?where={}", encoded(filter));
    }
    let mut pending = Vec::new();
    let mut left = tail.count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout();
    Remote::of(&tail.server)
        .stream(&path, &mut |chunk| {
            pending.extend_from_slice(chunk);
            while let Some(end) = pending.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let Some(line) = line(&String::from_utf8_lossy(&event), &tail) else { continue };
                // A reader that went away ends the stream.
                if left == 0 || writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    return false;
                }
                left -= 1;
            }
            left > 0
        })
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// A server-sent event as a line; `None` for one that was not asked for.
fn line(event: &str, tail: &Tail) -> Option<String> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (kind, data) = (field("event:")?, field("data:")?);
    if !(tail.all || matches!(kind, "folded" | "missed")) {
        return None;
    }
    let data: Value = serde_json::from_str(data).ok()?;
    if tail.server.json {
        return Some(serde_json::json!({ "happening": kind, "data": data }).to_string());
    }
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    // Senders choose names and ids.
    Some(clean(&match kind {
        "folded" => {
            let message = &data["message"];
            let who = message["userId"].as_str().or(message["anonymousId"].as_str()).unwrap_or("-");
            let content = ["properties", "traits"].iter().find_map(|name| message.get(*name));
            let content = content.map(Value::to_string).unwrap_or_default();
            format!("{} {} {} {who} {content}", text("timestamp"), text("type"), text("name"))
        }
        "missed" => format!("({} more than this line could follow)", data["count"]),
        _ => format!("{kind} {data}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn tail(more: &[&str]) -> Tail {
        let Command::Tail(tail) = Args::parse_from([&["onefold", "tail"], more].concat()).command else {
            unreachable!("`tail` is the command")
        };
        tail
    }

    #[test]
    fn what_senders_choose_does_not_reach_the_terminal_as_it_is() {
        // As the server writes it: JSON leaves what is beyond ASCII as it is.
        let data = serde_json::json!({ "timestamp": "t", "type": "track", "name": "\u{1b}]0;owned\u{7}",
            "message": { "userId": "\u{9b}2J\u{202e}u1", "properties": { "a": "\u{9b}31m\u{7f}" } } });
        let shown = line(&format!("event: folded\ndata: {data}\n\n"), &tail(&[])).unwrap();
        assert_eq!(shown, "t track \\u{1b}]0;owned\\u{7} \\u{9b}2J\\u{202e}u1 {\"a\":\"\\u{9b}31m\\u{7f}\"}");
        let split = "event: split\ndata: {\"id\":\"\u{9b}2J\"}\n\n";
        assert_eq!(line(split, &tail(&["--all"])).unwrap(), "split {\"id\":\"\\u{9b}2J\"}");
    }
}
