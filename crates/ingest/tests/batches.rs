//! What a batch's `context` and `integrations` do to its items and to the server (INGEST-4).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use common::{Answer, Api, NOW, body, gzip};
use onefold_ingest::Limits;
use onefold_log::MemoryLogOptions;
use onefold_log::record::Record;
use serde_json::{Value, json};

async fn zipped(api: &Api, batch: &Value) -> Answer {
    let request = Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(gzip(batch.to_string().as_bytes())))
        .unwrap();
    api.send(request).await
}

fn pages(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "page", "userId": n.to_string() })).collect()
}

#[tokio::test]
async fn a_context_that_outgrows_a_message_is_refused_once() {
    let api = Api::new();
    let context: serde_json::Map<String, Value> = (0..38_000).map(|n| (n.to_string(), json!(1))).collect();
    let answer = api.post_json("/v1/batch", &json!({ "context": context, "batch": pages(2_000) })).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
    assert!(answer.bytes.len() < 1_000 && api.records().is_empty());
    assert_eq!(api.ingest.metrics().snapshot().rejected["too_large"], 1);
}

/// The request that was answered 503 for ever: a few KB of gzip that make a record of 72 MB.
#[tokio::test]
async fn a_context_over_many_items_is_refused_before_it_is_made() {
    let api = Api::new();
    let shared = json!({ "x": "y".repeat(30_000) });
    for name in ["context", "integrations"] {
        let answer = zipped(&api, &json!({ name: shared, "batch": pages(2_400) })).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too_large"));
        assert!(
            answer.json()["error"]["detail"].as_str().unwrap().contains("2400 messages"),
            "{:?}",
            answer.json()
        );
    }
    assert!(api.records().is_empty());
    // Fewer of them are a batch like any other.
    assert_eq!(zipped(&api, &json!({ "context": shared, "batch": pages(100) })).await.status, StatusCode::OK);
    assert_eq!(api.messages().len(), 100);
    assert_eq!(body(&api.messages()[99])["context"], shared);
}

#[tokio::test]
async fn an_item_that_outgrows_its_limit_by_the_context_is_refused_alone_and_kept_as_it_came() {
    let api = Api::new();
    let large = json!({ "type": "page", "userId": "large", "properties": { "x": "y".repeat(20_000) } });
    let batch = json!({ "context": { "x": "y".repeat(15_000) }, "batch": [large, { "type": "page", "userId": "u" }] });
    let answer = api.post_json("/v1/batch", &batch).await;
    assert_eq!((answer.status, &answer.json()["rejected"][0]["code"]), (StatusCode::OK, &json!("too_large")));
    assert_eq!(api.messages().len(), 1);
    let kept = String::from_utf8(api.rejected()[0].body.clone()).unwrap();
    assert_eq!(kept, format!("{large}…[cut: without what its batch gave it]"));
    assert_eq!(api.ingest.send_again("server", &kept, "again", NOW).await.unwrap_err().code, "truncated");
}

#[tokio::test]
async fn what_is_added_counts_in_the_budget() {
    let limits = Limits { in_flight_bytes: 2 << 20, ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    let batch = |items: usize| json!({ "context": { "x": "y".repeat(10_000) }, "batch": pages(items) });
    let answer = api.post_json("/v1/batch", &batch(250)).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    assert!(api.records().is_empty());
    // And goes back: more of them than fit together, one after the other.
    for _ in 0..5 {
        assert_eq!(api.post_json("/v1/batch", &batch(100)).await.status, StatusCode::OK);
    }
    assert!(limits.request_bytes_max() > limits.in_flight_bytes, "what the server refuses to start with");
}

/// Much is taken apart elsewhere than little; what comes of it is the same.
#[tokio::test]
async fn a_large_batch_is_taken_like_a_small_one() {
    let api = Api::new();
    let context = json!({ "x": "y".repeat(1_000) });
    for count in [10, 1_000] {
        assert_eq!(
            api.post_json("/v1/batch", &json!({ "context": context, "batch": pages(count) })).await.status,
            StatusCode::OK
        );
    }
    let padded: Vec<Value> = (0..1_000)
        .map(|n| json!({ "type": "page", "userId": n.to_string(), "properties": { "x": "y".repeat(300) } }))
        .collect();
    assert_eq!(api.post_json("/v1/batch", &json!({ "batch": padded })).await.status, StatusCode::OK);
    assert_eq!(api.messages().len(), 2_010);
    assert_eq!(api.records().len(), 3, "a batch is one record");
    for (index, message) in api.messages()[10..1_010].iter().enumerate() {
        assert_eq!(message.ids, [("user_id".to_owned(), index.to_string())]);
        assert_eq!(body(message)["context"], context);
    }
}

#[tokio::test]
async fn a_batch_that_is_longer_than_a_record_is_several() {
    let limits = Limits { record_bytes: 20_000, ..Limits::default() };
    let log = MemoryLogOptions { record_bytes_max: 20_000, ..MemoryLogOptions::default() };
    let api = Api::with(limits, log);
    let mut items = pages(300);
    items.extend((0..300).map(|n| json!({ "type": "page", "n": n, "x": "y".repeat(100) })));
    items.push(json!({ "type": "page", "userId": "u", "properties": { "x": "y".repeat(19_990) } }));
    let answer = api.post_json("/v1/batch", &json!({ "batch": items })).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["rejected"][300]["code"], "too_large");
    let users: Vec<String> = api.messages().into_iter().map(|message| message.ids[0].1.clone()).collect();
    assert_eq!(users, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(api.rejected().len(), 301);
    assert!(api.records().len() > 3 && matches!(api.records()[1], Record::Messages(_)));
}

#[tokio::test]
async fn an_acknowledgement_waits_for_every_record() {
    let limits = Limits { record_bytes: 20_000, ..Limits::default() };
    // Room for one record of 20,000 bytes that waits for the disk: the second is refused at once.
    let log =
        MemoryLogOptions { record_bytes_max: 20_000, queue_bytes_max: 30_000, ..MemoryLogOptions::default() };
    let api = Api::with(limits, log);
    api.log.hold();
    let request = Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .body(Body::from(json!({ "batch": pages(500) }).to_string()))
        .unwrap();
    let sent = tokio::spawn(tower::ServiceExt::oneshot(api.router.clone(), request));
    // One thread runs both: the request goes on until it waits for the disk.
    tokio::task::yield_now().await;
    assert!(!sent.is_finished());
    api.log.sync();
    assert!(!api.records().is_empty(), "the first is durable");
    assert_eq!(sent.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_context_that_is_no_object_is_refused_with_the_items() {
    for (name, value) in [("context", json!("x")), ("integrations", json!([1])), ("context", json!(7))] {
        let api = Api::new();
        let answer = api.post_json("/v1/batch", &json!({ name: value, "batch": pages(2) })).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "all_rejected"));
        assert_eq!(answer.json()["rejected"][1]["code"], "invalid_field");
        assert_eq!(api.rejected()[1].body, pages(2)[1].to_string().into_bytes());
    }
    let api = Api::new();
    let nothing = json!({ "context": null, "integrations": {}, "batch": pages(2) });
    assert_eq!(api.post_json("/v1/batch", &nothing).await.status, StatusCode::OK);
    assert_eq!(body(&api.messages()[0]), pages(1)[0]);
}
