//! A webhook receiver on loopback that checks every signature and counts what came.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use onefold_connector::Secret;
use onefold_destinations::webhook::{Key, signature};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The secret of examples/shop.yaml.
const SECRET: &str = "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=";

#[derive(Default)]
struct Seen {
    counts: BTreeMap<String, u64>,
    badly_signed: u64,
}

/// See the module.
pub(crate) struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let router = Router::new().route("/hook", post(receive)).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, seen })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.seen().counts.clone()
    }

    pub(crate) fn total(&self) -> u64 {
        self.seen().counts.values().sum()
    }

    pub(crate) fn badly_signed(&self) -> u64 {
        self.seen().badly_signed
    }
}

async fn receive(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let timestamp = text("webhook-timestamp").parse().unwrap_or(0);
    let keys: Vec<Key> = Key::parse(&Secret::new(SECRET)).into_iter().collect();
    let right = signature(&keys, text("webhook-id"), timestamp, &body) == text("webhook-signature");
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let properties = &message["properties"];
    let key = properties["audience_key"].as_str().or(properties["trait_key"].as_str()).unwrap_or_default();
    let what = format!("{} {key}", message["event"].as_str().unwrap_or("message")).trim().to_owned();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if !right {
        seen.badly_signed += 1;
        return StatusCode::UNAUTHORIZED;
    }
    *seen.counts.entry(what).or_default() += 1;
    StatusCode::NO_CONTENT
}
