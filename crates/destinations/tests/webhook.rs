//! A webhook against receivers on loopback that answer whatever a receiver may answer: what the answer means.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

use onefold_connector::{Connector, Outcome, Rendered};
use onefold_destinations::connect;
use onefold_types::workspace::Destination;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// 1994-11-06T08:49:37Z.
const NOW: i64 = 784_111_777;

/// A receiver that answers each request with these bytes and closes; the requests it got, as text.
async fn receiver(answer: Vec<u8>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (mut request, mut buffer) = (Vec::new(), [0; 8_192]);
            while !is_whole(&request) {
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&buffer[..read]);
            }
            let _ = tell.send(String::from_utf8(request).unwrap());
            let _ = socket.write_all(&answer).await;
        }
    });
    (url, told)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn webhook(url: &str, more: &Value) -> Arc<dyn Connector> {
    let mut config = json!({ "url": url, "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=", "allow_private": true, "timeout_ms": 2_000 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let destination: Destination =
        serde_json::from_value(json!({ "key": "hook", "kind": "webhook", "config": config })).unwrap();
    connect(&destination).unwrap()
}

fn item(id: &str) -> Rendered {
    Rendered { id: id.to_owned(), body: format!(r#"{{"messageId":"{id}"}}"#).into_bytes() }
}

async fn outcome(answer: &str) -> Outcome {
    let (url, _told) = receiver(answer.as_bytes().to_vec()).await;
    webhook(&url, &json!({})).deliver(&[item("ofx_1")], NOW).await.remove(0)
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_or_a_date_and_garbage_is_none() {
    for (value, expected) in [
        ("7", Some(7)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(252_618_189_022)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("-1", None),
        ("later", None),
        ("\u{e9}\u{e9}", None),
    ] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let answer = format!("HTTP/1.1 {status}\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
            let Outcome::Retry { after, .. } = outcome(&answer).await else { panic!("{value}") };
            assert_eq!(after, expected.map(Duration::from_secs), "{value}");
        }
    }
}

#[tokio::test]
async fn absurd_answers_are_failures_unless_they_have_a_status() {
    for (answer, expected) in [
        ("", "retry"),
        ("\u{16}\u{3}\u{1} what?\r\n\r\n", "retry"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "retry"),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", "retry"),
        ("HTTP/1.1 20", "retry"),
        ("HTTP/9.9 200 OK\r\n\r\n", "retry"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\npart", "delivered"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "delivered"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n", "retry"),
        ("HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\npart", "retry"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n",
            "retry",
        ),
        ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "retry"),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "retry"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "retry"),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "retry at a time"),
        ("HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n", "refused"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\u{0}\u{1}\u{1b}[", "delivered"),
    ] {
        let found = match outcome(answer).await {
            Outcome::Delivered(_) => "delivered",
            Outcome::Retry { after: None, .. } => "retry",
            Outcome::Retry { .. } => "retry at a time",
            Outcome::Refused(_) => "refused",
            Outcome::RefusedTogether(_) => "refused together",
        };
        assert_eq!(found, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, mut followed) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let Outcome::Retry { answer, .. } = outcome(&answer).await else { panic!("{status}") };
        assert!(answer.text.contains(&elsewhere), "{}", answer.text);
    }
    assert!(followed.try_recv().is_err());
}

#[tokio::test]
async fn the_same_batch_is_the_same_request_and_has_an_outcome_for_each_item() {
    let (url, mut told) =
        receiver(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()).await;
    let hook =
        webhook(&url, &json!({ "batch": 3, "headers": { "authorization": "Bearer x", "User-Agent": "me" } }));
    let items = [item("ofx_1"), item("ofx_2")];
    assert_eq!(hook.deliver(&items, NOW).await.len(), 2);
    assert_eq!(hook.deliver(&items, NOW).await.len(), 2);
    let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
    assert_eq!(first, second);
    assert!(first.ends_with(r#"{"batch":[{"messageId":"ofx_1"},{"messageId":"ofx_2"}]}"#), "{first}");
    let head = first.to_lowercase();
    for header in [
        "authorization: bearer x",
        "user-agent: me",
        "content-type: application/json",
        "webhook-timestamp: 784111777",
    ] {
        assert_eq!(head.matches(header).count(), 1, "{header} in {head}");
    }
    assert_eq!(head.matches("user-agent:").count(), 1);
    hook.deliver(&items[..1], NOW).await;
    let id =
        |request: &str| request.lines().find(|line| line.starts_with("webhook-id: ")).unwrap().to_owned();
    assert_ne!(id(&told.recv().await.unwrap()), id(&first), "another batch has another id");
}

/// The connector sends one request and says what it knows; what follows is delivery's.
#[tokio::test]
async fn a_refused_batch_says_whether_one_message_may_be_why() {
    for (status, together) in [
        (400, true),
        (409, true),
        (413, true),
        (422, true),
        (401, false),
        (403, false),
        (404, false),
        (405, false),
        (410, false),
        (308, false),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let (url, mut told) = receiver(answer.into_bytes()).await;
        let hook = webhook(&url, &json!({ "batch": 3 }));
        let outcomes = hook.deliver(&[item("ofx_1"), item("ofx_2"), item("ofx_3")], NOW).await;
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            let (Outcome::RefusedTogether(said) | Outcome::Retry { answer: said, .. }) = &outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(said.status, status);
            assert_eq!(matches!(outcome, Outcome::RefusedTogether(_)), together, "{status}");
        }
        told.recv().await.unwrap();
        // One message of such a destination is a batch too, and its refusal is its own.
        let alone = hook.deliver(&[item("ofx_1")], NOW).await;
        assert_eq!(matches!(alone[..], [Outcome::Refused(_)]), together, "{alone:?}");
        let request = told.recv().await.unwrap();
        assert!(request.ends_with(r#"{"batch":[{"messageId":"ofx_1"}]}"#), "{request}");
        assert!(told.try_recv().is_err(), "{status}: one request for each call");
    }
}

#[tokio::test]
async fn a_private_address_is_not_called_unless_allowed() {
    let (url, mut told) = receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    for url in
        [url.clone(), url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")]
    {
        let hook = webhook(&url, &json!({ "allow_private": false }));
        let Outcome::Retry { after: None, answer } = hook.deliver(&[item("ofx_1")], NOW).await.remove(0)
        else {
            panic!("{url}")
        };
        assert!(answer.status == 0 && answer.text.contains("allow_private"), "{}", answer.text);
    }
    assert!(told.try_recv().is_err());
}
