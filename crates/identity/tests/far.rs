//! Why two identifiers are apart that a very long chain of evidence joins.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;
mod harness;

use harness::Engine;
use onefold_identity::oracle::OracleEvent;
use onefold_identity::rules::Rules;
use onefold_identity::why::{WhyNot, why_not};
use onefold_types::{Identifier, Timestamp};

const LENGTH: usize = 21_000;

fn card(number: usize) -> Identifier {
    Identifier::new("loyalty_id", format!("card-{number}"))
}

#[test]
fn a_search_that_gives_up_says_so_and_does_not_say_that_there_is_nothing() {
    let mut engine = Engine::new(&Rules::default());
    let seen = |number: usize, cards: &[usize]| OracleEvent {
        ids: cards.iter().map(|card| ("loyalty_id".to_owned(), self::card(*card).value)).collect(),
        ts: Timestamp(i64::try_from(number).unwrap()),
        message_id: format!("m{number}"),
    };
    for number in 0..LENGTH {
        engine.observe(&seen(number, &[number, number + 1]));
    }
    engine.observe(&seen(LENGTH + 1, &[LENGTH + 100]));
    let mut apart =
        |x: usize, y: usize| why_not(&engine.rules, &mut engine.graph, &card(x), &card(y)).unwrap();
    // A profile has five cards at most: the chain breaks all along, and within reach the search finds where.
    assert!(matches!(apart(0, 10), WhyNot::Rejected { .. }));
    match apart(0, LENGTH) {
        WhyNot::TooFar { searched } => assert!((20_000..LENGTH).contains(&searched), "{searched}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(apart(LENGTH + 100, 0), WhyNot::NoEvidence);
}
