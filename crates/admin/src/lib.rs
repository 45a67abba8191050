//! The management and profile API, personalise, the live stream, health and metrics.
//!
//! **Never here:** the tracking API; a write to state: whatever changes state is appended to the log, and answered when
//! it is folded.
//!
//! - **ADMIN-1 (TENANT):** a path names the workspace, and only the one that is served is answered.
//! - **ADMIN-2:** outside loopback every call but health asks for the admin token; a write key opens nothing here.

mod answer;
mod audiences;
mod auth;
mod decisions;
mod describe;
mod destinations;
mod extract;
mod health;
mod identity;
mod keys;
mod live;
mod numbers;
mod profiles;
mod quarantine;
mod secrets;
mod workspace;

pub use auth::Access;
pub use live::{Live, LiveObserver};

use answer::Refused;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{any, get};
use axum::{Json, Router, middleware};
use describe::Described;
use onefold_delivery::Delivery;
use onefold_fold::query::Reader;
use onefold_log::SharedLog;
use onefold_store::Store;
use onefold_types::Timestamp;
use std::sync::Arc;

/// What the API reads and drives; cheap to clone.
#[derive(Clone)]
pub struct Admin(pub(crate) Arc<Parts>);

/// The parts of an [`Admin`].
pub struct Parts {
    /// Reads the state.
    pub reader: Reader,
    /// Decisions and catalogues are appended to it.
    pub log: SharedLog,
    /// The state, for its size.
    pub store: Arc<dyn Store>,
    /// Destinations.
    pub delivery: Arc<Delivery>,
    /// What is happening.
    pub live: Live,
    /// Who may call.
    pub access: Access,
    /// The tracking API's counters, as Prometheus text.
    pub ingest_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether the tracking API has its sources.
    pub accepting: Box<dyn Fn() -> bool + Send + Sync>,
    /// Sends an item of the quarantine again: source, body, message id for one that has none, when it came first.
    pub send_again: SendAgain,
    /// One apply at a time.
    pub applying: tokio::sync::Mutex<()>,
}

/// Sends an item to the tracking API as its source; why it was refused, as code and detail.
pub type SendAgain = Box<
    dyn Fn(
            String,
            String,
            String,
            Timestamp,
        ) -> futures_util::future::BoxFuture<'static, Result<(), (String, String)>>
        + Send
        + Sync,
>;

impl Admin {
    /// The API over its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The admin token, if one is asked for: for a caller in this process.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        match &self.0.access {
            Access::Loopback => None,
            Access::Token(token) => Some(token.clone()),
        }
    }
}

/// Routes that ask who calls.
fn guarded() -> Vec<Described> {
    vec![
        profiles::routes(),
        workspace::routes(),
        audiences::routes(),
        identity::routes(),
        decisions::routes(),
        quarantine::routes(),
        destinations::routes(),
        live::routes(),
        health::guarded_routes(),
    ]
}

/// Routes that answer everyone.
fn open() -> Vec<Described> {
    vec![profiles::open_routes(), health::routes()]
}

/// All routes.
pub fn router(admin: Admin) -> Router {
    let (guarded, open) = (guarded(), open());
    let parts: Vec<&Described> = guarded.iter().chain(&open).collect();
    let description = Described::openapi(&parts);
    let describe = get(move || async move { Json(description) });
    let merged = |parts: Vec<Described>| {
        parts.into_iter().fold(Router::new(), |router, part| router.merge(part.router))
    };
    merged(guarded)
        .route("/api/openapi.json", describe)
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(extract::BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(admin.clone(), auth::guard))
        .merge(merged(open))
        .with_state(admin)
}

async fn unknown(uri: Uri) -> Refused {
    Refused::not_found(format!("there is no {}; /api/openapi.json has what there is", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let detail = format!("{} does not take {method}; /api/openapi.json has what it takes", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
