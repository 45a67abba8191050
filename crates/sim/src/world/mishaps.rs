//! What else may happen: crashes, commits that fail or lie, a disk that is slow, full or torn, a delivery that is killed.

use super::World;
use super::homes::LogHome;
use crate::faults::{CROSS, FAIL, LIE, Wound};
use std::sync::atomic::Ordering;

impl World {
    /// What else may happen.
    pub(super) fn mishap(&mut self) {
        match self.dice.below(100) {
            0..8 => self.crash(),
            8..14 => {
                self.commit.store(*self.dice.pick(&[FAIL, LIE, CROSS]), Ordering::SeqCst);
            }
            14..24 => drop(self.worker().sync()),
            24..34 => {
                if let LogHome::Memory(log) = &self.log {
                    log.hold();
                }
            }
            34..46 => {
                if let LogHome::Memory(log) = &self.log {
                    log.sync();
                }
                self.answer();
            }
            46..54 => {
                let wound = match self.dice.below(4) {
                    0 => Wound::Unsynced,
                    1 => Wound::Full,
                    _ => Wound::Torn(self.dice.below(1_500)),
                };
                if let LogHome::Files { faults, .. } = &self.log {
                    faults.set(Some(wound));
                    self.count("wounds to files");
                }
            }
            _ => {}
        }
    }

    /// Delivers for a while, then the whole process is killed.
    pub(super) fn deliver(&mut self) {
        // A commit that said it failed may have been kept: once it is delivered its rows are gone.
        self.collect();
        let Some(mut deliverer) = self.deliverer.take() else { return };
        if let Some(catalogue) = self.catalogue() {
            let requests = 1 + self.dice.below(40);
            let (store, log) = (self.shared_store(), self.shared_log());
            let outcome = deliverer.phase(&store, &log, &catalogue, Some(requests));
            outcome.unwrap_or_else(|error| panic!("{error}"));
            self.count("deliveries killed");
        }
        self.deliverer = Some(deliverer);
        self.crash();
    }

    /// Delivers until nothing is left to deliver.
    ///
    /// # Errors
    /// It hangs.
    pub fn drain(&mut self) -> Result<(), String> {
        let (Some(mut deliverer), Some(catalogue)) = (self.deliverer.take(), self.catalogue()) else {
            return Ok(());
        };
        let outcome = deliverer.phase(&self.shared_store(), &self.shared_log(), &catalogue, None);
        for (what, count) in deliverer.counts() {
            *self.tally.entry(what).or_default() += count as u64;
        }
        self.deliverer = Some(deliverer);
        outcome
    }
}
