//! A read is of one commit: state, definitions and time are of the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::query::Reader;
use onefold_types::Timestamp;

const HOUR: i64 = 60 * MINUTE;

/// A worker commits before it tells of the catalogue and the time; its handle here is one that is never told again.
#[test]
fn a_reader_that_comes_before_the_worker_tells_has_the_definitions_of_what_it_reads() {
    let mut fold = Fold::new(workspace(&[("a", "did(\"X\")")], &[("recent", "count(\"X\" in last 1h)")]));
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let early = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    fold.restart();
    let read = || {
        early
            .with(|query| {
                let handle = query.find("user_id", "u")?.unwrap();
                let person = query.person(handle)?.unwrap();
                let audiences: Vec<String> = person.audiences.into_iter().map(|(key, _)| key).collect();
                let values: Vec<u64> = person.computed.iter().map(|computed| computed.value).collect();
                Ok((query.compiled().catalogue.version.0, audiences, values, query.engine_time()))
            })
            .unwrap()
    };
    let a = || "a".to_owned();
    assert_eq!(read(), (1, vec![a()], vec![1], Timestamp(MINUTE)));
    let audiences = [("a", "did(\"X\")"), ("b", "did(\"X\")")];
    fold.at(2 * MINUTE).apply(workspace(&audiences, &[("recent", "count(\"X\" in last 1h)")]));
    assert_eq!(read(), (2, vec![a(), "b".to_owned()], vec![1], Timestamp(2 * MINUTE)));
    fold.at(2 * HOUR).receive(&[track("Y", "v")]);
    assert_eq!(read().2, [0], "the hour is over by the time of what is read");
    assert_eq!(early.handle().catalogue().catalogue.version.0, 1, "this one was never told");
}
