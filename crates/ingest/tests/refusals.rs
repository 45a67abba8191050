//! What is refused: with which status, what is kept of it, and that nothing harms the server (INGEST-2, -3, -4).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use common::{Api, NOW, gzip};
use onefold_ingest::Limits;
use onefold_log::{Log, MemoryLogOptions};
use onefold_types::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

#[tokio::test]
async fn a_single_bad_message_is_400_with_its_reason_and_is_kept() {
    let api = Api::new();
    let answer = api.post_json("/v1/track", &json!({ "userId": "u", "writeKey": "wk_server" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "missing_event"));
    let kept = api.rejected();
    assert_eq!((kept.len(), kept[0].code.as_str(), kept[0].source.as_str()), (1, "missing_event", "server"));
    assert!(!String::from_utf8_lossy(&kept[0].body).contains("wk_server"));
}

#[tokio::test]
async fn the_good_items_of_a_batch_are_taken_and_the_bad_ones_named() {
    let api = Api::new();
    let batch = json!({ "batch": [
        { "type": "track", "event": "A", "userId": "u" },
        { "type": "track", "userId": "u" },
        { "type": "page" },
        7,
        { "type": "page", "anonymousId": "a", "properties": { "big": "x".repeat(40_000) } },
        { "type": "page", "anonymousId": "a" },
    ] });
    let answer = api.post_json("/v1/batch", &batch).await;
    assert_eq!(answer.status, StatusCode::OK);
    let rejected: Vec<(u64, String)> = answer.json()["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["code"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [(1, "missing_event"), (2, "no_identifier"), (3, "not_an_object"), (4, "too_large")];
    assert_eq!(rejected, expected.map(|(i, c)| (i, c.to_owned())));
    assert_eq!((api.messages().len(), api.rejected().len()), (2, 4));
    let none = api.post_json("/v1/batch", &json!({ "batch": [{}] })).await;
    assert_eq!((none.status, none.code().as_str()), (StatusCode::BAD_REQUEST, "all_rejected"));
    assert_eq!(none.json()["rejected"][0]["code"], "missing_type");
}

#[tokio::test]
async fn an_empty_batch_is_taken() {
    assert_eq!(Api::new().post_json("/v1/batch", &json!({ "batch": [] })).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bad_json_is_400_and_kept_if_its_sender_is_known() {
    let api = Api::new();
    for body in ["", "{", "null", "\u{0}", "[1]", "{\"a\":1e400"] {
        let answer = api.post("/v1/page", body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}: {:?}", answer.json());
    }
    assert_eq!(api.rejected().len(), 6);
    assert_eq!(api.ingest.metrics().snapshot().rejected["invalid_json"], 6);
    assert_eq!(api.post("/v1/page", vec![0xff, 0xfe]).await.code(), "invalid_json");
    assert_eq!(api.post_json("/v1/batch", &json!({ "batch": 3 })).await.code(), "missing_batch");
}

#[tokio::test]
async fn a_write_key_is_in_nothing_that_is_kept_however_it_came() {
    let api = Api::new();
    for (path, body) in [
        ("/v1/page", r#"{"writeKey":"wk_server","userId":"u",,}"#),
        ("/v1/page", r#"{"writeKey":"wk_web","userId":"u" wk_next"#),
        ("/v1/page", r#"{"writeKey":"wk_server","userId":"u","writeKey":"wk_server"}"#),
        ("/v1/page", r#"{"write\u004bey":"wk_server","userId":"u"}"#),
        ("/v1/page", r#"{"write\u004Bey":"wk_server"}"#),
        (
            "/v1/batch",
            r#"{"batch":[{"type":"page","userId":"u","writeKey":"wk_server","writeKey":"wk_server"}]}"#,
        ),
        ("/v1/batch", r#"{"batch":[{"\u0077riteKey":"wk_server"}]}"#),
    ] {
        api.post(path, body).await;
    }
    let bodies: Vec<Vec<u8>> = api
        .messages()
        .into_iter()
        .map(|m| m.body)
        .chain(api.rejected().into_iter().map(|r| r.body))
        .collect();
    assert_eq!(bodies.len(), 7);
    for body in bodies {
        let body = String::from_utf8(body).unwrap();
        assert!(!body.contains("wk_"), "{body}");
    }
}

#[tokio::test]
async fn what_is_refused_is_kept_whole_up_to_its_limit_and_marked_beyond() {
    let limits = Limits { rejected_bytes: 50_000, ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    let item =
        |letters: usize| json!({ "type": "page", "userId": "u", "properties": { "x": "é".repeat(letters) } });
    let answer = api.post_json("/v1/batch", &json!({ "batch": [item(20_000), item(30_000)] })).await;
    assert_eq!(answer.code(), "all_rejected");
    let kept: Vec<String> =
        api.rejected().into_iter().map(|item| String::from_utf8(item.body).unwrap()).collect();
    assert_eq!(kept[0], item(20_000).to_string());
    assert!(
        kept[1].starts_with(r#"{"type":"page","#)
            && kept[1].ends_with(&format!("é…[cut: {} bytes]", item(30_000).to_string().len())),
        "{}",
        kept[1].len()
    );
    // Sent again: the whole one is what it was, of the other it is said.
    let refused = |text: String, api: Api| async move {
        api.ingest.send_again("server", &text, "again", NOW).await.unwrap_err().code
    };
    assert_eq!(refused(kept[0].clone(), Api::new()).await, "too_large");
    assert_eq!(refused(kept[1].clone(), Api::new()).await, "truncated");
    let roomy = Api::with(Limits { item_bytes: 100_000, ..Limits::default() }, MemoryLogOptions::default());
    roomy.ingest.send_again("server", &kept[0], "again", NOW).await.unwrap();
    assert_eq!(roomy.messages().len(), 1);
}

#[tokio::test]
async fn a_single_call_has_its_own_limit_whatever_an_item_s_is() {
    let page = |bytes: usize| json!({ "userId": "u", "properties": { "x": "y".repeat(bytes) } });
    let api = Api::with(Limits { single_bytes: 65_536, ..Limits::default() }, MemoryLogOptions::default());
    assert_eq!(api.post_json("/v1/page", &page(40_000)).await.status, StatusCode::OK);
    assert_eq!(api.post_json("/v1/page", &page(65_536)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let api = Api::with(Limits { item_bytes: 100, ..Limits::default() }, MemoryLogOptions::default());
    assert_eq!(api.post_json("/v1/page", &page(100)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn properties_and_traits_are_as_many_as_allowed() {
    let api = Api::with(Limits { properties: 5, ..Limits::default() }, MemoryLogOptions::default());
    let of = |count: usize| (0..count).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>();
    for (member, path) in [("properties", "/v1/page"), ("traits", "/v1/identify")] {
        let answer = api.post_json(path, &json!({ "userId": "u", member: of(6) })).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "too_many_properties"));
        let answer = api.post_json(path, &json!({ "userId": "u", member: of(5) })).await;
        assert_eq!(answer.status, StatusCode::OK, "{member}");
    }
    let long = json!({ "userId": "u", "properties": { "one": "x".repeat(20_000) } });
    assert_eq!(api.post_json("/v1/page", &long).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_one_is_no_identifier() {
    let api = Api::new();
    let answer = api.post_json("/v1/page", &json!({ "userId": "" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "no_identifier"));
    assert_eq!(
        api.post_json("/v1/page", &json!({ "userId": "", "anonymousId": "a" })).await.status,
        StatusCode::OK
    );
    assert_eq!(api.messages()[0].ids, [("anonymous_id".to_owned(), "a".to_owned())]);
}

#[tokio::test]
async fn a_pixel_that_is_not_taken_is_counted() {
    let pixel = |api: &Api, data: Value| {
        let data =
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, data.to_string());
        let router = api.router.clone();
        async move {
            let request = Request::get(format!("/v1/pixel/track?data={data}")).body(Body::empty()).unwrap();
            assert_eq!(tower::ServiceExt::oneshot(router, request).await.unwrap().status(), StatusCode::OK);
        }
    };
    let counted = |api: &Api| api.ingest.metrics().snapshot().rejected.into_iter().collect::<Vec<_>>();
    let one = |code: &str| vec![(code.to_owned(), 1)];
    let opened = json!({ "writeKey": "wk_slow", "userId": "u", "event": "Opened" });

    let api = Api::new();
    pixel(&api, json!({ "writeKey": "nobody's", "userId": "u", "event": "Opened" })).await;
    assert_eq!(counted(&api), one("unknown_write_key"));

    let api = Api::new();
    for _ in 0..3 {
        pixel(&api, opened.clone()).await;
    }
    assert_eq!(counted(&api), one("rate_limited"));

    let api = Api::new();
    api.catalogue.store(None);
    pixel(&api, opened.clone()).await;
    assert_eq!(counted(&api), one("not_ready"));

    let full = MemoryLogOptions { queue_bytes_max: 1, ..MemoryLogOptions::default() };
    let api = Api::with(Limits::default(), full);
    api.log.hold();
    api.log.append(b"waits".to_vec(), Box::new(|_| {}));
    pixel(&api, opened).await;
    assert_eq!(counted(&api), one("busy"));

    // What is kept is counted once, where everything kept is.
    let api = Api::new();
    pixel(&api, json!({ "writeKey": "wk_web", "userId": "u" })).await;
    assert_eq!(counted(&api), one("missing_event"));
    let api = Api::new();
    pixel(&api, json!([])).await;
    assert_eq!(counted(&api), one("invalid_json"));
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let api = Api::new();
    let large = json!({ "userId": "u", "properties": { "x": "y".repeat(33 << 10) } });
    assert_eq!(api.post_json("/v1/page", &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let items = vec![json!({ "type": "page", "userId": "u" }); 2_501];
    assert_eq!(api.post_json("/v1/batch", &json!({ "batch": items })).await.code(), "too_many_items");
    let huge =
        json!({ "batch": [{ "type": "page", "userId": "u", "properties": { "x": "y".repeat(600 << 10) } }] });
    assert_eq!(api.post_json("/v1/batch", &huge).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn names_and_ids_have_a_limit_alone_and_in_a_batch() {
    let api = Api::new();
    let (longest, longer) = ("x".repeat(1_024), "x".repeat(1_025));
    let track = |event: &str, user: &str| json!({ "type": "track", "event": event, "userId": user });
    assert_eq!(api.post_json("/v1/track", &track(&longest, &longest)).await.status, StatusCode::OK);
    let group = json!({ "type": "group", "groupId": longer, "userId": "u" });
    let email = json!({ "type": "identify", "traits": { "email": format!("{longer}@x.test") } });
    let cases = [
        ("/v1/track", track(&longer, "u"), "name_too_long"),
        ("/v1/page", json!({ "type": "page", "name": longer, "userId": "u" }), "name_too_long"),
        ("/v1/group", group, "group_id_too_long"),
        ("/v1/track", track("E", &longer), "identifier_too_long"),
        ("/v1/identify", email, "identifier_too_long"),
    ];
    for (path, body, code) in &cases {
        let answer = api.post_json(path, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, *code), "{path}");
    }
    let mut items: Vec<_> = cases.iter().map(|(_, body, _)| body.clone()).collect();
    items.push(track("E", "u"));
    let answer = api.post_json("/v1/batch", &json!({ "batch": items })).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    assert_eq!(api.messages().len(), 2);
    let kept: Vec<_> = api.rejected().into_iter().map(|rejected| rejected.code).collect();
    let codes = cases.map(|(_, _, code)| code);
    assert_eq!(kept, [codes, codes].concat());
    // As told.
    let limits = Limits { name_bytes: 3, ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    assert_eq!(api.post_json("/v1/track", &track("long", "u")).await.code(), "name_too_long");
    assert_eq!(api.post_json("/v1/track", &track("E", "u")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_gigabyte_is_refused_after_the_limit_and_not_before_long() {
    let api = Api::new();
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = read.clone();
    let endless = Endless { left: 1 << 30, counter };
    let answer = api.post("/v1/batch", Body::new(endless)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(read.load(std::sync::atomic::Ordering::SeqCst) <= (500 << 10) + (64 << 10));
}

/// A body of spaces, made as it is read.
struct Endless {
    left: usize,
    counter: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let size = self.left.min(64 << 10);
        self.left -= size;
        self.counter.fetch_add(size, std::sync::atomic::Ordering::SeqCst);
        let frame = (size > 0).then(|| Ok(http_body::Frame::data(bytes::Bytes::from(vec![b' '; size]))));
        std::task::Poll::Ready(frame)
    }
}

/// A body of which so much comes and then nothing, for as long as it is kept.
struct Stalled {
    first: Option<bytes::Bytes>,
    stalled: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl http_body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        match self.first.take() {
            Some(first) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first)))),
            None => {
                self.stalled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::task::Poll::Pending
            }
        }
    }
}

/// Requests with bodies that announce 512,000 bytes, bring `bytes` and stall, until each has got so far.
async fn stalled(api: &Api, count: usize, bytes: usize) -> Vec<tokio::task::JoinHandle<()>> {
    let stalled = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let clients = (0..count).map(|_| {
        let body = Stalled { first: Some(vec![b'{'; bytes].into()), stalled: stalled.clone() };
        let request = Request::post("/v1/batch").header(header::CONTENT_LENGTH, 512_000);
        let sending = tower::ServiceExt::oneshot(api.router.clone(), request.body(Body::new(body)).unwrap());
        tokio::spawn(async move { drop(sending.await) })
    });
    let clients = clients.collect();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while stalled.load(std::sync::atomic::Ordering::SeqCst) < count {
        assert!(std::time::Instant::now() < deadline, "a request was not read");
        tokio::task::yield_now().await;
    }
    clients
}

fn gzipped(body: &Value) -> Request<Body> {
    Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(gzip(body.to_string().as_bytes())))
        .unwrap()
}

#[tokio::test]
async fn clients_that_announce_much_and_send_little_stop_nobody() {
    let api = Api::new();
    let slow = stalled(&api, 600, 1).await;
    let page = json!({ "userId": "u" });
    assert_eq!(api.post_json("/v1/page", &page).await.status, StatusCode::OK);
    let batch = json!({ "batch": [{ "type": "page", "userId": "u" }] });
    assert_eq!(api.send(gzipped(&batch)).await.status, StatusCode::OK);
    assert_eq!(api.messages().len(), 2);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_came_of_a_body_counts_until_it_is_gone() {
    let limits = Limits { in_flight_bytes: 64 << 10, ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    let page = json!({ "userId": "u", "properties": { "x": "y".repeat(10_000) } });
    let slow = stalled(&api, 3, 20_000).await;
    let answer = api.post_json("/v1/page", &page).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    // Nor can a body be inflated to a size that nobody knows.
    let batch = json!({ "batch": [{ "type": "page", "userId": "u" }] });
    assert_eq!(api.send(gzipped(&batch)).await.code(), "busy");
    for client in slow {
        client.abort();
        assert!(client.await.is_err_and(|error| error.is_cancelled()));
    }
    assert_eq!(api.post_json("/v1/page", &page).await.status, StatusCode::OK);
}

/// A body whose connection is gone.
struct Broken;

impl http_body::Body for Broken {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_to_come_again() {
    let api = Api::new();
    let body = Body::new(Broken);
    let answer = api.post("/v1/page", body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "incomplete"));
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn a_decompression_bomb_costs_what_an_honest_body_costs() {
    let api = Api::new();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100 << 10, "the bomb itself is small: {}", bomb.len());
    let request = Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(bomb))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from("not gzip"))
        .unwrap();
    assert_eq!(api.send(request).await.code(), "invalid_gzip");
}

#[tokio::test]
async fn nesting_has_a_limit() {
    let api = Api::new();
    let deep = format!(r#"{{"userId":"u","properties":{{"x":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(api.post("/v1/page", deep).await.code(), "too_deep");
}

/// Members that the JSON library takes for numbers or raw text: accepted, nobody could read the message.
#[tokio::test]
async fn a_name_that_the_json_library_keeps_for_itself_is_refused_and_kept_as_it_came() {
    let api = Api::new();
    let (odd, escaped) =
        (r#"{"$serde_json::private::Number":"x"}"#, r#"{"\u0024serde_json::private::RawValue":"{}"}"#);
    for odd in [odd, escaped] {
        let page = format!(r#"{{"type":"page","userId":"u","properties":{{"a":[{odd}]}}}}"#);
        let answer = api.post("/v1/page", page.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_field"));
        assert_eq!(api.rejected().pop().unwrap().body, page.as_bytes());
        for shared in ["context", "integrations"] {
            let batch = format!(r#"{{"{shared}":{{"a":{odd}}},"batch":[{{"type":"page","userId":"u"}}]}}"#);
            let answer = api.post("/v1/batch", batch).await;
            assert_eq!(answer.json()["rejected"][0]["code"], "invalid_field", "{shared}");
        }
    }
    // Said and not meant as a name, it is a text like any other.
    let page = json!({ "userId": "u", "properties": { "a": "$serde_json::private::Number" } });
    assert_eq!(api.post_json("/v1/page", &page).await.status, StatusCode::OK);
    assert_eq!(api.messages().len(), 1);
}

#[tokio::test]
async fn a_message_id_has_a_limit() {
    let page = |id: &str| json!({ "userId": "u", "messageId": id });
    let api = Api::new();
    assert_eq!(api.post_json("/v1/page", &page(&"é".repeat(100))).await.status, StatusCode::OK);
    assert_eq!(api.post_json("/v1/page", &page(&"x".repeat(101))).await.code(), "message_id_too_long");
    let limits = Limits { message_id_chars: 101, ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    assert_eq!(api.post_json("/v1/page", &page(&"x".repeat(101))).await.status, StatusCode::OK);
    assert_eq!(api.post_json("/v1/page", &page(&"x".repeat(102))).await.code(), "message_id_too_long");
}

const HOUR: i64 = 3_600_000;

/// An instant as a client may write it.
fn written(instant: Timestamp) -> String {
    instant.0.to_string()
}

/// The time of what is sent again is what it would have been: its own, by the clock of then.
#[tokio::test]
async fn what_is_sent_again_keeps_its_time() {
    let api = Api::new();
    // Sent at once by a client whose clock is right; what was wrong is mended by the operator.
    let sent = NOW.minus(200);
    let track = json!({ "userId": "u", "timestamp": written(sent), "sentAt": written(sent) });
    assert_eq!(api.post_json("/v1/track", &track).await.code(), "missing_event");
    let mut mended: Value = serde_json::from_slice(&api.rejected()[0].body).unwrap();
    mended["event"] = json!("E");
    api.clock.set(NOW.plus(5 * HOUR));
    api.ingest.send_again("server", &mended.to_string(), "again", NOW).await.unwrap();
    let message = api.messages().pop().unwrap();
    assert_eq!(message.ts, sent);
    // The record is of when it came again.
    assert_eq!(
        api.log.read(onefold_types::Position(0), usize::MAX).unwrap().pop().unwrap().rt,
        NOW.plus(5 * HOUR)
    );

    // Of a client that is an hour ahead: its batch says when it was sent, and is gone by then.
    let api = Api::new();
    let item = json!({ "type": "track", "userId": "u", "timestamp": written(NOW.plus(HOUR - 60_000)) });
    let batch = json!({ "batch": [item], "sentAt": written(NOW.plus(HOUR)) });
    assert_eq!(api.post_json("/v1/batch", &batch).await.code(), "all_rejected");
    let kept = String::from_utf8(api.rejected()[0].body.clone()).unwrap();
    let mut expected = item.clone();
    expected["sentAt"] = json!(written(NOW.plus(HOUR)));
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), expected);
    expected["event"] = json!("E");
    api.clock.set(NOW.plus(24 * HOUR));
    api.ingest.send_again("server", &expected.to_string(), "again", NOW).await.unwrap();
    assert_eq!(api.messages()[0].ts, NOW.minus(60_000));

    // What says no time happened when it came first; so did what says one after that.
    for timestamp in [Value::Null, json!(written(NOW.plus(HOUR)))] {
        let item = json!({ "type": "page", "userId": "u", "timestamp": timestamp });
        api.ingest.send_again("server", &item.to_string(), "again", NOW).await.unwrap();
        assert_eq!(api.messages().pop().unwrap().ts, NOW);
    }
}

#[tokio::test]
async fn what_is_refused_whole_counts_as_a_message_of_its_source() {
    for (path, bad) in [("/v1/page", "{"), ("/v1/batch", r#"{"batch":3}"#)] {
        let api = Api::new();
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let request = Request::post(path).header(header::AUTHORIZATION, "Bearer wk_slow");
            let answer = api.send(request.body(Body::from(bad)).unwrap()).await;
            statuses.push(answer.status.as_u16());
        }
        assert_eq!(statuses, [400, 400, 429], "{path}");
        assert!(api.rejected().len() <= 2);
        // Of nobody, it is nobody's.
        let request = Request::post(path).body(Body::from("{")).unwrap();
        assert_eq!(api.send(request).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn too_fast_is_429_with_retry_after() {
    let api = Api::new();
    let page = json!({ "userId": "u", "writeKey": "wk_slow" });
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let request = Request::post("/v1/page").body(Body::from(page.to_string())).unwrap();
        let answer = api.send(request).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            assert!(answer.headers.contains_key("x-ratelimit-reset"));
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn what_a_minute_keeps_of_the_refused_may_come_at_once_and_the_rest_is_counted() {
    let api = Api::with(Limits { rejected_per_minute: 90, ..Limits::default() }, MemoryLogOptions::default());
    for _ in 0..300 {
        let answer = api.post("/v1/track", r#"{"userId":"ada"}"#).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    let (kept, counted) = (api.rejected().len(), api.ingest.metrics().snapshot().rejected_unkept);
    assert!(kept >= 90 && counted > 0, "{kept} kept");
    assert_eq!(kept as u64 + counted, 300);
}

#[tokio::test]
async fn before_the_catalogue_is_loaded_a_client_is_told_to_come_back() {
    let api = Api::new();
    api.catalogue.store(None);
    let answer = api.post_json("/v1/page", &json!({ "userId": "u" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not_ready"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn a_log_that_is_behind_is_503_and_nothing_is_lost_silently() {
    let api =
        Api::with(Limits::default(), MemoryLogOptions { queue_bytes_max: 1, ..MemoryLogOptions::default() });
    api.log.hold();
    api.log.append(b"waits".to_vec(), Box::new(|_| {}));
    let answer = api.post_json("/v1/page", &json!({ "userId": "u" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// JSON of the shapes that messages have, with everything in the wrong place now and then.
fn messy() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("track")),
        Just(json!("2024-01-01T00:00:00Z")),
    ];
    let key = prop_oneof![
        Just("type"),
        Just("userId"),
        Just("anonymousId"),
        Just("event"),
        Just("context"),
        Just("traits"),
        Just("externalIds"),
        Just("device"),
        Just("batch"),
        Just("timestamp"),
        Just("sentAt"),
        Just("messageId"),
        Just("writeKey"),
        Just("ip"),
        Just("id"),
        Just("$serde_json::private::Number"),
        Just("$serde_json::private::RawValue"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics_or_is_blamed_on_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..200), value in messy()) {
        let api = Api::new();
        runtime().block_on(async {
            for path in ["/v1/track", "/v1/batch", "/v1/identify", "/v1/alias"] {
                for body in [bytes.clone(), value.to_string().into_bytes(), json!({ "batch": [value.clone()], "context": value.clone() }).to_string().into_bytes()] {
                    let status = api.post(path, body).await.status.as_u16();
                    prop_assert!(status < 500, "{path} {status}");
                }
            }
            Ok(())
        })?;
        // What was accepted reads back, whatever it was.
        for message in api.messages() {
            prop_assert!(serde_json::from_slice::<Value>(&message.body).is_ok());
        }
    }
}
