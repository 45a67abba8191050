//! Dead letters, sent again: one, or all of a destination in turn; or given up.

use crate::breaker::LANES;
use crate::journal::DeadLetter;
use crate::sending::{Sender, deliver};
use crate::service::{Delivery, Error, blocking};
use crate::standing::Stands;
use onefold_connector::{Answer, Outcome, Rendered};
use onefold_types::DestinationId;
use onefold_types::effect::Effect;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// Letters that are sent again in one go at most.
pub const LETTERS_MAX: usize = 1_000;

/// After this time no further letter is begun.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Letters read at once.
const PAGE: usize = 50;

/// What became of the letters that were sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Letters that were delivered, and are none any more.
    pub delivered: u64,
    /// Letters that were not, by number, and why. They stay.
    pub failed: Vec<(u64, Answer)>,
    /// The number from which on to go on; `None` if there is no further letter.
    pub next: Option<u64>,
    /// What the other side said when it took nothing more: going on at once would be for nothing. `next` is the first
    /// letter that it did not take then.
    pub stopped: Option<Answer>,
}

/// Holds a dead letter for the one who sends or discards it.
struct Hold<'a> {
    delivery: &'a Delivery,
    letter: (DestinationId, u64),
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.delivery.redriven.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.letter);
    }
}

impl Delivery {
    /// Dead letters of a destination from number `from`.
    ///
    /// # Errors
    /// No such destination, or the journal failed.
    pub fn dead_letters(&self, key: &str, from: u64, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.journal.dead_letters(self.find(key)?.0, from, limit)?)
    }

    fn hold(&self, destination: &str, id: DestinationId, sequence: u64) -> Result<Hold<'_>, Error> {
        let letter = (id, sequence);
        if !self.redriven.lock().unwrap_or_else(PoisonError::into_inner).insert(letter) {
            return Err(Error::UnderWay { destination: destination.to_owned(), sequence });
        }
        Ok(Hold { delivery: self, letter })
    }

    /// Sends a dead letter once more, outside its lane: it is older than all that waits there. What was overtaken since is
    /// sent as it stands now ([`Standing`](crate::Standing)), as of the commit that says so; what was not goes with the body
    /// that it had. One of which nothing can be said any more is refused without a request, with the reason as the answer. A
    /// letter that is not delivered stays.
    ///
    /// # Errors
    /// There is no such letter or destination, it is being sent already, or the journal or the state failed.
    pub async fn retry(&self, key: &str, sequence: u64) -> Result<Outcome, Error> {
        let (id, setup) = self.find(key)?;
        let held = self.hold(key, id, sequence)?;
        let (journal, standing) = (self.journal.clone(), self.standing.clone());
        let found = blocking(move || {
            let Some(letter) = journal.dead_letter(id, sequence)? else { return Ok(None) };
            let stands = standing.of(&letter.effect)?;
            Ok(Some((letter, stands)))
        });
        let missing = || Error::NoLetter { destination: key.to_owned(), sequence };
        let (letter, stands) = found.await?.ok_or_else(missing)?;
        let connector = setup.connector.ok_or_else(|| Error::NoDestination(key.to_owned()))?;
        let sender = Sender {
            id,
            connector: connector.clone(),
            journal: self.journal.clone(),
            log: self.log.clone(),
            standing: self.standing.clone(),
            names: setup.names,
            clock: self.clock.clone(),
        };
        let body = match stands {
            Stands::AsSaid if letter.body.is_empty() => sender.body(&letter.effect, false).await,
            Stands::AsSaid => Ok(letter.body),
            Stands::Changed(current) => {
                let id = letter.effect.id;
                sender.body(&Effect { id, ..*current }, false).await
            }
            Stands::Nowhere(text) => Err(Outcome::Refused(Answer { status: 0, text })),
        };
        let body = match body {
            Ok(body) => body,
            Err(outcome) => return Ok(outcome),
        };
        let item = vec![Rendered { id: letter.effect.id_text(), body }];
        let outcome = deliver(connector, item, sender.at()).await.pop();
        let outcome = outcome.unwrap_or(Outcome::Retry { after: None, answer: Answer::default() });
        if matches!(outcome, Outcome::Delivered(_)) {
            let journal = self.journal.clone();
            self.looked_at(blocking(move || journal.bury(id, sequence)).await)?;
        }
        drop(held);
        Ok(outcome)
    }

    /// Sends the dead letters of a destination once more, from number `from` on: one after the other by number, so that
    /// those of a person go in their order. Ends after `limit` letters ([`LETTERS_MAX`] at most) or 20 seconds, and when the
    /// destination takes nothing: it names a time, or [`LANES`] letters in a row fail for no reason of their own.
    ///
    /// # Errors
    /// There is no such destination, or the journal or the state failed; what was delivered till then is no letter any more.
    pub async fn retry_all(&self, key: &str, from: u64, limit: usize) -> Result<Redriven, Error> {
        let id = self.find(key)?.0;
        let limit = limit.clamp(1, LETTERS_MAX);
        let (start, mut next, mut tried) = (Instant::now(), from, 0);
        let mut redriven = Redriven::default();
        // Letters in a row that the destination did not take for no reason of theirs: the first, and how many.
        let mut down: Option<(u64, usize)> = None;
        loop {
            let (journal, count) = (self.journal.clone(), PAGE.min(limit - tried));
            let page = blocking(move || journal.dead_letters(id, next, count)).await?;
            if page.is_empty() && tried < limit {
                return Ok(redriven);
            }
            for number in page.into_iter().map(|letter| letter.sequence) {
                if start.elapsed() >= TIME_MAX {
                    if let (Some((first, count)), Some((_, answer))) = (down, redriven.failed.last())
                        && count == tried
                    {
                        redriven.stopped = Some(answer.clone());
                        next = first;
                    }
                    return Ok(Redriven { next: Some(next), ..redriven });
                }
                tried += 1;
                next = number + 1;
                match self.retry(key, number).await {
                    // Someone else has just delivered it, or given it up.
                    Err(Error::NoLetter { .. }) => continue,
                    Err(error @ Error::UnderWay { .. }) => {
                        redriven.failed.push((number, Answer { status: 0, text: error.to_string() }));
                        continue;
                    }
                    Err(error) => return Err(error),
                    Ok(Outcome::Delivered(_)) => redriven.delivered += 1,
                    Ok(Outcome::Refused(answer) | Outcome::RefusedTogether(answer)) => {
                        redriven.failed.push((number, answer));
                    }
                    Ok(Outcome::Retry { after, answer }) => {
                        redriven.failed.push((number, answer.clone()));
                        let (first, count) = down.map_or((number, 1), |(first, count)| (first, count + 1));
                        if count >= LANES || after.is_some_and(|after| !after.is_zero()) {
                            return Ok(Redriven { next: Some(first), stopped: Some(answer), ..redriven });
                        }
                        down = Some((first, count));
                        continue;
                    }
                }
                down = None;
            }
            if tried >= limit {
                return Ok(Redriven { next: Some(next), ..redriven });
            }
        }
    }

    /// Gives a dead letter up for good.
    ///
    /// # Errors
    /// There is no such letter or destination, it is being sent, or the journal failed.
    pub fn discard(&self, key: &str, sequence: u64) -> Result<(), Error> {
        let id = self.find(key)?.0;
        let held = self.hold(key, id, sequence)?;
        let was_there = self.looked_at(self.journal.bury(id, sequence))?;
        drop(held);
        if was_there { Ok(()) } else { Err(Error::NoLetter { destination: key.to_owned(), sequence }) }
    }
}
