//! Every endpoint, authentication and encoding that Segment's clients use, and what the log holds afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine;
use common::{Api, NOW, body, gzip};
use onefold_types::{MessageType, Timestamp};
use serde_json::json;

#[tokio::test]
async fn every_call_and_its_short_path_is_taken() {
    let message = json!({ "userId": "u", "event": "E", "groupId": "g", "previousId": "p", "name": "N" });
    for call in MessageType::ALL {
        for path in [format!("/v1/{call}"), format!("/v1/{}", &call.as_str()[..1])] {
            let api = Api::new();
            let answer = api.post_json(&path, &message).await;
            assert_eq!(
                (answer.status, answer.json()),
                (StatusCode::OK, json!({ "success": true })),
                "{path}"
            );
            assert_eq!(api.messages()[0].message_type, call, "{path}");
        }
    }
    let item = json!({ "batch": [{ "type": "page", "userId": "u" }] });
    for path in ["/v1/batch", "/v1/b", "/v1/import"] {
        let api = Api::new();
        assert_eq!(api.post_json(path, &item).await.status, StatusCode::OK, "{path}");
        assert_eq!(api.messages().len(), 1, "{path}");
    }
    assert_eq!(Api::new().post("/v1/m", "{\"series\":[]}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_write_key_is_found_wherever_a_client_puts_it_and_never_stored() {
    let page = |key: Option<&str>| match key {
        Some(key) => json!({ "userId": "u", "writeKey": key }).to_string(),
        None => json!({ "userId": "u" }).to_string(),
    };
    let cases = [
        (None, Some("wk_web"), "web"),
        (Some("Basic d2tfd2ViOg=="), None, "web"),
        (Some("Basic d2tfd2Vi"), None, "web"),
        (Some("Bearer wk_next"), None, "server"),
        (Some("Bearer an.oauth.token"), Some("wk_server"), "server"),
    ];
    for (authorization, key, source) in cases {
        for content_type in [Some("application/json"), Some("text/plain"), None] {
            let api = Api::new();
            let mut request = Request::post("/v1/page");
            for (name, value) in
                [(header::AUTHORIZATION, authorization), (header::CONTENT_TYPE, content_type)]
            {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let answer = api.send(request.body(Body::from(page(key))).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK, "{authorization:?} {key:?}");
            assert_eq!(api.messages()[0].source, source);
            assert!(
                !String::from_utf8_lossy(&api.messages()[0].body).contains("wk_"),
                "{authorization:?} {key:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_missing_or_disabled_key_is_401() {
    for (key, code) in [
        (json!("wk_nope"), "unknown_write_key"),
        (json!("wk_off"), "unknown_write_key"),
        (json!(null), "missing_write_key"),
    ] {
        let api = Api::new();
        let request = Request::post("/v1/page")
            .body(Body::from(json!({ "userId": "u", "writeKey": key }).to_string()))
            .unwrap();
        let answer = api.send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, code));
        assert!(api.records().is_empty());
    }
}

#[tokio::test]
async fn gzip_is_inflated() {
    let api = Api::new();
    let packed = gzip(
        json!({ "batch": [{ "type": "track", "event": "E", "userId": "u", "anonymousId": null }] })
            .to_string()
            .as_bytes(),
    );
    let request = Request::post("/v1/batch")
        .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Body::from(packed))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::OK);
    assert_eq!(api.messages()[0].ids, [("user_id".to_owned(), "u".to_owned())]);
}

#[tokio::test]
async fn a_batch_is_one_record_and_its_context_reaches_every_item() {
    let api = Api::new();
    let batch = json!({
        "context": { "app": { "name": "shop", "version": "1" }, "traits": { "email": "batch@x.com" } },
        "integrations": { "All": false },
        "batch": [
            { "type": "track", "event": "A", "userId": "u" },
            { "type": "track", "event": "B", "userId": "v", "context": { "app": { "version": "2" } }, "integrations": { "All": true } },
        ],
    });
    assert_eq!(api.post_json("/v1/batch", &batch).await.status, StatusCode::OK);
    assert_eq!(api.records().len(), 1);
    let messages = api.messages();
    assert_eq!(body(&messages[0])["context"]["app"], json!({ "name": "shop", "version": "1" }));
    assert_eq!(messages[0].ids[1], ("email".to_owned(), "batch@x.com".to_owned()));
    assert_eq!(body(&messages[1])["context"]["app"], json!({ "name": "shop", "version": "2" }));
    assert_eq!(
        (&body(&messages[0])["integrations"], &body(&messages[1])["integrations"]),
        (&json!({ "All": false }), &json!({ "All": true }))
    );
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_sent_at() {
    let api = Api::new();
    let iso = |ms: i64| jiff_text(NOW.plus(ms));
    let year = 365 * 86_400_000;
    let batch = json!({ "sentAt": iso(year), "batch": [
        { "type": "page", "userId": "u", "timestamp": iso(year - 1_000) },
        { "type": "page", "userId": "u", "timestamp": iso(-5_000), "sentAt": iso(-4_000) },
        { "type": "page", "userId": "u" },
    ] });
    assert_eq!(api.post_json("/v1/batch", &batch).await.status, StatusCode::OK);
    let times: Vec<Timestamp> = api.messages().iter().map(|message| message.event_time(NOW)).collect();
    assert_eq!(times, [NOW.minus(1_000), NOW.minus(5_000), NOW]);
}

/// RFC 3339 without a library: the test's own arithmetic on a known instant.
fn jiff_text(at: Timestamp) -> String {
    // 2027-01-15T08:00:00Z is 1_800_000_000 s; days since then are enough for these cases.
    let (days, ms) = ((at.0 - NOW.0).div_euclid(86_400_000), (at.0 - NOW.0).rem_euclid(86_400_000));
    let (year, day) = if days >= 364 { (2028, 15 + (days - 365)) } else { (2027, 15 + days) };
    let ms = ms + 8 * 3_600_000;
    let (day, ms) = (day + ms / 86_400_000, ms % 86_400_000);
    format!(
        "{year}-01-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1_000 % 60,
        ms % 1_000
    )
}

#[tokio::test]
async fn a_message_without_an_id_gets_one_and_a_client_s_stays() {
    let api = Api::new();
    let batch = json!({ "batch": [{ "type": "page", "userId": "u" }, { "type": "page", "userId": "u", "messageId": "mine" }] });
    assert_eq!(api.post_json("/v1/batch", &batch).await.status, StatusCode::OK);
    let messages = api.messages();
    assert!(messages[0].message_id.starts_with("onefold-"));
    assert_eq!(messages[1].message_id, "mine");
}

#[tokio::test]
async fn a_pixel_is_always_an_image_and_its_message_is_taken() {
    let api = Api::new();
    let data = json!({ "writeKey": "wk_web", "userId": "u", "event": "Email Opened" }).to_string();
    let data = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(data);
    for uri in [
        format!("/v1/pixel/track?data={data}"),
        "/v1/pixel/track?data=%%%".to_owned(),
        "/v1/pixel/nope".to_owned(),
    ] {
        let answer = api.send(Request::get(uri.replace("%%%", "x")).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "image/gif");
        assert!(answer.bytes.starts_with(b"GIF89a"));
    }
    assert_eq!(api.messages().len(), 1);
    assert_eq!(api.messages()[0].name, "Email Opened");
}

#[tokio::test]
async fn any_page_may_call() {
    let api = Api::new();
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/t")
        .header(header::ORIGIN, "https://shop.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type,x-retry-count")
        .body(Body::empty())
        .unwrap();
    let answer = api.send(preflight).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(
        answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
        "authorization,content-type,x-retry-count"
    );
    assert_eq!(
        api.post_json("/v1/page", &json!({ "userId": "u" })).await.headers
            [header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "*"
    );
}

#[tokio::test]
async fn settings_point_a_client_at_the_host_it_called() {
    let get = |uri: &str| {
        Request::get(uri.to_owned())
            .header(header::HOST, "cdp.example:8443")
            .header("x-forwarded-host", "cdp.acme.example, other.example")
            .header("x-forwarded-proto", "https")
            .body(Body::empty())
            .unwrap()
    };
    // Without a trusted proxy anybody can have sent what looks like one's word.
    let cases =
        [(Api::new(), "cdp.example:8443/v1", "http"), (Api::behind_proxy(), "cdp.acme.example/v1", "https")];
    for (api, host, protocol) in cases {
        let answer = api.send(get("/v1/projects/wk_web/settings")).await;
        let segment = &answer.json()["integrations"]["Segment.io"];
        assert_eq!(
            (&segment["apiKey"], &segment["apiHost"], &segment["protocol"]),
            (&json!("wk_web"), &json!(host), &json!(protocol))
        );
        assert_eq!(api.send(get("/v1/projects/nope/settings")).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_no_call_says_so_to_any_page() {
    let api = Api::new();
    let ask =
        |method: Method, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (method, path, status, code) in [
        (Method::GET, "/v1/track", StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (Method::PUT, "/v1/batch", StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (Method::POST, "/v1/foo", StatusCode::NOT_FOUND, "not_found"),
        (Method::GET, "/v1/track/x", StatusCode::NOT_FOUND, "not_found"),
    ] {
        let answer = api.send(ask(method, path)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
    }
}

#[tokio::test]
async fn half_a_character_becomes_the_replacement_character_wherever_it_comes_in() {
    let half = r#""\ud83d""#;
    let track = format!(
        r#"{{"type":"track","writeKey":"wk_web","userId":"u","event":{half},"properties":{{"p":"a\ud83d","ok":"\ud83d\ude00"}}}}"#
    );
    let api = Api::new();
    assert_eq!(api.post("/v1/track", track.clone()).await.status, StatusCode::OK);
    let batch = format!(r#"{{"context":{{"c":{half}}},"batch":[{track}]}}"#);
    assert_eq!(api.post("/v1/batch", batch).await.status, StatusCode::OK);
    let data = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&track);
    api.send(Request::get(format!("/v1/pixel/track?data={data}")).body(Body::empty()).unwrap()).await;
    api.ingest.send_again("web", &track, "again", NOW).await.unwrap();
    let messages = api.messages();
    assert_eq!(messages.len(), 4);
    for message in &messages {
        assert_eq!(message.name, "\u{fffd}");
        assert_eq!(body(message)["properties"], json!({ "p": "a\u{fffd}", "ok": "😀" }));
    }
    assert_eq!(body(&messages[1])["context"]["c"], "\u{fffd}");
}

#[tokio::test]
async fn the_address_is_what_the_nearest_proxy_says() {
    let api = Api::behind_proxy();
    let request = Request::post("/v1/page")
        .header(header::AUTHORIZATION, "Basic d2tfd2ViOg==")
        .header("x-forwarded-for", "203.0.113.66")
        .header("x-forwarded-for", "203.0.113.67, 192.0.2.1")
        .body(Body::from(json!({ "userId": "u" }).to_string()))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::OK);
    assert_eq!(body(&api.messages()[0])["context"]["ip"], "192.0.2.1");
}
