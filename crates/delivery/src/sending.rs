//! One request: its items' bodies, the request itself, an outcome for each item whatever happens.

use crate::journal::{Journal, Known};
use crate::lanes::Item;
use crate::render::{Nameless, Names, iso, render};
use crate::room::{Place, Room};
use crate::standing::{Standing, Stands};
use onefold_connector::{Answer, Connector, Outcome, Rendered};
use onefold_log::{Clock, Error as LogError, SharedLog, record};
use onefold_types::effect::{Change, Effect};
use onefold_types::{DestinationId, EventRef, ProfileHandle, Timestamp};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Takes lanes whose item did not go after all, for the request was full without it.
pub(crate) type Left = mpsc::UnboundedSender<Vec<ProfileHandle>>;

/// A request that is over.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) items: Vec<Item>,
    /// What became of each.
    pub(crate) outcomes: Vec<Outcome>,
    /// What the bodies take, until they are let go of.
    pub(crate) place: Option<Place>,
}

impl Sent {
    /// Lets go of bodies that nobody needs any more.
    pub(crate) fn let_go(&mut self) {
        for (item, _) in
            self.items.iter_mut().zip(&self.outcomes).filter(|(_, outcome)| is_delivered(outcome))
        {
            item.body = None;
        }
        let bytes = self.items.iter().filter_map(|item| item.body.as_ref()).map(Vec::len).sum();
        if let Some(place) = &mut self.place {
            place.shrink(bytes);
        }
    }
}

const fn is_delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered(_))
}

/// What sending needs.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) id: DestinationId,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) journal: Journal,
    pub(crate) log: SharedLog,
    pub(crate) standing: Arc<dyn Standing>,
    pub(crate) names: Arc<Names>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Sender {
    /// Sends `items` in one request, as many as fit into one: the first in any case, and nothing once `room` is closed. The
    /// lanes of those that do not go are told to `left` before it does. Those that have no body to send have their outcome
    /// without.
    pub(crate) async fn send(self, mut items: Vec<Item>, room: Room, left: Left) -> Sent {
        let Some(mut place) = room.place().await else { return Sent::default() };
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(items.len());
        let mut bytes = 0;
        for item in &mut items {
            if bytes >= room.request() {
                break;
            }
            // A body that was sent before is let go of, too: the message may have been deleted since.
            let body = match (self.withheld(&item.effect).await, item.body.take()) {
                (Some(outcome), _) => Err(outcome),
                (None, Some(body)) => Ok(body),
                (None, None) => self.body(&item.effect, item.frozen).await,
            };
            let length = body.as_ref().map_or(0, Vec::len);
            if bytes > 0 && bytes + length > room.request() {
                break;
            }
            bytes += length;
            outcomes.push(body.map(|body| item.body = Some(body)).err());
        }
        let others = items.split_off(outcomes.len());
        // A runner that is gone needs them no more.
        drop(left.send(others.iter().map(|item| item.effect.profile).collect()));
        place.shrink(bytes);
        let with_body = items.iter().filter_map(|item| Some((item.effect.id_text(), item.body.clone()?)));
        let rendered: Vec<Rendered> = with_body.map(|(id, body)| Rendered { id, body }).collect();
        if !rendered.is_empty() {
            let mut sent = deliver(self.connector.clone(), rendered, self.at()).await.into_iter();
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
                *outcome = sent.next();
            }
        }
        // A connector that answers too few has said nothing of the rest.
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| later("no outcome")));
        Sent { items, outcomes: outcomes.collect(), place: Some(place) }
    }

    /// Seconds since 1970.
    pub(crate) fn at(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000)
    }

    /// Why an effect is not sent although its turn has come: it forwards a message that was deleted while it waited.
    /// Everything else goes out as it was said, for what follows in its lane builds on it; [`Sender::body`] sees to its name.
    async fn withheld(&self, effect: &Effect) -> Option<Outcome> {
        if !matches!(effect.change, Change::Event { .. }) {
            return None;
        }
        let (standing, effect) = (self.standing.clone(), effect.clone());
        match tokio::task::spawn_blocking(move || standing.of(&effect)).await {
            Ok(Ok(Stands::Nowhere(text))) => Some(Outcome::Refused(Answer { status: 0, text })),
            Ok(Ok(Stands::AsSaid | Stands::Changed(_))) => None,
            Ok(Err(error)) => Some(later(&error)),
            Err(error) => Some(later(&error)),
        }
    }

    /// The body of an effect's message: as it was sent before, or rendered.
    pub(crate) async fn body(&self, effect: &Effect, frozen: bool) -> Result<Vec<u8>, Outcome> {
        if frozen {
            let (journal, id, effect) = (self.journal.clone(), self.id, effect.id);
            let known = tokio::task::spawn_blocking(move || journal.look_up(id, &[effect])).await;
            match known.map_err(|error| later(&error)).and_then(|known| known.map_err(|e| later(&e)))?.pop() {
                Some(Known::Tried(tried)) if !tried.body.is_empty() => return Ok(tried.body),
                _ => {}
            }
        }
        match self.names.nameless(&effect.change) {
            None => {}
            Some(Nameless::NotYet) => return Err(later("what it tells of is not in the catalogue yet")),
            Some(Nameless::Removed(what)) => {
                let text = format!(
                    "not sent: the {what} that it tells of was removed before it could be sent, so there is no name to say it \
                     under; discard the letter"
                );
                return Err(Outcome::Refused(Answer { status: 0, text }));
            }
        }
        let event = match effect.change {
            Change::Event { at } => {
                let log = self.log.clone();
                let read = tokio::task::spawn_blocking(move || message(&log, at)).await;
                Some(read.unwrap_or_else(|error| Err(later(&error)))?)
            }
            _ => None,
        };
        let event_body = event.as_ref().map(|event| event.body.as_slice());
        let mut message = render(effect, &self.names, event_body).map_err(|error| {
            let text = format!("what the log has of it is not JSON, so there is nothing to send: {error}");
            Outcome::Refused(Answer { status: 0, text })
        })?;
        if let Some(event) = event {
            message["type"] = event.kind.into();
            message["timestamp"] = iso(event.ts).into();
        }
        Ok(message.to_string().into_bytes())
    }
}

struct Event {
    body: Vec<u8>,
    ts: Timestamp,
    kind: &'static str,
}

/// The message at `at`; without it there is nothing to forward.
fn message(log: &SharedLog, at: EventRef) -> Result<Event, Outcome> {
    let gone = || {
        let text = "the event is not in the log any more: it was deleted, or retention took it before it could be sent";
        Outcome::Refused(Answer { status: 0, text: text.to_owned() })
    };
    let entry = log.get(at.position).map_err(|error| match error {
        LogError::NotFound { .. } => gone(),
        other => later(&other),
    })?;
    let view = record::message_at(&entry.payload, at.index).map_err(|error| later(&error))?;
    let view = view.ok_or_else(gone)?;
    Ok(Event { body: view.body.to_vec(), ts: view.event_time(entry.rt), kind: view.message_type.as_str() })
}

/// Sends in a task of its own: a connector that panics has failed, and takes nothing with it.
pub(crate) async fn deliver(connector: Arc<dyn Connector>, rendered: Vec<Rendered>, at: i64) -> Vec<Outcome> {
    let count = rendered.len();
    let sent = tokio::spawn(async move { connector.deliver(&rendered, at).await }).await;
    let mut outcomes = sent.unwrap_or_else(|error| vec![later(&error); count]);
    if let [outcome] = outcomes.as_mut_slice()
        && let Outcome::RefusedTogether(answer) = outcome
    {
        // Alone there is nothing left to send in parts.
        *outcome = Outcome::Refused(std::mem::take(answer));
    }
    outcomes
}

fn later(error: &(impl ToString + ?Sized)) -> Outcome {
    Outcome::Retry { after: None, answer: Answer { status: 0, text: error.to_string() } }
}
