//! One run from one seed, and what is told when it fails.

use crate::check::check;
use crate::deliver::Deliverer;
use crate::dice::Dice;
use crate::world::{Home, Tally, World};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Messages; `None` leaves it to the seed.
    pub messages: Option<usize>,
    /// Where log and store are; `None` leaves it to the seed.
    pub home: Option<Home>,
    /// Deliver for real, to a receiver on loopback.
    pub deliver: bool,
    /// Keep a line for everything that happens.
    pub story: bool,
}

/// A run that went well.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What happened.
    pub tally: Tally,
    /// The story, if asked for.
    pub story: Vec<String>,
}

/// A run that did not.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// How it was made.
    pub options: Options,
    /// What did not agree.
    pub what: String,
    /// The story, if asked for.
    pub story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed: {}", self.seed, self.what)?;
        write!(f, "again: cargo run -p onefold-sim -- --seed {}", self.seed)?;
        if let Some(messages) = self.options.messages {
            write!(f, " --messages {messages}")?;
        }
        write!(f, "{} --verbose", if self.options.deliver { " --deliver" } else { "" })
    }
}

/// Per cent of seeds whose log is in files.
const FILES: u32 = 25;
/// Per cent of seeds whose store is the embedded engine.
const FJALL: u32 = 3;

/// Runs one seed and checks everything.
///
/// # Errors
/// What does not agree.
pub fn run(seed: u64, options: Options) -> Result<Outcome, Box<Failure>> {
    let mut told: Option<Vec<String>> = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| attempt(seed, options, &mut told)));
    let what = match outcome {
        Ok(Ok(tally)) => return Ok(Outcome { tally, story: told.unwrap_or_default() }),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("a panic: {}", text.unwrap_or_default())
        }
    };
    Err(Box::new(Failure { seed, options, what, story: told.unwrap_or_default() }))
}

fn attempt(seed: u64, options: Options, told: &mut Option<Vec<String>>) -> Result<Tally, String> {
    let mut dice = Dice::new(seed);
    let home = Home { files: dice.chance(FILES), fjall: dice.chance(FJALL) };
    let most = *dice.pick(&[30, 80, 200]);
    let size = 20 + dice.below(most);
    let mut world = World::new(dice.split(), options.home.unwrap_or(home), options.story);
    if options.deliver {
        world.deliverer = Some(Deliverer::new(dice.split()));
    }
    world.run(options.messages.unwrap_or(if options.deliver { size.min(60) } else { size }));
    if options.story {
        *told = world.story.clone();
    }
    check(&mut world, &mut dice)?;
    Ok(world.tally)
}

/// The fewest messages with which a seed still fails, tried from below, with what fails then.
#[must_use]
pub fn smallest(failure: Box<Failure>) -> Box<Failure> {
    for messages in [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 70, 100, 140] {
        let options = Options { messages: Some(messages), ..failure.options };
        if let Err(smaller) = run(failure.seed, options) {
            return smaller;
        }
    }
    failure
}
