//! Outcomes, sorted and kept: first in the journal, then out of the outbox (DELIVERY-1).

use crate::backoff;
use crate::journal::{DeadLetter, Done, Journal, Tried, Wave};
use crate::lanes::Item;
use crate::reading::delete_rows;
use crate::room::Place;
use crate::sending::Sent;
use onefold_connector::{Answer, Outcome};
use onefold_store::{Error, Store};
use onefold_types::{DestinationId, ProfileHandle, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Waves of marks forgotten at once.
const FORGET_WAVES: usize = 256;

/// A wave, sorted by what became of its items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) delivered: Vec<Item>,
    pub(crate) dead: Vec<(Item, Answer)>,
    pub(crate) failed: Vec<(Item, Answer)>,
    /// Refused with others, and sent again without half of them: not yet an attempt of its own.
    pub(crate) parted: Vec<(Item, Answer)>,
    /// What the bodies take, until it is noted.
    pub(crate) places: Arc<Vec<Place>>,
    /// When the outcomes came.
    pub(crate) at: Timestamp,
}

impl Noted {
    /// Sorts what came back at `now` (`wall` on the clock).
    pub(crate) fn sort(
        sent: Vec<Sent>,
        now: Duration,
        wall: Timestamp,
        mut roll: impl FnMut() -> u64,
    ) -> Self {
        let mut noted = Self { at: wall, ..Self::default() };
        let mut places = Vec::new();
        for Sent { items, outcomes, place, .. } in sent {
            places.extend(place);
            let together = together(&items, &outcomes);
            let mut shared = None;
            let mut refused = Vec::new();
            for (mut item, outcome) in items.into_iter().zip(outcomes) {
                item.attempts =
                    item.attempts.saturating_add(u32::from(!matches!(outcome, Outcome::RefusedTogether(_))));
                match outcome {
                    Outcome::RefusedTogether(answer) => refused.push((item, answer)),
                    Outcome::Delivered(_) => noted.delivered.push(item),
                    Outcome::Refused(answer) => noted.dead.push((item, answer)),
                    Outcome::Retry { answer, .. } if item.deadline.is_some_and(|at| now >= at) => {
                        noted.dead.push((item, answer));
                    }
                    Outcome::Retry { after, answer } => {
                        let wait = backoff::wait(item.attempts, after, roll());
                        item.not_before =
                            now + if together.is_some() { *shared.get_or_insert(wait) } else { wait };
                        item.batch.clone_from(&together);
                        noted.failed.push((item, answer));
                    }
                }
            }
            noted.parted.extend(halves(refused));
        }
        Self { places: Arc::new(places), ..noted }
    }

    /// Keeps it. Doing so again changes nothing.
    pub(crate) fn keep(
        &self,
        id: DestinationId,
        journal: &Journal,
        store: &dyn Store,
        now: Duration,
    ) -> Result<(), Error> {
        journal.note(id, &self.wave(now))?;
        let rows: Vec<u64> = self.through().map(|item| item.sequence).collect();
        delete_rows(store, id, &rows)
    }

    fn through(&self) -> impl Iterator<Item = &Item> {
        self.delivered.iter().chain(self.dead.iter().map(|(item, _)| item))
    }

    fn wave(&self, now: Duration) -> Wave {
        let at = self.at;
        let on_the_clock = |instant: Duration| {
            let ahead = i64::try_from(instant.saturating_sub(now).as_millis()).unwrap_or(i64::MAX);
            Timestamp(at.0.saturating_add(ahead))
        };
        let tried = |(item, _): &(Item, Answer)| {
            let tried = Tried {
                attempts: item.attempts,
                deadline: on_the_clock(item.deadline.unwrap_or(now)),
                due: on_the_clock(item.not_before),
                body: item.body.clone().unwrap_or_default(),
            };
            (item.effect.id, tried)
        };
        let dead = |(item, answer): &(Item, Answer)| DeadLetter {
            sequence: item.sequence,
            effect: item.effect.clone(),
            body: item.body.clone().unwrap_or_default(),
            attempts: item.attempts,
            answer: answer.clone(),
            at,
        };
        let done = |item: &Item| Done {
            sequence: item.sequence,
            id: item.effect.id,
            observed: item.effect.observed,
        };
        Wave {
            done: self.through().map(done).collect(),
            dead: self.dead.iter().map(dead).collect(),
            tried: self.failed.iter().chain(&self.parted).map(tried).collect(),
        }
    }
}

/// Those that were in one request which failed as a whole: they go together again, so that the request is the same. One
/// that was set apart stays so, for it may be the one that the others were refused for.
fn together(items: &[Item], outcomes: &[Outcome]) -> Option<Arc<[(ProfileHandle, u64)]>> {
    let failed = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. }));
    let is_set = items.len() > 1 || items.iter().any(|item| item.batch.is_some());
    (is_set && failed).then(|| mates(items.iter()))
}

fn mates<'a>(items: impl Iterator<Item = &'a Item>) -> Arc<[(ProfileHandle, u64)]> {
    items.map(|item| (item.effect.profile, item.sequence)).collect()
}

/// What was refused together, as the two requests that follow (DELIVERY-5). They are as due as the one was: nobody asked
/// to wait.
fn halves(mut refused: Vec<(Item, Answer)>) -> Vec<(Item, Answer)> {
    let half = refused.len().div_ceil(2).max(1);
    for half in refused.chunks_mut(half) {
        let mates = mates(half.iter().map(|(item, _)| item));
        half.iter_mut().for_each(|(item, _)| item.batch = Some(mates.clone()));
    }
    refused
}

/// Forgets marks of effects from before the log's `begin`; whether there are more. The caller has looked up every row that
/// there was when the log already began there, and notes nothing meanwhile (JOURNAL-2).
pub(crate) fn forget(
    id: DestinationId,
    journal: &Journal,
    store: &dyn Store,
    begin: Timestamp,
) -> Result<bool, Error> {
    // Rows that are deleted must stay so before their marks go.
    store.sync()?;
    journal.forget(id, begin, FORGET_WAVES)
}
