//! The command line of `onefold deliveries`.

use super::Server;
use super::examples::DELIVERIES_EXAMPLES;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
#[command(after_help = DELIVERIES_EXAMPLES)]
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
        /// A dead letter's number
        #[arg(required_unless_present = "all")]
        number: Vec<u64>,
        /// All of them, by number, for as long as the destination takes any
        #[arg(long, conflicts_with = "number")]
        all: bool,
    },
    /// Give dead letters of a destination up: they are never sent, and do not come back
    Discard {
        /// The destination
        destination: String,
        /// Numbers, as `list` shows them
        #[arg(required = true)]
        number: Vec<u64>,
    },
}
