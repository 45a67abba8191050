//! What is happening now, as server-sent events. For eyes: a reader that falls behind misses some, and is told how many.

use crate::Admin;
use crate::answer::{Refused, stored};
use crate::describe::{Described, operation};
use crate::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use onefold_api::Place;
use onefold_audience::Selector;
use onefold_delivery::render::iso;
use onefold_fold::report::{Happening, Report};
use onefold_fold::{Observer, Status};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

/// Where happenings are told, until it is closed.
#[derive(Clone, Debug)]
pub struct Live {
    happenings: broadcast::Sender<Arc<Happening>>,
    closed: Arc<watch::Sender<bool>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { happenings: broadcast::channel(4_096).0, closed: Arc::new(watch::Sender::new(false)) }
    }
}

impl Live {
    /// Happenings from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.happenings.subscribe()
    }

    /// Ends every stream: the server stops, and must not wait for readers that would read for ever.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// Tells the live stream, and whoever else wants to know, of every batch.
pub struct LiveObserver {
    live: Live,
    then: Box<dyn FnMut(&Status) + Send>,
}

impl LiveObserver {
    /// Tells `live`, then calls `then`.
    pub fn new(live: Live, then: Box<dyn FnMut(&Status) + Send>) -> Self {
        Self { live, then }
    }
}

impl Observer for LiveObserver {
    fn committed(&mut self, status: &Status, report: Report) {
        if self.live.happenings.receiver_count() > 0 {
            for happening in report.happenings {
                // Receivers may go at any moment.
                drop(self.live.happenings.send(Arc::new(happening)));
            }
        }
        (self.then)(status);
    }
}

pub(crate) fn routes() -> Described {
    let what = operation("What is happening now, as server-sent events").query::<Wanted>();
    Described::default().get("/api/live", what.answers("text/event-stream"), stream)
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// An event selector: other events are not told.
    #[serde(rename = "where")]
    selector: Option<String>,
}

async fn stream(
    State(admin): State<Admin>,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl futures_core::Stream<Item = Result<Event, Infallible>>>, Refused> {
    let selector = wanted.selector.as_deref().map(selector).transpose().map_err(|detail| {
        Refused::new(StatusCode::BAD_REQUEST, "invalid_expression", "`where` is no event selector")
            .with(vec![Place { place: "where".to_owned(), detail }])
    })?;
    let (receiver, closed) = (admin.0.live.subscribe(), admin.0.live.closed.subscribe());
    let state = (receiver, closed, admin, selector);
    let events =
        futures_util::stream::unfold(state, |(mut receiver, mut closed, admin, selector)| async move {
            loop {
                let received = tokio::select! {
                    _ = closed.wait_for(|closed| *closed) => return None,
                    received = receiver.recv() => received,
                };
                let (name, data) = match received {
                    Ok(happening) if !asked_for(&happening, selector.as_ref()) => continue,
                    Ok(happening) => told(&happening, &admin),
                    Err(RecvError::Lagged(missed)) => ("missed", json!({ "count": missed })),
                    Err(RecvError::Closed) => return None,
                };
                let event = Event::default().event(name).data(data.to_string());
                return Some((Ok(event), (receiver, closed, admin, selector)));
            }
        });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn selector(text: &str) -> Result<Selector, String> {
    let parsed = onefold_audience::parse_selector(text).map_err(|error| error.render(text))?;
    Selector::compile(&parsed)
}

fn asked_for(happening: &Happening, selector: Option<&Selector>) -> bool {
    match (happening, selector) {
        (Happening::Folded { message_type, name, body, .. }, Some(selector)) => {
            selector.matches(*message_type, name, body)
        }
        _ => true,
    }
}

fn told(happening: &Happening, admin: &Admin) -> (&'static str, Value) {
    let compiled = admin.0.reader.handle().catalogue();
    let key =
        |id| compiled.catalogue.audiences.iter().find(|(_, known)| **known == id).map(|(key, _)| key.clone());
    match happening {
        Happening::Folded { message_type, name, message_id, ts, profile, body } => {
            let mut data = json!({ "type": message_type, "name": name, "message_id": message_id, "timestamp": iso(*ts),
                "profile": profile });
            match stored(message_id, body) {
                Ok(message) => data["message"] = message,
                Err(why) => data["unreadable"] = why.into(),
            }
            ("folded", data)
        }
        Happening::Merged { from, into } => ("merged", json!({ "from": from, "into": into })),
        Happening::Split { from, into } => ("split", json!({ "from": from, "into": into })),
        Happening::Entered { audience, profile, effective } => {
            ("entered", json!({ "audience": key(*audience), "profile": profile, "effective": effective.0 }))
        }
        Happening::Exited { audience, profile, effective } => {
            ("exited", json!({ "audience": key(*audience), "profile": profile, "effective": effective.0 }))
        }
        Happening::NearDuplicate { id, others } => ("near_duplicate", json!({ "id": id, "others": others })),
        Happening::Quarantined { code } => ("quarantined", json!({ "code": code })),
    }
}
