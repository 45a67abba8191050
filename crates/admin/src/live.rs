//! What is happening now, as server-sent events. For eyes: a reader that falls behind misses some, and is told how many.

use crate::Admin;
use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use onefold_fold::report::{Happening, Report};
use onefold_fold::{Observer, Status};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Where happenings are told.
#[derive(Clone, Debug)]
pub struct Live(broadcast::Sender<Arc<Happening>>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::channel(4_096).0)
    }
}

impl Live {
    /// Happenings from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.0.subscribe()
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
        if self.live.0.receiver_count() > 0 {
            for happening in report.happenings {
                // Receivers may go at any moment.
                drop(self.live.0.send(Arc::new(happening)));
            }
        }
        (self.then)(status);
    }
}

pub(crate) fn routes() -> Router<Admin> {
    Router::new().route("/api/live", get(stream))
}

async fn stream(
    State(admin): State<Admin>,
) -> Sse<impl futures_core::Stream<Item = Result<Event, Infallible>>> {
    let receiver = admin.0.live.subscribe();
    let events = futures_util::stream::unfold((receiver, admin), |(mut receiver, admin)| async move {
        let (name, data) = match receiver.recv().await {
            Ok(happening) => told(&happening, &admin),
            Err(RecvError::Lagged(missed)) => ("missed", json!({ "count": missed })),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(Event::default().event(name).data(data.to_string())), (receiver, admin)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn told(happening: &Happening, admin: &Admin) -> (&'static str, Value) {
    let compiled = admin.0.reader.handle().catalogue();
    let key =
        |id| compiled.catalogue.audiences.iter().find(|(_, known)| **known == id).map(|(key, _)| key.clone());
    match happening {
        Happening::Folded { message_type, name, message_id, ts, profile } => (
            "folded",
            json!({ "type": message_type, "name": name, "message_id": message_id, "timestamp": ts.0, "profile": profile }),
        ),
        Happening::Merged { from, into } => ("merged", json!({ "from": from, "into": into })),
        Happening::Split { from, into } => ("split", json!({ "from": from, "into": into })),
        Happening::Entered { audience, profile, effective } => {
            ("entered", json!({ "audience": key(*audience), "profile": profile, "effective": effective.0 }))
        }
        Happening::Exited { audience, profile, effective } => {
            ("exited", json!({ "audience": key(*audience), "profile": profile, "effective": effective.0 }))
        }
        Happening::Quarantined { code } => ("quarantined", json!({ "code": code })),
    }
}
