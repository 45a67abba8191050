//! A new or edited definition over history while live events go on (B12, B14; audiences.md 2.6).
//!
//! A profile's blob says for which catalogue it is complete. Whoever touches a profile that is behind (a message, a
//! timer, a merge, a decision) first brings it up to date: replays what the new primitives count, looks at the definitions
//! as of the cut-over, tells destinations that are new to it, then lets its timers run forward. A scanner in the gaps
//! touches all the others.

use crate::batch::{Batch, record_error};
use crate::effects::Transition;
use crate::error::Error;
use crate::memory::{Backfill, CATALOGUE, CATALOGUE_VERSION, compile};
use crate::profile::Profile;
use crate::report::Happening;
use crate::touch::Touch;
use crate::view::PlainTraits;
use onefold_identity::engine::{Changes, Transition as IdentityTransition};
use onefold_log::Entry;
use onefold_log::record::{Kind, Record};
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::effect::{Cause, Change};
use onefold_types::{AudienceId, CatalogueVersion, ProfileHandle, Timestamp};
use std::sync::Arc;

impl Batch<'_> {
    /// A catalogue record: the definitions change here, for every profile at once.
    pub(crate) fn fold_catalogue(&mut self, entry: &Entry, json: &[u8]) -> Result<(), Error> {
        let next = match compile(json) {
            Ok(next) => next,
            // The admin API compiled it before it was appended: only another version of Onefold gets here.
            Err(error) => {
                tracing::error!(position = %entry.position, %error, "a catalogue in the log was not taken over");
                return Ok(());
            }
        };
        let (version, current) = (next.catalogue.version.0, self.compiled.catalogue.version.0);
        if version == current && next.catalogue == self.compiled.catalogue {
            // Said once more, for what stood before it in the log is to be trimmed.
            self.catalogue_stands_at(entry.position);
            return Ok(());
        }
        // The first is taken as it is: a log that was trimmed begins with a later one.
        if current > 0 && version != current + 1 {
            // Two operators applied at once: the first in the log wins, the second is told so.
            self.report.note(Happening::Quarantined { code: "stale_catalogue".to_owned() });
            return Ok(());
        }
        self.catalogue_stands_at(entry.position);
        let next = Arc::new(next);
        let before = self.compiled.clone();
        self.txn.put(Table::Meta, CATALOGUE.to_vec(), json.to_vec());
        let version = next.catalogue.version.0.to_be_bytes();
        self.txn.put(Table::Meta, CATALOGUE_VERSION.to_vec(), version.to_vec());
        let end = self.memory.counters.next_profile;
        let backfill = Backfill { version: next.catalogue.version.0, cut: self.now, next: 0, end };
        self.memory.compiled = next.clone();
        self.memory.memo.clear();
        self.compiled = next;
        self.save_backfill((end > 0).then_some(backfill))?;
        let (old, new) = (&before.catalogue.workspace.identity, &self.compiled.catalogue.workspace.identity);
        // Without a message and a decision there is nobody yet.
        if old == new || self.memory.counters.next_node == 0 {
            return Ok(());
        }
        let identity = new.clone();
        self.change_rules(&before.rules, &identity, entry.position)
    }

    /// Brings up to date everyone whom a step of identity will change: afterwards they are others, and what the
    /// definitions in force made of them at the cut could not be told.
    pub(crate) fn catch_up_with(&mut self, foreseen: &Changes) -> Result<(), Error> {
        for transition in &foreseen.transitions {
            match transition {
                IdentityTransition::Merged { from, into } => {
                    self.catch_up(*from)?;
                    self.catch_up(*into)?;
                }
                // What was due before is told under the id of before.
                IdentityTransition::IdChanged { profile, .. } => self.catch_up(*profile)?,
                IdentityTransition::Split { .. } | IdentityTransition::Moved { .. } => {}
            }
        }
        for handle in &foreseen.rebuild {
            self.catch_up(*handle)?;
        }
        Ok(())
    }

    /// Brings one profile up to date with the catalogue in force.
    pub(crate) fn catch_up(&mut self, handle: ProfileHandle) -> Result<(), Error> {
        let Some(backfill) = self.memory.backfill.clone() else { return Ok(()) };
        let Some(known) = self.memory.profiles.get(self.txn.as_ref(), &handle)? else { return Ok(()) };
        // Whoever owns nothing is in no audience, whatever it says.
        let is_current = known.catalogue >= backfill.version;
        if !known.is_person() || is_current || self.touched.get(&handle).is_some_and(|touch| touch.rebuild) {
            return Ok(());
        }
        drop(known);
        let Some(mut profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? else { return Ok(()) };
        let compiled = self.compiled.clone();
        let mut touch = Touch::default();
        let old_members = profile.state.members().to_vec();
        let new = compiled.plan.added_since(&profile.state);
        compiled.plan.prune(&mut profile.state);
        profile.changed.retain(|(id, _)| compiled.catalogue.traits.values().any(|known| known == id));
        self.named = None;
        for audience in old_members {
            if !profile.state.members().contains(&audience) {
                self.end(audience, handle, &mut profile, backfill.cut)?;
            }
        }
        if !new.is_empty() {
            self.replay_new(handle, &mut profile, &mut touch, &new)?;
        }
        compiled.plan.complete(&mut profile.state);
        compiled.plan.touch_everything(&mut touch.primitives);
        let at_cut = compiled.plan.settle(
            &mut profile.state,
            &mut touch.primitives,
            &PlainTraits(&profile.traits),
            backfill.cut,
        );
        self.named = None;
        // Until the profile is complete for this version, the routes that begin with it are new to it.
        self.send_present(handle, &mut profile, &at_cut, backfill.cut)?;
        self.send_flips(handle, &mut profile, at_cut, &Cause::Definition)?;
        profile.catalogue = backfill.version;
        let since = compiled.plan.run_timers(&mut profile.state, &PlainTraits(&profile.traits), self.now);
        self.send_flips(handle, &mut profile, since, &Cause::Time)?;
        self.rearm(handle, &mut profile)?;
        self.memory.profiles.put(handle, profile);
        Ok(())
    }

    /// An audience was removed or disabled: whoever was told of the entry is told of the exit (ROUTE-2).
    fn end(
        &mut self,
        audience: AudienceId,
        handle: ProfileHandle,
        profile: &mut Profile,
        cut: Timestamp,
    ) -> Result<(), Error> {
        self.leave(audience, handle);
        self.report.note(Happening::Exited { audience, profile: handle, effective: cut });
        let change = Change::Exited { audience };
        let transition = Transition { profile: handle, effective: cut, change, cause: Cause::Definition };
        self.emit(profile, None, &transition)
    }

    /// One backfill at a time: the next catalogue, and with it everything behind it, waits for the one that runs. What a
    /// definition made of a profile at its cut, and what time changed until the next cut, can be told only by that
    /// definition (B12), and only one is in force. Everything else goes on, for it brings up to date whom it touches.
    /// Nobody appends a catalogue while one is not done (`Admin::apply` waits): only a log that is folded anew, or one of
    /// before that was so, comes here. What is due before the catalogue's instant fires first: it may have to wait long.
    /// Does a share of what is left; says whether that was all.
    pub(crate) fn finish_backfill_before(&mut self, entry: &Entry, kind: Kind) -> Result<bool, Error> {
        if kind != Kind::Catalogue || self.memory.backfill.is_none() || !self.is_next_catalogue(entry)? {
            return Ok(true);
        }
        if !self.fire_timers(entry.rt)? {
            return Ok(false);
        }
        self.backfill_some(self.setting.timers_max)?;
        Ok(self.memory.backfill.is_none())
    }

    /// Whether a catalogue record will come into force: one that is said once more, or stale, changes nothing.
    fn is_next_catalogue(&self, entry: &Entry) -> Result<bool, Error> {
        #[derive(serde::Deserialize)]
        struct Numbered {
            version: CatalogueVersion,
        }
        let record = Record::decode(&entry.payload).map_err(|error| record_error(entry, &error))?;
        let Record::Catalogue(json) = record else { return Ok(false) };
        let version = serde_json::from_slice::<Numbered>(&json).map(|numbered| numbered.version.0);
        Ok(version.is_ok_and(|version| version == self.compiled.catalogue.version.0 + 1))
    }

    /// Brings up to `count` further profiles up to date.
    pub(crate) fn backfill_some(&mut self, count: usize) -> Result<(), Error> {
        let Some(mut backfill) = self.memory.backfill.clone() else { return Ok(()) };
        // Profiles of this batch are not in the transaction yet, and some are below `end`.
        self.memory.profiles.flush(self.txn.as_mut())?;
        let mut handles = Vec::new();
        let range =
            KeyRange::between(crate::rows::number_key(backfill.next), crate::rows::number_key(backfill.end));
        let limit = count.min(4_096);
        self.txn.scan(Table::Profile, &range, Direction::Forward, &mut |key, _| {
            handles.push(crate::rows::number_from("prof", key));
            handles.len() < limit
        })?;
        let done = handles.len() < limit;
        for handle in handles {
            let handle = handle?;
            self.catch_up(ProfileHandle(handle))?;
            backfill.next = handle + 1;
        }
        self.save_backfill((!done).then_some(backfill))
    }
}
