//! Time passes: timers fire in order of (due, profile), each with its due instant as the effective time (BOUND).

use crate::batch::Batch;
use crate::error::Error;
use crate::memory::NEAR_MS;
use crate::view::PlainTraits;
use onefold_types::effect::Cause;
use onefold_types::{ProfileHandle, Timestamp};

impl Batch<'_> {
    /// Fires every timer due before `until`; `false` if the batch's share ran out before the end.
    pub(crate) fn fire_timers(&mut self, until: Timestamp) -> Result<bool, Error> {
        self.observed = self.observed.max(until);
        loop {
            if self.memory.horizon < until {
                let horizon = until.plus(NEAR_MS);
                self.memory.load_timers(self.txn.as_ref(), horizon)?;
            }
            let Some(&(due, handle)) = self.memory.timers.first().filter(|(due, _)| *due < until) else {
                return Ok(true);
            };
            if self.timers_left == 0 {
                return Ok(false);
            }
            self.timers_left -= 1;
            self.fire(due, handle)?;
        }
    }

    fn fire(&mut self, due: Timestamp, handle: ProfileHandle) -> Result<(), Error> {
        self.disarm(due, handle);
        self.report.timers += 1;
        self.now = self.now.max(due);
        // What was due then has fired alone: no record may come at that instant any more, also after a restart (BOUND).
        self.fired_before = self.fired_before.max(due.plus(1));
        let Some(mut profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? else { return Ok(()) };
        if profile.armed != Some(due) {
            self.memory.profiles.put(handle, profile);
            return Ok(());
        }
        profile.armed = None;
        self.memory.profiles.put(handle, profile);
        self.catch_up(handle)?;
        let Some(mut profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? else { return Ok(()) };
        let compiled = self.compiled.clone();
        let flips = compiled.plan.run_timers(&mut profile.state, &PlainTraits(&profile.traits), due.plus(1));
        self.named = None;
        self.send_flips(handle, &mut profile, flips, &Cause::Time)?;
        self.rearm(handle, &mut profile)?;
        self.memory.profiles.put(handle, profile);
        Ok(())
    }
}
