//! The command line. Each help page is one that a new user can work from.

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Onefold: an open-source customer data platform in one binary.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve everything from one data folder
    Serve(Serve),
    /// Serve with a sample shop and live traffic, and show what happens
    Demo(Demo),
    /// Show what `apply` would change: exit code 0 nothing, 2 something, 1 an error
    Plan(Plan),
    /// Apply workspace files to a running server; without --prune nothing is ever removed
    Apply(Apply),
    /// Parse an expression of the audience language and say what it is, or where it is wrong
    Check(Check),
    /// Ask who someone is
    Profile(Profile),
    /// List and re-drive dead letters
    Deliveries(Deliveries),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where log and state are kept
    #[arg(long, env = "ONEFOLD_DATA", default_value = "./onefold-data")]
    pub(crate) data: PathBuf,
    /// Where to listen; outside loopback an admin token is asked for
    #[arg(long, env = "ONEFOLD_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// A workspace file to apply at start; an unchanged file changes nothing
    #[arg(long, env = "ONEFOLD_WORKSPACE")]
    pub(crate) workspace: Vec<PathBuf>,
    /// The admin token; made at the first start and shown once if it is not given
    #[arg(long, env = "ONEFOLD_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
    /// Believe X-Forwarded-For: only behind a proxy of your own
    #[arg(long, env = "ONEFOLD_TRUST_PROXY")]
    pub(crate) trust_proxy: bool,
    /// Memory for all caches of the state together, in MiB
    #[arg(long, env = "ONEFOLD_CACHE_MIB", default_value_t = 1024)]
    pub(crate) cache_mib: u64,
    /// `text` for people, `json` for programs; logs go to stderr
    #[arg(long, env = "ONEFOLD_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where log and state are kept; a folder that goes at the end if it is not given
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Stop after so many seconds; otherwise at Ctrl-C
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// Visitors a second who come to the shop
    #[arg(long, default_value_t = 5)]
    pub(crate) visitors: u32,
    /// Repeats a run
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where the server is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Server {
    /// The server's address
    #[arg(long, global = true, env = "ONEFOLD_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// The admin token, if the server asks for one
    #[arg(long, global = true, env = "ONEFOLD_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Workspace files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Also show what would be removed
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// Workspace files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Remove what the files do not name
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// An expression, or a workspace file
    pub(crate) what: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Profile {
    #[command(subcommand)]
    pub(crate) ask: Ask,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Traits, audiences and identifiers of someone: `email:ada@example.com`
    Get {
        /// An identifier, `type:value`
        id: String,
    },
    /// What someone did, latest first
    Timeline {
        /// An identifier, `type:value`
        id: String,
    },
    /// Why two identifiers are one person, or why they are not
    Why {
        /// An identifier, `type:value`
        a: String,
        /// Another
        b: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deliveries {
    #[command(subcommand)]
    pub(crate) what: Letters,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Letters {
    /// Destinations, how they are doing, and their dead letters
    List {
        /// Only this destination's
        destination: Option<String>,
    },
    /// Send dead letters of a destination once more
    Retry {
        /// The destination
        destination: String,
        /// A dead letter's number; all if none is given
        number: Vec<u64>,
    },
}
