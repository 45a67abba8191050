//! Profiles by their streams, and every index by the profiles.

use super::Verification;
use crate::batch::Batch;
use crate::error::Error;
use crate::profile::Profile;
use crate::rows;
use crate::touch::Touch;
use crate::view::PlainTraits;
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::{ProfileHandle, outbox};
use std::collections::{BTreeMap, BTreeSet};

impl Batch<'_> {
    /// ORACLE for profiles and audiences, and the indexes over them.
    pub(super) fn verify_profiles(&mut self, found: &mut Verification) -> Result<(), Error> {
        let mut handles = Vec::new();
        self.txn.scan(Table::Profile, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, _| {
            handles.push(rows::number_from("prof", key));
            true
        })?;
        let mut sizes: BTreeMap<u32, i64> = BTreeMap::new();
        let (mut persons, mut armed, mut memberships) = (0i64, 0u64, 0u64);
        for handle in handles {
            let handle = ProfileHandle(handle?);
            let Some(profile) = self.memory.profiles.get(self.txn.as_ref(), &handle)? else { continue };
            persons += i64::from(profile.is_person());
            if !profile.is_person() {
                let (handle, members) = (handle.0, profile.state.members());
                found.find(
                    "ORACLE",
                    format!(
                        "profile {handle} owns no event and has a row, audiences {members:?}: expected none"
                    ),
                );
            }
            for audience in profile.state.members() {
                *sizes.entry(audience.0).or_default() += 1;
                let row = self.txn.get(Table::AudienceMember, &outbox::member_key(audience.0, handle))?;
                let since = row.map(|row| rows::instant_from("audience", &row));
                if !matches!(since, Some(Ok(since)) if since <= self.now) {
                    let detail = format!(
                        "profile {} is in audience {}, whose list has it since {since:?}: expected an instant that has been",
                        handle.0, audience.0
                    );
                    found.find("ATOM", detail);
                }
            }
            armed += u64::from(profile.armed.is_some());
            memberships += profile.accounts.len() as u64;
            self.verify_key(handle, &profile, found)?;
            self.verify_times(handle, &profile, found)?;
            self.verify_timer(handle, &profile, found)?;
            self.verify_profile(handle, &profile, found)?;
            self.memory.relax();
            self.memory.profiles.relax(1_000);
        }
        if persons != self.memory.counters.persons {
            let detail = format!("{persons} persons: expected {}, as counted", self.memory.counters.persons);
            found.find("ATOM", detail);
        }
        let mut rows = [0u64; 2];
        for (table, count) in [Table::Timer, Table::AudienceMember].into_iter().zip(&mut rows) {
            self.txn.scan(table, &KeyRange::prefix(&[]), Direction::Forward, &mut |_, _| {
                *count += 1;
                true
            })?;
        }
        if rows[0] != armed {
            found.find("BOUND", format!("{} timers are planted: expected {armed}, one per profile", rows[0]));
        }
        let mut listed = 0u64;
        self.txn.scan(Table::Account, &KeyRange::prefix(b"m"), Direction::Forward, &mut |_, _| {
            listed += 1;
            true
        })?;
        if listed != memberships {
            found.find("ATOM", format!("{listed} rows in the lists of accounts: expected {memberships}"));
        }
        let members: i64 = sizes.values().sum();
        if rows[1] != members.unsigned_abs() {
            found.find("ATOM", format!("{} rows in the lists of audiences: expected {members}", rows[1]));
        }
        let audiences: BTreeSet<u32> = sizes.keys().chain(self.memory.sizes.keys()).copied().collect();
        for audience in audiences {
            let (is, said) = (sizes.get(&audience), self.memory.sizes.get(&audience));
            let (is, said) = (is.copied().unwrap_or_default(), said.copied().unwrap_or_default());
            if is != said {
                found.find(
                    "ATOM",
                    format!("audience {audience} has {is} members: expected {said}, as counted"),
                );
            }
        }
        Ok(())
    }

    /// ATOM: the times that no event can give again are there, and the lists of accounts say what the profile says.
    fn verify_times(
        &self,
        handle: ProfileHandle,
        profile: &Profile,
        found: &mut Verification,
    ) -> Result<(), Error> {
        for (id, value) in profile.state.computed() {
            let since = profile.computed_since(*id);
            if since.is_none_or(|since| since > self.now) {
                let (handle, id) = (handle.0, id.0);
                found.find(
                    "ATOM",
                    format!("computed trait {id} of profile {handle} is {value} since {since:?}: expected an instant that has been"),
                );
            }
        }
        for (account, since) in &profile.accounts {
            let row = self.txn.get(Table::Account, &rows::account_member_key(account, handle))?;
            if row.is_none_or(|row| *row != since.to_key()) {
                found.find(
                    "ATOM",
                    format!("profile {} is not in the list of account {account} since {since:?}", handle.0),
                );
            }
        }
        Ok(())
    }

    fn verify_timer(
        &mut self,
        handle: ProfileHandle,
        profile: &Profile,
        found: &mut Verification,
    ) -> Result<(), Error> {
        let due = self.compiled.plan.next_due(&profile.state);
        if due.is_some_and(|due| profile.armed.is_none_or(|armed| armed > due)) {
            let (armed, handle) = (profile.armed, handle.0);
            found
                .find("BOUND", format!("profile {handle} changes at {due:?}, and its timer is at {armed:?}"));
        }
        if let Some(armed) = profile.armed {
            if armed.plus(1) < self.now {
                found.find("BOUND", format!("the timer of profile {} was due at {}", handle.0, armed.0));
            }
            if self.txn.get(Table::Timer, &rows::timer_key(armed, handle))?.is_none() {
                found.find("BOUND", format!("profile {} has no row for its timer at {}", handle.0, armed.0));
            }
        }
        Ok(())
    }

    fn verify_profile(
        &mut self,
        handle: ProfileHandle,
        profile: &Profile,
        found: &mut Verification,
    ) -> Result<(), Error> {
        let mut touch = Touch::default();
        let mut rebuilt = self.rebuild(handle, profile, &mut touch)?;
        if rebuilt.trimmed > 0 {
            found.trimmed += 1;
            return Ok(());
        }
        found.profiles += 1;
        let mut differs = |what: &str, is: &dyn std::fmt::Debug, should: &dyn std::fmt::Debug| {
            found.find(
                "ORACLE",
                format!("profile {}: {what} {is:?}: expected {should:?} by the log", handle.0),
            );
        };
        if profile.events != rebuilt.events {
            differs("number of events", &profile.events, &rebuilt.events);
        }
        if (&profile.first, &profile.last) != (&rebuilt.first, &rebuilt.last) {
            differs(
                "first and last event",
                &(&profile.first, &profile.last),
                &(&rebuilt.first, &rebuilt.last),
            );
        }
        if profile.traits != rebuilt.traits {
            differs("traits", &*profile.traits, &*rebuilt.traits);
        }
        if profile.accounts != rebuilt.accounts {
            differs("accounts", &profile.accounts, &rebuilt.accounts);
        }
        let compiled = self.compiled.clone();
        if profile.catalogue != compiled.catalogue.version.0 {
            found.behind += 1;
            return Ok(());
        }
        // What is due at this very instant fires when the log's time is past it.
        let mut state = profile.state.clone();
        compiled.plan.run_timers(&mut state, &PlainTraits(&profile.traits), self.now.plus(1));
        let traits = PlainTraits(&rebuilt.traits);
        compiled.plan.settle(&mut rebuilt.state, &mut touch.primitives, &traits, self.now);
        if state.members() != rebuilt.state.members() {
            differs("audiences", &state.members(), &rebuilt.state.members());
        }
        if state.computed() != rebuilt.state.computed() {
            differs("computed traits", &state.computed(), &rebuilt.state.computed());
        }
        // What windows still hold of it is forgotten when they are looked at: then the rest must be the same.
        let mut touched = Touch::default();
        compiled.plan.touch_everything(&mut touched.primitives);
        compiled.plan.settle(&mut state, &mut touched.primitives, &PlainTraits(&profile.traits), self.now);
        if state != rebuilt.state {
            differs("counts", &state, &rebuilt.state);
        }
        Ok(())
    }
}
