//! The command line of `onefold quarantine`.

use super::Server;
use super::examples::QUARANTINE_EXAMPLES;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
#[command(after_help = QUARANTINE_EXAMPLES)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    pub(crate) what: Refused,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Refused {
    /// Refused items, oldest first, with the reason of each
    List {
        /// From this number on
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Also their bodies, with --json too
        #[arg(long)]
        bodies: bool,
    },
    /// Send items again, as they were or mended
    Send {
        /// Numbers, as `list` shows them
        #[arg(required = true)]
        number: Vec<u64>,
        /// The item as it should have been, as JSON; for one number
        #[arg(long, value_name = "JSON")]
        body: Option<String>,
    },
    /// Give items up
    Discard {
        /// Numbers, as `list` shows them
        #[arg(required = true)]
        number: Vec<u64>,
    },
}
