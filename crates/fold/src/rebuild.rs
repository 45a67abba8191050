//! A profile's content from its streams: after a split, an undo, a late change of owner, a new definition.
//!
//! The streams say what a profile owns; bodies are read from the log only where a trait, an account or a primitive
//! wants one.

use crate::batch::{Batch, record_error};
use crate::catalogue::Compiled;
use crate::error::Error;
use crate::graph::stream_rows;
use crate::message::traits_of;
use crate::profile::{Profile, Stamp, TraitValue};
use crate::touch::Touch;
use onefold_audience::NewPrimitives;
use onefold_identity::engine::{Range, owned_ranges};
use onefold_identity::graph::{Graph, StreamRow};
use onefold_log::record::message_at;
use onefold_store::Direction;
use onefold_types::{MessageType, ProfileHandle, Timestamp};

/// What a rebuild takes from each event.
enum Want<'a> {
    /// Everything: counts, traits, accounts, all primitives. What trimmed messages set is taken from the old profile.
    Everything(&'a Profile),
    /// Only what new primitives count.
    Primitives(&'a NewPrimitives),
}

impl Want<'_> {
    /// Whether an event of this type and name must be read, and not only its stream row.
    fn needs_body(&self, compiled: &Compiled, message_type: MessageType, name: &str) -> bool {
        match self {
            Want::Everything(_) => {
                matches!(message_type, MessageType::Identify | MessageType::Group)
                    || compiled.plan.needs_body(None, message_type, name)
            }
            Want::Primitives(new) => compiled.plan.needs_body(Some(new), message_type, name),
        }
    }

    /// Whether it says how many events retention has trimmed, those too that need no body.
    const fn tells_trimmed(&self) -> bool {
        matches!(self, Want::Everything(_))
    }

    /// Counts one event. Without a `body` what it said is not known, or not asked for.
    fn count(
        &self,
        compiled: &Compiled,
        profile: &mut Profile,
        touch: &mut Touch,
        (message_type, name): (MessageType, &str),
        body: Option<&[u8]>,
        ts: Timestamp,
    ) {
        let (state, primitives) = (&mut profile.state, &mut touch.primitives);
        match self {
            Want::Everything(_) => {
                compiled.plan.observe(state, primitives, message_type, name, body, ts);
                profile.saw(ts);
            }
            Want::Primitives(new) => {
                compiled.plan.observe_new(new, state, primitives, message_type, name, body, ts);
            }
        }
    }
}

impl Batch<'_> {
    /// Everything anew; memberships, computed values and their times, transition number and lanes stay, so that settling
    /// finds the difference.
    pub(crate) fn rebuild(
        &mut self,
        handle: ProfileHandle,
        old: &Profile,
        touch: &mut Touch,
    ) -> Result<Profile, Error> {
        let compiled = self.compiled.clone();
        let was_person = old.is_person();
        let mut profile = Profile {
            state: old.state.clone().emptied(),
            changed: old.changed.clone(),
            catalogue: compiled.catalogue.version.0,
            armed: old.armed,
            transitions: old.transitions,
            absorbed: old.absorbed.clone(),
            ..Profile::default()
        };
        compiled.plan.begin(&mut profile.state, &mut touch.primitives);
        self.replay(handle, &mut profile, touch, &Want::Everything(old))?;
        compiled.plan.touch_everything(&mut touch.primitives);
        self.memory.counters.persons += i64::from(profile.is_person()) - i64::from(was_person);
        Ok(profile)
    }

    /// Adds what `new` primitives count of the history.
    pub(crate) fn replay_new(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        touch: &mut Touch,
        new: &NewPrimitives,
    ) -> Result<(), Error> {
        self.replay(handle, profile, touch, &Want::Primitives(new))
    }

    fn replay(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        touch: &mut Touch,
        want: &Want<'_>,
    ) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        let ranges = owned_ranges(&compiled.rules, self, handle)?;
        for range in &ranges {
            for row in self.rows_of(range)? {
                self.replay_row(profile, touch, want, row)?;
            }
        }
        Ok(())
    }

    /// The stream rows of a range, in order.
    pub(crate) fn rows_of(&mut self, range: &Range) -> Result<Vec<StreamRow>, Error> {
        self.rows_within(range, (Timestamp::MIN, Timestamp::MAX), Direction::Forward, usize::MAX)
    }

    /// The stream rows of a range with `from <= ts <= to`, from the end that `direction` begins at: at least `enough` of
    /// them, if there are as many.
    pub(crate) fn rows_within(
        &mut self,
        range: &Range,
        (from, to): (Timestamp, Timestamp),
        direction: Direction,
        enough: usize,
    ) -> Result<Vec<StreamRow>, Error> {
        // The bounds are (ts, message id): rows at the very instants are decided by message id below.
        let end = range.to.as_ref().map(|to| to.ts);
        let on_edge = |row: &StreamRow| row.ts == range.from.ts || end == Some(row.ts);
        let (from, to) = (from.max(range.from.ts), to.min(end.unwrap_or(Timestamp::MAX)));
        let (mut found, mut certain) = (Vec::new(), 0);
        stream_rows(self.txn.as_ref(), range.stream, (from, to), direction, &mut |row| {
            if range.takes(row.set) {
                certain += usize::from(!on_edge(&row));
                found.push(row);
            }
            certain < enough
        })?;
        let mut inside = Vec::with_capacity(found.len());
        for row in found {
            if !on_edge(&row) || range.contains(row.ts, &self.message_id(row.at)?) {
                inside.push(row);
            }
        }
        Ok(inside)
    }

    fn replay_row(
        &mut self,
        profile: &mut Profile,
        touch: &mut Touch,
        want: &Want<'_>,
        row: StreamRow,
    ) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        if let Some((message_type, name)) = self.name_at_hand(row.name)?
            && !want.needs_body(&compiled, message_type, &name)
            && !(want.tells_trimmed() && row.at.position < self.setting.log.first())
        {
            // The row says it all; reading the body from the log is what makes a replay slow.
            want.count(&compiled, profile, touch, (message_type, &name), None, row.ts);
            return Ok(());
        }
        let Some(entry) = self.read_kept(row.at)? else {
            return self.replay_trimmed(profile, touch, want, row);
        };
        let Some(view) = message_at(&entry.payload, row.at.index).map_err(|e| record_error(&entry, &e))?
        else {
            return Ok(());
        };
        if let Want::Everything(_) = want {
            match view.message_type {
                MessageType::Identify => {
                    let stamp = Stamp { ts: row.ts, message_id: view.message_id.to_owned() };
                    for (key, json) in traits_of(view.body) {
                        let value = TraitValue { json, stamp: stamp.clone(), source: view.source.to_owned() };
                        profile.traits.set(&key, value);
                    }
                }
                MessageType::Group => {
                    profile.joins(view.group_id, row.ts);
                }
                _ => {}
            }
            // What is over the limits was counted when it came.
            profile.bound();
        }
        want.count(&compiled, profile, touch, (view.message_type, view.name), Some(view.body), row.ts);
        Ok(())
    }

    /// A row whose message retention has trimmed: what the row itself says, and what the old profile has of that instant.
    fn replay_trimmed(
        &mut self,
        profile: &mut Profile,
        touch: &mut Touch,
        want: &Want<'_>,
        row: StreamRow,
    ) -> Result<(), Error> {
        self.memory.counters.trimmed += 1;
        let compiled = self.compiled.clone();
        let Some((message_type, name)) = self.name_at_hand(row.name)? else { return Ok(()) };
        if let Want::Everything(old) = want {
            profile.trimmed += 1;
            for (key, value) in old.traits.iter().filter(|(_, value)| value.stamp.ts == row.ts) {
                profile.traits.set(key, value.clone());
            }
            for (account, since) in old.accounts.iter().filter(|(_, since)| **since == row.ts) {
                profile.accounts.entry(account.clone()).or_insert(*since);
            }
            profile.bound();
        }
        // Properties are unknown, so nothing that asks for one counts it, whatever it asks.
        want.count(&compiled, profile, touch, (message_type, &name), None, row.ts);
        Ok(())
    }
}
