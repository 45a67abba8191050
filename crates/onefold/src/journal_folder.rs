//! The folder of the delivery journal: what receivers answered. Log and state do not give it back, so it is never begun anew
//! without a word.

use crate::args::Serve;
use onefold_store::{Error, FjallOptions, FjallStore};
use std::path::{Path, PathBuf};

macro_rules! lost {
    () => {
        "without it the dead letters are gone and whatever is not known as delivered is sent; if the state is made anew too, \
         everything that the log still gives is sent again"
    };
}

/// What is lost with it, and what follows.
pub(crate) const LOST: &str = lost!();

const REMEDY: &str = concat!(
    "it cannot be made anew: stop the server and put the folder back from a backup; ",
    lost!(),
    ". To begin without it on purpose, move the folder away and start once with --new-journal"
);

/// Where it is in the data folder.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("delivery")
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error(
        "{} is gone or empty, and a log or a state is beside it: what was delivered is not known; {LOST}\nhint: put it back \
         from a backup, or move away what is left of it and start once with --new-journal, to begin without it", .0.display()
    )]
    Gone(PathBuf),
    #[error(
        "--new-journal is for a start without the delivery journal, and {} has it\nhint: leave the flag out; to begin \
         without the journal, move that folder away first", .0.display()
    )]
    There(PathBuf),
    #[error("the delivery journal cannot be opened: {0}")]
    Store(#[from] Error),
}

/// Opens the journal for a server, before log and state are made: a folder that has one of them has had a journal.
pub(crate) fn open(serve: &Serve) -> Result<FjallStore, Unopened> {
    let path = folder(&serve.data);
    let is_there = FjallStore::is_in(&path);
    let has_past = serve.data.join("log").exists() || serve.data.join("state").exists();
    if serve.new_journal && is_there {
        return Err(Unopened::There(path));
    }
    if has_past && !is_there && !serve.new_journal {
        return Err(Unopened::Gone(path));
    }
    Ok(open_at(&path)?)
}

/// Opens the journal in `path` as it is.
pub(crate) fn open_at(path: &Path) -> Result<FjallStore, Error> {
    let small = FjallOptions {
        cache_bytes: 16 << 20,
        memtable_bytes: 4 << 20,
        journal_bytes: 64 << 20,
        workers: 1,
        remedy: REMEDY,
    };
    FjallStore::open(path, &small)
}
