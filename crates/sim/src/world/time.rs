//! Time passes: often not at all, often to the very millisecond at which a window changes.

use super::World;
use crate::workspace::WINDOWS;
use onefold_types::Timestamp;

/// Per cent of instants at which the wall clock steps back.
const CLOCK_STEPS_BACK: u32 = 3;

impl World {
    /// Moves the clock, which at times is set back.
    pub(super) fn pass(&mut self) {
        let step = match self.dice.below(20) {
            0..5 => 0,
            5..8 => self.dice.between(1, 1_000),
            8..13 => self.dice.between(1_000, 300_000),
            13..15 => self.dice.between(300_000, 3_600_000),
            15..19 => self.until_boundary(),
            _ => self.dice.between(3_600_000, 2 * 86_400_000),
        };
        self.now += step;
        if self.behind > 0 && self.dice.chance(20) {
            self.behind = 0;
        } else if self.dice.chance(CLOCK_STEPS_BACK) {
            self.behind = self.dice.between(1, 120_000);
            self.tell(|| "the wall clock steps back".to_owned());
        }
        self.clock.set(Timestamp(self.now - self.behind));
    }

    fn until_boundary(&mut self) -> i64 {
        if self.instants.is_empty() {
            return 0;
        }
        let last = self.instants.len() - 1;
        let instant = self.instants[last - self.dice.below(8).min(last)];
        let (_, distances) = WINDOWS[1 + self.dice.below(WINDOWS.len() - 1)];
        let at = instant + self.dice.pick(distances) + self.dice.between(-1, 1);
        if at > self.now && at - self.now < 7 * 3_600_000 { at - self.now } else { 0 }
    }
}
