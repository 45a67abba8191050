//! A tracking API over a log in memory, called without a socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]
#![allow(dead_code, reason = "each test file uses a part")]

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use onefold_ingest::{Ingest, IngestOptions, Limits, router};
use onefold_log::record::{Record, Rejected};
use onefold_log::{Log, ManualClock, MemoryLog, MemoryLogOptions};
use onefold_types::{Catalogue, Message, Position, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub struct Api {
    pub log: Arc<MemoryLog>,
    pub clock: Arc<ManualClock>,
    pub router: Router,
    pub ingest: Ingest,
    pub catalogue: Arc<ArcSwapOption<Catalogue>>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn catalogue() -> Catalogue {
    serde_json::from_value(json!({
        "version": 1,
        "workspace": { "version": 1, "workspace": "acme", "sources": [
            { "key": "web", "kind": "browser", "write_key": "wk_web" },
            { "key": "server", "kind": "server", "write_key": ["wk_server", "wk_next"] },
            { "key": "slow", "kind": "server", "write_key": "wk_slow", "rate_limit": 2 },
            { "key": "off", "kind": "server", "write_key": "wk_off", "enabled": false },
        ] },
        "audiences": {}, "traits": {}, "destinations": {}, "sources": {}, "primitives": {},
        "audience_versions": {}, "trait_versions": {}, "rules_version": 1, "next_id": 1,
    }))
    .unwrap()
}

impl Api {
    pub fn new() -> Self {
        Self::with(Limits::default(), MemoryLogOptions::default())
    }

    /// Behind a proxy that is believed.
    pub fn behind_proxy() -> Self {
        let (limits, log) = (Limits::default(), MemoryLogOptions::default());
        Self::with_options(IngestOptions { limits, client: None, trust_proxy: true }, log)
    }

    pub fn with(limits: Limits, log: MemoryLogOptions) -> Self {
        Self::with_options(IngestOptions { limits, client: None, trust_proxy: false }, log)
    }

    fn with_options(options: IngestOptions, log: MemoryLogOptions) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let log = Arc::new(MemoryLog::new(MemoryLogOptions { clock: clock.clone(), ..log }));
        let catalogue = Arc::new(ArcSwapOption::from_pointee(catalogue()));
        let ingest = Ingest::new(log.clone(), clock.clone(), catalogue.clone(), options);
        Self { log, clock, router: router(ingest.clone()), ingest, catalogue }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(
            Request::post(path)
                .header(header::AUTHORIZATION, "Basic d2tfc2VydmVyOg==")
                .body(body.into())
                .unwrap(),
        )
        .await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, body.to_string()).await
    }

    pub fn records(&self) -> Vec<Record> {
        let entries = self.log.read(Position(0), usize::MAX).unwrap();
        entries.iter().map(|entry| Record::decode(&entry.payload).unwrap()).collect()
    }

    pub fn messages(&self) -> Vec<Message> {
        self.records()
            .into_iter()
            .filter_map(|r| if let Record::Messages(m) = r { Some(m) } else { None })
            .flatten()
            .collect()
    }

    pub fn rejected(&self) -> Vec<Rejected> {
        self.records()
            .into_iter()
            .filter_map(|r| if let Record::Rejected(i) = r { Some(i) } else { None })
            .flatten()
            .collect()
    }
}

pub fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
