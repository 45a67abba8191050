//! Onefold: every event folds into one profile. The composition root: the only crate that names concrete engines.

// `out.rs` prints: where `println!` panics, it ends the command.
#![deny(clippy::print_stdout)]

/// Rows are many and small, made on one thread and freed on another; glibc's allocator took half the fold's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod args;
mod commands;
mod config_file;
mod demo;
mod http;
mod journal_folder;
mod out;
mod server;
mod standing;
mod stop;
mod trimming;
mod workspace_file;

use args::Command;
use config_file::Unread;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match config_file::with_config(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(args) => args,
        Err(Unread::Said(said)) => return told(&said),
        Err(Unread::Failed(error)) => {
            out::complain(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::complain(format_args!("the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Command::Serve(serve) => commands::serve::run(serve).await,
            Command::Demo(demo) => demo::run(demo).await,
            Command::Plan(plan) => commands::workspace::plan(plan).await,
            Command::Apply(apply) => commands::workspace::apply(apply).await,
            Command::Check(check) => commands::check::run(&check),
            Command::Profile(profile) => commands::profile::run(profile).await,
            Command::Decisions(decisions) => commands::decisions::run(decisions).await,
            Command::Deliveries(deliveries) => commands::deliveries::run(deliveries).await,
            Command::Export(export) => commands::workspace::export(export).await,
            Command::Send(send) => commands::send::run(send).await,
            Command::Tail(tail) => commands::tail::run(tail).await,
            Command::Quarantine(quarantine) => commands::quarantine::run(quarantine).await,
            Command::Verify(verify) => commands::verify::run(&verify),
        }
    });
    outcome.unwrap_or_else(|error| {
        out::complain(format_args!("{error}"));
        ExitCode::FAILURE
    })
}

/// Prints what the parser of the command line says. A wrong command line is an error as any other, 1: some commands
/// have a meaning for clap's 2.
fn told(said: &clap::Error) -> ExitCode {
    // Without anybody to read it, the exit code says it still.
    drop(said.print());
    if said.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
