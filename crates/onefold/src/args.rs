//! The command line. Each help page is one that a new user can work from.

mod decisions;
mod deliveries;
mod examples;
mod quarantine;

use clap::{Parser, Subcommand};
pub(crate) use decisions::{Decide, Decisions, Why};
pub(crate) use deliveries::{Deliveries, Letters};
use examples::{
    APPLY_EXAMPLES, CHECK_EXAMPLES, EXPORT_EXAMPLES, PLAN_EXAMPLES, PROFILE_EXAMPLES, SEND_EXAMPLES,
    SERVE_EXAMPLES, TAIL_EXAMPLES, VERIFY_EXAMPLES,
};
pub(crate) use quarantine::{Quarantine, Refused};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// As many MiB as there can be bytes for, and as many days as time has.
const MIB_MAX: u64 = 1 << 40;
const DAYS_MAX: u64 = 1_000_000;

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
    /// Write the workspace in force as a workspace file; `plan` on it shows nothing
    Export(Export),
    /// Send one event, as a client would
    Send(Send),
    /// Show events as they are folded
    Tail(Tail),
    /// Ask who someone is
    Profile(Profile),
    /// Decide who is one person and who is not, delete what must be forgotten, list what was decided
    Decisions(Decisions),
    /// List dead letters, send them again or give them up
    Deliveries(Deliveries),
    /// List what was refused, mend it and send it again
    Quarantine(Quarantine),
    /// Check every invariant of the data folder of a stopped server, and whether the delivery journal can be read
    Verify(Verify),
}

/// Reads the whole log, makes the graph and every profile anew and compares, and reads the delivery journal. Exit code 0 if
/// everything holds, 2 if not.
#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// Where log and state are kept
    #[arg(long, env = "ONEFOLD_DATA", default_value = "./onefold-data")]
    pub(crate) data: PathBuf,
    /// Memory for caches, in MiB
    #[arg(long, env = "ONEFOLD_CACHE_MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=MIB_MAX))]
    pub(crate) cache_mib: u64,
    /// JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SERVE_EXAMPLES)]
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
    /// The admin token; outside loopback one is made at the first start and shown once if none is given, on loopback none is
    /// asked for then
    #[arg(long, env = "ONEFOLD_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
    /// Believe X-Forwarded-For, -Host and -Proto: only behind a proxy of your own
    #[arg(long, env = "ONEFOLD_TRUST_PROXY")]
    pub(crate) trust_proxy: bool,
    /// Memory for all caches of the state together, in MiB
    #[arg(long, env = "ONEFOLD_CACHE_MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=MIB_MAX))]
    pub(crate) cache_mib: u64,
    /// `text` for people, `json` for programs; logs go to stderr
    #[arg(long, env = "ONEFOLD_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// A YAML file with these settings, by their long names; a flag or a variable wins over it
    #[arg(long, env = "ONEFOLD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Refused items that are kept; the oldest go first, and are counted
    #[arg(long, env = "ONEFOLD_QUARANTINE_CAP", default_value_t = 100_000)]
    pub(crate) quarantine_cap: u64,
    /// Begin without the delivery journal (`delivery` in the data folder), which is gone: dead letters are lost, and what is
    /// not known as delivered is sent. For one start; refused where the journal is there
    #[arg(long)]
    pub(crate) new_journal: bool,
    #[command(flatten)]
    pub(crate) retention: Retention,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

impl Serve {
    /// `serve` as it comes, on a folder and an address, with little memory: the demo's.
    pub(crate) fn small(data: &std::path::Path, listen: SocketAddr) -> Result<Self, String> {
        let listen = listen.to_string();
        let line =
            ["onefold", "serve", "--cache-mib", "64", "--listen", &listen, "--data"].map(OsString::from);
        let args = Args::try_parse_from(line.into_iter().chain([data.as_os_str().to_owned()]));
        match args.map_err(|error| error.to_string())?.command {
            Command::Serve(serve) => Ok(Self { admin_token: None, ..serve }),
            other => Err(format!("`serve` was read as {other:?}")),
        }
    }
}

/// When the log gives its oldest records up. History that a new audience or a changed rule would need goes with them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retention (everything is kept if neither is set)")]
pub(crate) struct Retention {
    /// Give the oldest records up while the log is larger, in MiB
    #[arg(long, env = "ONEFOLD_LOG_MAX_MIB", value_parser = clap::value_parser!(u64).range(..=MIB_MAX))]
    pub(crate) log_max_mib: Option<u64>,
    /// Give records up that are older, in days
    #[arg(long, env = "ONEFOLD_LOG_MAX_DAYS", value_parser = clap::value_parser!(u64).range(..=DAYS_MAX))]
    pub(crate) log_max_days: Option<u64>,
}

/// What a client may send; more is answered 413 or 400 with the reason.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits of the tracking API")]
pub(crate) struct Limits {
    /// Bytes of a single call's body
    #[arg(long, env = "ONEFOLD_LIMIT_SINGLE_BYTES", default_value_t = 32 << 10)]
    pub(crate) limit_single_bytes: usize,
    /// Bytes of a batch's body, inflated; at most 8 MiB
    #[arg(long, env = "ONEFOLD_LIMIT_BATCH_BYTES", default_value_t = 500 << 10)]
    pub(crate) limit_batch_bytes: usize,
    /// Bytes of one item of a batch
    #[arg(long, env = "ONEFOLD_LIMIT_ITEM_BYTES", default_value_t = 32 << 10)]
    pub(crate) limit_item_bytes: usize,
    /// Items of a batch; at most 50,000
    #[arg(long, env = "ONEFOLD_LIMIT_BATCH_ITEMS", default_value_t = 2_500)]
    pub(crate) limit_batch_items: usize,
    /// Nested arrays and objects of an item; at most 120
    #[arg(long, env = "ONEFOLD_LIMIT_DEPTH", default_value_t = 64)]
    pub(crate) limit_depth: usize,
    /// Properties or traits of an item
    #[arg(long, env = "ONEFOLD_LIMIT_PROPERTIES", default_value_t = 10_000)]
    pub(crate) limit_properties: usize,
    /// Bytes of an event's name, an account's id or an identifier; at most 16 KiB
    #[arg(long, env = "ONEFOLD_LIMIT_NAME_BYTES", default_value_t = 1 << 10)]
    pub(crate) limit_name_bytes: usize,
    /// Characters of a message id; at most 1,000
    #[arg(long, env = "ONEFOLD_LIMIT_MESSAGE_ID_CHARS", default_value_t = 100)]
    pub(crate) limit_message_id_chars: usize,
    /// Bytes of a refused item that are kept, the rest is cut off; at most 8 MiB
    #[arg(long, env = "ONEFOLD_LIMIT_REJECTED_BYTES", default_value_t = 500 << 10)]
    pub(crate) limit_rejected_bytes: usize,
    /// Refused items that are kept per minute and source; more are counted
    #[arg(long, env = "ONEFOLD_LIMIT_REJECTED_PER_MINUTE", default_value_t = 10_000)]
    pub(crate) limit_rejected_per_minute: u32,
    /// Bytes of all bodies that are being read at once; at least what the largest batch takes
    #[arg(long, env = "ONEFOLD_LIMIT_IN_FLIGHT_BYTES", default_value_t = 256 << 20)]
    pub(crate) limit_in_flight_bytes: usize,
    /// Seconds for a body to arrive
    #[arg(long, env = "ONEFOLD_LIMIT_BODY_SECONDS", default_value_t = 30)]
    pub(crate) limit_body_seconds: u64,
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
#[command(after_help = PLAN_EXAMPLES)]
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
#[command(after_help = APPLY_EXAMPLES)]
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
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// An expression, or a workspace file
    pub(crate) what: String,
    /// JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PROFILE_EXAMPLES)]
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
        /// At most so many events
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// Every event
        #[arg(long, conflicts_with = "limit")]
        all: bool,
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
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SEND_EXAMPLES)]
pub(crate) struct Send {
    /// track, identify, page, screen, group or alias
    #[arg(value_name = "TYPE")]
    pub(crate) message_type: String,
    /// Who: the user id
    #[arg(long)]
    pub(crate) user_id: Option<String>,
    /// Who: the device; one is made up if no one is named
    #[arg(long)]
    pub(crate) anonymous_id: Option<String>,
    /// The name of a track event
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// The name of a page or screen
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The account of a group call
    #[arg(long)]
    pub(crate) group_id: Option<String>,
    /// The earlier id of an alias call
    #[arg(long)]
    pub(crate) previous_id: Option<String>,
    /// Properties, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) properties: Option<String>,
    /// Traits, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) traits: Option<String>,
    /// The write key; that of the first enabled source if none is given
    #[arg(long, env = "ONEFOLD_WRITE_KEY", hide_env_values = true)]
    pub(crate) write_key: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, clap::Args)]
#[command(after_help = TAIL_EXAMPLES)]
pub(crate) struct Tail {
    /// Only these events: `"Order Completed" where revenue > 100`
    #[arg(long = "where", value_name = "EXPRESSION")]
    pub(crate) filter: Option<String>,
    /// Also entries, exits, merges and splits
    #[arg(long)]
    pub(crate) all: bool,
    /// Stop after so many lines
    #[arg(long)]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) server: Server,
}
