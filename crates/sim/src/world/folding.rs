//! The fold goes on, step by step, and what it commits is noted.

use super::{START, World};
use crate::dump;
use onefold_fold::{Error, Step, Worker};

/// Per cent of failed appends to files after which the process lives on, its log poisoned.
const FOLDS_ON_AFTER_POISON: u32 = 50;

impl World {
    /// The worker.
    pub fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("the worker is there")
    }

    /// One step of the worker; whatever it runs into, the process is killed and starts again.
    pub(super) fn step(&mut self) -> bool {
        if self.hurt && !self.dice.chance(FOLDS_ON_AFTER_POISON) {
            self.crash();
        }
        let worked = self.worker().step();
        match worked {
            Ok((step, _)) => {
                self.collect();
                let status = self.worker().handle().status();
                self.tell(|| format!("folded to {} at {}", status.position, status.engine_time.0 - START));
                step == Step::Worked
            }
            // What its thread does about one: the batch is run again.
            Err(Error::Store(onefold_store::Error::Conflict)) => {
                self.tell(|| "the batch was crossed".to_owned());
                self.count("batches crossed");
                true
            }
            Err(error) => {
                self.tell(|| format!("the worker failed: {error:?}"));
                self.count("worker failures");
                let told = format!("{error:?}");
                assert!(told.contains("as it was told to"), "the worker failed for no reason: {told}");
                // A worker whose commit failed can go on; one that does not know what became of it must begin again.
                if told.contains("and kept") || self.dice.chance(50) {
                    self.crash();
                }
                true
            }
        }
    }

    /// Notes the effects that are committed; one that a crash took must come back as it was.
    pub(super) fn collect(&mut self) {
        for (_, effect) in dump::outbox(self.shared_store().as_ref()) {
            self.committed.entry((effect.destination.0, effect.id)).or_insert(effect);
        }
    }

    /// Folds until there is nothing to do.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 100_000, "the fold does not come to rest");
        }
    }
}
