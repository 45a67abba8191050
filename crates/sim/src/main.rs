//! `onefold-sim`: runs seeds until one fails, and says how to see it again.

use onefold_sim::run::{Failure, Options, run, smallest};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "onefold-sim: the seeded simulator

  --seed N        the first seed (else one from the operating system)
  --runs N        how many seeds from there on (1 with --seed, else until --time is over)
  --time 30s      how long (10s)
  --messages N    messages in a run (else the seed says)
  --deliver       deliver for real too, to a failing receiver on loopback (slower)
  --verbose       print what happened in each run
  --help          this";

struct Arguments {
    seed: Option<u64>,
    runs: Option<u64>,
    time: Duration,
    verbose: bool,
    options: Options,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let mut read = std::env::args().skip(1);
    let mut found = Arguments {
        seed: None,
        runs: None,
        time: Duration::from_secs(10),
        verbose: false,
        options: Options::default(),
    };
    while let Some(flag) = read.next() {
        let mut number = |of: &str| {
            let text = read.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{of}: expected a number, found `{text}`"))
        };
        match flag.as_str() {
            "--seed" => found.seed = Some(number("--seed")?),
            "--runs" => found.runs = Some(number("--runs")?),
            "--messages" => found.options.messages = usize::try_from(number("--messages")?).ok(),
            "--time" => {
                let text = read.next().unwrap_or_default();
                let seconds = text.trim_end_matches('s').parse();
                found.time = Duration::from_secs(
                    seconds.map_err(|_| format!("--time: expected seconds like `30s`, found `{text}`"))?,
                );
            }
            "--deliver" => found.options.deliver = true,
            "--verbose" => found.verbose = true,
            "--help" => return Ok(None),
            other => return Err(format!("`{other}` is no flag; see --help")),
        }
    }
    Ok(Some(found))
}

fn report(failure: Box<Failure>, given: bool, verbose: bool) {
    let failure = if given { failure } else { smallest(failure) };
    if verbose {
        for line in &failure.story {
            println!("{line}");
        }
    }
    println!("{failure}");
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    // The operating system's chance, by the way that the standard library has it.
    let first = arguments.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 16);
    let runs = arguments.runs.or(arguments.seed.map(|_| 1)).unwrap_or(u64::MAX);
    let options = Options { story: arguments.verbose, ..arguments.options };
    // A panic of the engine is told with the failure; once is enough.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let mut total = std::collections::BTreeMap::new();
    let mut done = 0;
    println!("first seed {first}");
    for seed in (0..runs).map(|number| first.wrapping_add(number)) {
        if arguments.runs.is_none() && arguments.seed.is_none() && start.elapsed() >= arguments.time {
            break;
        }
        match run(seed, options) {
            Ok(outcome) => {
                done += 1;
                for (what, count) in &outcome.tally {
                    *total.entry(*what).or_insert(0u64) += count;
                }
                if arguments.verbose {
                    println!("seed {seed}: {:?}", outcome.tally);
                }
            }
            Err(failure) => {
                report(failure, arguments.options.messages.is_some(), arguments.verbose);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{done} runs in {:.1} s, all well", start.elapsed().as_secs_f64());
    for (what, count) in total {
        println!("{count:>10} {what}");
    }
    ExitCode::SUCCESS
}
