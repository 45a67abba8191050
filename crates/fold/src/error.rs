//! What can stop the fold.

use onefold_types::Position;

/// The fold could not go on. Input never causes one: a message that cannot be folded is quarantined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the state store failed")]
    Store(#[from] onefold_store::Error),
    /// The log failed.
    #[error("the log failed")]
    Log(#[from] onefold_log::Error),
    /// A record of the log does not decode.
    #[error("the log record at {position} does not decode: {detail}")]
    Record {
        /// Where.
        position: Position,
        /// How.
        detail: String,
    },
    /// A value could not be encoded.
    #[error("a state row could not be encoded")]
    Encode(#[source] postcard::Error),
    /// A row does not decode.
    #[error("a row of table {what} does not decode; rebuild the state from the log")]
    Decode {
        /// The table.
        what: &'static str,
        /// What the decoder said.
        #[source]
        source: Option<postcard::Error>,
    },
    /// A catalogue in the log does not compile.
    #[error("catalogue {version} in the log does not compile: {detail}")]
    Catalogue {
        /// Its number.
        version: u32,
        /// Why.
        detail: String,
    },
    /// Log and state are not of one data folder, or not of one backup.
    #[error(
        "the state has folded the log up to {folded}, and the log goes from {first} to {tail}: one of the two is older \
         than the other; restore both from the same copy of a stopped server, or move the folder `state` away and have it \
         made anew from the log"
    )]
    Apart {
        /// How far the state is.
        folded: Position,
        /// The first record that the log has.
        first: Position,
        /// Where the log ends.
        tail: Position,
    },
    /// The fold panicked: a bug. What was not committed is folded again after a restart.
    #[error("the fold panicked, which is a bug of Onefold: {detail}")]
    Panic {
        /// What the panic said.
        detail: String,
    },
    /// A broken invariant: a bug, or a state that was changed from outside.
    #[error("invariant {name} does not hold: {detail}")]
    Invariant {
        /// Its name in ARCHITECTURE.md.
        name: &'static str,
        /// What was found.
        detail: String,
    },
}
