//! User ids that differ in nothing but case are two people, and are said to be near duplicates (identity.md, case 36).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, track, workspace};
use onefold_fold::Step;
use onefold_fold::query::Reader;
use onefold_fold::report::Happening;
use onefold_types::decision::Decision;

fn shop() -> Fold {
    Fold::new(workspace(&[], &[]))
}

/// What the list says, page by page of `limit` forms.
fn listed(fold: &Fold, limit: usize) -> Vec<Vec<String>> {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = reader.with(|query| query.near_duplicates(after.as_deref(), limit)).unwrap();
        let Some((last, _)) = page.last() else { return found };
        after = Some(last.clone());
        found.extend(page.into_iter().map(|(_, ids)| {
            let mut values: Vec<String> = ids.into_iter().map(|id| id.value).collect();
            values.sort_unstable();
            values
        }));
    }
}

/// The warnings that a record with one event of each user gives.
fn warned(fold: &mut Fold, users: &[&str]) -> Vec<(String, Vec<String>)> {
    let events: Vec<_> = users.iter().map(|user| track("X", user)).collect();
    fold.only_append(&events);
    let mut warnings = Vec::new();
    loop {
        let (step, report) = fold.worker.step().unwrap();
        if step != Step::Worked {
            return warnings;
        }
        warnings.extend(report.happenings.into_iter().filter_map(|happening| match happening {
            Happening::NearDuplicate { id, others } => Some((id.value, others)),
            _ => None,
        }));
    }
}

#[test]
fn the_second_spelling_is_warned_of_once_whichever_comes_first() {
    for (first, second) in [("U1", "u1"), ("u1", "U1"), ("Ada", "aDa"), ("ÅSA", "åsa")] {
        let mut fold = shop();
        assert_eq!(warned(&mut fold, &[first]), []);
        assert_eq!(warned(&mut fold, &[second]), [(second.to_owned(), vec![first.to_owned()])]);
        assert_eq!(warned(&mut fold, &[first, second]), []);
    }
}

#[test]
fn a_restart_in_between_changes_nothing() {
    let mut fold = shop();
    assert_eq!(warned(&mut fold, &["U1"]), []);
    fold.restart();
    assert_eq!(warned(&mut fold, &["u1"]), [("u1".to_owned(), vec!["U1".to_owned()])]);
}

#[test]
fn all_spellings_stand_in_the_list_and_others_do_not() {
    let mut fold = shop();
    warned(&mut fold, &["u1", "Solo", "U2", "U1", "u22", "12", "Ann", "aNN", "ANN", "u2"]);
    for limit in [1, 2, 50] {
        assert_eq!(listed(&fold, limit), [vec!["U1", "u1"], vec!["U2", "u2"], vec!["ANN", "Ann", "aNN"]]);
    }
}

#[test]
fn a_spelling_that_is_nobodys_any_more_leaves_the_list() {
    let mut fold = shop();
    let message = serde_json::json!({ "type": "track", "event": "X", "userId": "u1", "messageId": "once" });
    fold.receive(&[message, track("X", "U1")]);
    assert_eq!(listed(&fold, 50), [vec!["U1", "u1"]]);
    fold.decide(Decision::DeleteMessage { message_id: "once".into() });
    assert_eq!(listed(&fold, 50), Vec::<Vec<String>>::new());
}
