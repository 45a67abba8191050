//! `onefold verify`: every invariant of a stopped data folder.

use crate::args::Verify;
use crate::commands::text::counted;
use crate::http::Failed;
use crate::journal_folder;
use crate::out::say;
use crate::server::read_secret;
use onefold_delivery::journal::Journal;
use onefold_fold::CacheSizes;
use onefold_fold::verify::{Verification, verify};
use onefold_log::{FileLog, FileLogOptions, Log};
use onefold_store::{FjallOptions, FjallStore};
use onefold_types::Position;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// An error with all that caused it.
fn because(what: &str, error: &dyn Error) -> Failed {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failed::new(text)
}

/// What does not hold, by what can be done about it.
#[derive(Clone, Copy, Default)]
struct Wrong {
    /// In log and state.
    state: u64,
    /// In the delivery journal.
    journal: u64,
}

/// What it comes to, and what can be done: a log that retention has trimmed does not give the whole state back, and none
/// gives the delivery journal.
fn conclusion(wrong: Wrong, first: Position) -> String {
    let what = match wrong.state + wrong.journal {
        0 => return "everything holds".to_owned(),
        1 => "1 thing does not hold".to_owned(),
        count => format!("{count} things do not hold"),
    };
    let journal = if wrong.journal == 0 {
        ""
    } else {
        ". The delivery journal (`delivery`) cannot be made anew: put it back from a backup"
    };
    if wrong.state == 0 {
        return format!("{what}{journal}");
    }
    if first == Position::default() {
        return format!(
            "{what}; the state can be made anew from the log: move `state` away and start the server{journal}"
        );
    }
    format!(
        "{what}. Retention has trimmed the log up to position {first}, so a state that is made anew from it lacks what \
         stood there: events, identifiers that only they had, and operator decisions (links, cuts, forces, blocks). \
         Put a backup of the data folder back; or move `state` away, start the server, and decide anew what \
         `onefold decisions list` shows now{journal}"
    )
}

/// OUT: the journal is there and can be read. How many dead letters it has, if that can be told.
fn check_journal(data: &Path, found: &mut Verification) -> Result<Option<u64>, Failed> {
    let path = journal_folder::folder(data);
    if !FjallStore::is_in(&path) {
        let detail = format!("{} is gone or empty: {}", path.display(), journal_folder::LOST);
        found.find("OUT", detail);
        return Ok(None);
    }
    let read = journal_folder::open_at(&path)
        .and_then(|store| Journal::new(Arc::new(store)).check(&mut |detail| found.find("OUT", detail)));
    match read {
        Ok(letters) => Ok(Some(letters)),
        Err(error @ onefold_store::Error::Corrupt { .. }) => {
            found.find("OUT", error.to_string());
            Ok(None)
        }
        Err(error) => Err(because("the delivery journal cannot be read", &error)),
    }
}

pub(crate) fn run(args: &Verify) -> Result<ExitCode, Failed> {
    let data = &args.data;
    if !data.join("log").is_dir() || !data.join("state").is_dir() {
        return Err(Failed::new(format!(
            "{} is no data folder: expected `log` and `state` in it; name it with --data",
            data.display()
        )));
    }
    let log = FileLog::open(FileLogOptions::new(data.join("log")))
        .map_err(|error| because("the log cannot be opened (is the server stopped?)", &error))?;
    let cache = args.cache_mib << 20;
    let options = FjallOptions { cache_bytes: cache / 2, ..FjallOptions::default() };
    let store = FjallStore::open(&data.join("state"), &options)
        .map_err(|error| because("the state cannot be opened", &error))?;
    let secret = read_secret(&data.join("secret"))
        .map_err(|error| because("the workspace's secret cannot be read", &error))?;
    let mut found = verify(&log, &store, &secret, CacheSizes::of(cache / 2))
        .map_err(|error| because("the data folder cannot be checked", &error))?;
    let state = found.found;
    let letters = check_journal(data, &mut found)?;
    let wrong = Wrong { state, journal: found.found - state };
    if args.json {
        let mut answer = serde_json::to_value(&found).map_err(|e| Failed::new(e.to_string()))?;
        answer["dead_letters"] = letters.into();
        say!("{answer}");
    } else {
        say!(
            "{} records with {} messages; {} wait to be folded",
            found.records,
            found.messages,
            found.waiting
        );
        say!(
            "{} profiles made anew and compared; {} effects wait to be delivered",
            found.profiles,
            found.effects
        );
        if let Some(letters) = letters {
            say!("{} in the delivery journal", counted(letters, "dead letter"));
        }
        if found.behind > 0 {
            say!("{} profiles wait for a backfill: their audiences were not compared", found.behind);
        }
        if found.trimmed > 0 {
            say!("{} profiles own messages that retention trimmed: they were not compared", found.trimmed);
        }
        for finding in &found.findings {
            say!("{}: {}", finding.invariant, finding.detail);
        }
        say!("{}", conclusion(wrong, log.first()));
    }
    Ok(if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_log_is_said_to_give_the_state_back_and_none_the_journal() {
        let conclusion = |state, first| super::conclusion(Wrong { state, journal: 0 }, first);
        assert_eq!(conclusion(0, Position(7)), "everything holds");
        let whole = conclusion(2, Position(0));
        assert!(
            whole.starts_with("2 things do not hold") && whole.contains("made anew from the log"),
            "{whole}"
        );
        let trimmed = conclusion(1, Position(4_096));
        assert!(trimmed.starts_with("1 thing does not hold"), "{trimmed}");
        assert!(
            trimmed.contains("4096") && trimmed.contains("decisions") && trimmed.contains("backup"),
            "{trimmed}"
        );
        let journal = "The delivery journal (`delivery`) cannot be made anew: put it back from a backup";
        assert_eq!(
            super::conclusion(Wrong { state: 0, journal: 1 }, Position(0)),
            format!("1 thing does not hold. {journal}")
        );
        for first in [0, 4_096] {
            let both = super::conclusion(Wrong { state: 1, journal: 1 }, Position(first));
            assert!(
                both.starts_with("2 things") && both.contains("`state` away") && both.ends_with(journal),
                "{both}"
            );
        }
    }
}
