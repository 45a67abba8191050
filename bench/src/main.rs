//! `make bench`: drives the release build of Onefold from outside, as its users do, and prints a table of what it
//! measured, on what, under which load, with the memory it took.
//!
//! **Never here:** an assertion on a time. A figure is reported; a person compares it with what was wanted.

mod accept;
mod api;
mod audiences;
mod events;
mod exits;
mod fold;
mod http;
mod identity;
mod machine;
mod sample;
mod server;
mod table;
mod webhook;

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong here: the server did not do what it should, or the machine did not.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measure a running Onefold.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Which: accept single fold cold webhook exits restart api audiences identity; all if none is named
    what: Vec<String>,
    /// Seconds that each load lasts; the fold's five minutes are `--seconds 300`
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Known profiles where a measurement wants many
    #[arg(long, default_value_t = 1_000_000)]
    profiles: u64,
    /// The server's binary; beside this one if it is not given
    #[arg(long)]
    onefold: Option<PathBuf>,
    /// Where data goes, a new folder in it each time; the disk is part of what is measured
    #[arg(long, default_value = "target/bench")]
    data: PathBuf,
}

impl Args {
    const fn load(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

const ALL: [&str; 10] =
    ["accept", "single", "webhook", "exits", "api", "fold", "restart", "cold", "audiences", "identity"];

fn main() -> Outcome<()> {
    let args = Args::parse();
    if let Some(unknown) = args.what.iter().find(|name| !ALL.contains(&name.as_str())) {
        return Err(format!("no measurement is called `{unknown}`; there are: {}", ALL.join(" ")).into());
    }
    std::fs::create_dir_all(&args.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table = table::Table::new(machine::describe());
    let wanted = |name: &str| args.what.is_empty() || args.what.iter().any(|what| what == name);
    if wanted("accept") {
        runtime.block_on(accept::batches(&args, &mut table))?;
    }
    if wanted("single") {
        runtime.block_on(accept::single(&args, &mut table))?;
    }
    if wanted("webhook") {
        runtime.block_on(webhook::latency(&args, &mut table))?;
    }
    if wanted("exits") {
        runtime.block_on(exits::punctuality(&args, &mut table))?;
    }
    if wanted("api") {
        runtime.block_on(api::latency(&args, &mut table))?;
    }
    if wanted("fold") || wanted("restart") || wanted("cold") {
        runtime.block_on(fold::throughput(
            &args,
            &mut table,
            wanted("fold"),
            wanted("restart"),
            wanted("cold"),
        ))?;
    }
    if wanted("audiences") {
        runtime.block_on(audiences::further(&args, &mut table))?;
    }
    if wanted("identity") {
        identity::worst_cases(&args, &mut table)?;
    }
    println!("{table}");
    Ok(())
}
