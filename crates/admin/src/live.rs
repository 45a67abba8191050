//! What is happening now, as server-sent events. For eyes: a reader that falls behind misses some, and is told how many.

use crate::Admin;
use crate::answer::{Refused, stored, time};
use crate::describe::{Described, operation};
use crate::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use onefold_api::Place;
use onefold_api::live::{Folded, Live as Told};
use onefold_audience::Selector;
use onefold_fold::report::{Happening, Report};
use onefold_fold::{Observer, Status};
use onefold_types::{AudienceId, ProfileHandle, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
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
    Described::default().get_as("/api/live", what.answers::<Stream>("text/event-stream"), stream)
}

/// The stream as the description has it: OpenAPI 3.1 knows no media type of many events.
struct Stream;

impl JsonSchema for Stream {
    fn schema_name() -> Cow<'static, str> {
        "LiveStream".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Server-sent events. The `data` of each is the JSON that `contentSchema` says, by the name in `event`.",
            "contentMediaType": "application/json",
            "contentSchema": generator.subschema_for::<Told>(),
        })
    }
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
                    Err(RecvError::Lagged(missed)) => ("missed", Told::Missed { count: missed }),
                    Err(RecvError::Closed) => return None,
                };
                let event = match Event::default().event(name).json_data(data) {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::error!(%error, "a happening cannot be told");
                        continue;
                    }
                };
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

fn told(happening: &Happening, admin: &Admin) -> (&'static str, Told) {
    let compiled = admin.0.reader.handle().catalogue();
    let membership = |id: AudienceId, profile: ProfileHandle, effective: Timestamp| {
        let known = compiled.catalogue.audiences.iter().find(|(_, known)| **known == id);
        let audience = known.map(|(key, _)| key.clone());
        Told::Membership { audience, profile: profile.0, effective: effective.0 }
    };
    match happening {
        Happening::Folded { message_type, name, message_id, ts, profile, body } => {
            let read = stored(message_id, body);
            let folded = Folded {
                message_type: message_type.as_str().to_owned(),
                name: name.clone(),
                message_id: message_id.clone(),
                timestamp: time(*ts),
                profile: profile.map(|profile| profile.0),
                unreadable: read.as_ref().err().cloned(),
                message: read.ok(),
            };
            ("folded", Told::Folded(folded))
        }
        Happening::Merged { from, into } => ("merged", Told::Merged { from: from.0, into: into.0 }),
        Happening::Split { from, into } => {
            let into = into.iter().map(|profile| profile.0).collect();
            ("split", Told::Split { from: from.0, into })
        }
        Happening::Entered { audience, profile, effective } => {
            ("entered", membership(*audience, *profile, *effective))
        }
        Happening::Exited { audience, profile, effective } => {
            ("exited", membership(*audience, *profile, *effective))
        }
        Happening::NearDuplicate { id, others } => {
            ("near_duplicate", Told::NearDuplicate { id: id.clone().into(), others: others.clone() })
        }
        Happening::Quarantined { code } => ("quarantined", Told::Quarantined { code: code.clone() }),
    }
}
