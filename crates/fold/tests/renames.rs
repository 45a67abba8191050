//! Renaming: the object keeps its id, members and history, and an id is never two objects'.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::catalogue::{Problem, next};
use onefold_fold::query::Reader;
use onefold_types::workspace::Workspace;
use serde_json::{Value, json};

fn workspace(audiences: Value, computed: Value) -> Value {
    let mut workspace = common::workspace(&[], &[]);
    (workspace["audiences"], workspace["computed_traits"]) = (audiences, computed);
    workspace
}

fn problems(fold: &Fold, workspace: Value) -> Vec<Problem> {
    let workspace: Workspace = serde_json::from_value(workspace).unwrap();
    next(fold.catalogue.as_ref(), workspace, "test").err().unwrap_or_default()
}

fn before() -> Fold {
    let audiences = json!([
        { "key": "vip", "where": "did(\"X\" in last 10m)" },
        { "key": "late", "where": "in audience(\"vip\") and not did(\"Y\")" },
    ]);
    let computed = json!([{ "key": "views", "value": "count(\"X\" in last 10m)" }]);
    let mut fold = Fold::new(workspace(audiences, computed));
    fold.at(0).receive(&[track("X", "u")]).at(MINUTE).receive(&[track("Y", "v")]);
    fold
}

fn after() -> Value {
    let audiences = json!([
        { "key": "high_value", "renamed_from": "vip", "where": "did(\"X\" in last 10m)" },
        { "key": "late", "where": "in audience(\"high_value\") and not did(\"Y\")" },
    ]);
    let computed = json!([
        { "key": "page_views", "renamed_from": "views", "value": "count(\"X\" in last 10m)" },
    ]);
    workspace(audiences, computed)
}

#[test]
fn a_renamed_audience_keeps_its_members_and_sends_nothing() {
    let mut fold = before();
    let told = fold.effects();
    let id = fold.catalogue.as_ref().unwrap().audiences["vip"];
    assert_eq!(told.len(), 3);
    fold.at(2 * MINUTE).apply(after());
    assert_eq!(fold.effects(), told);
    assert_eq!(fold.catalogue.as_ref().unwrap().audiences["high_value"], id);
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let members = reader.with(|query| query.members(id, 0, 10)).unwrap();
    assert_eq!(members, [told[0].profile]);
    assert_eq!(fold.worker.handle().audience_size(id), 1);
    // The same file again, its `renamed_from` still there, changes nothing, and the exit comes under the same ids.
    fold.apply(after());
    fold.at(20 * MINUTE);
    let exits = ["-high_value@600000 user_id:u", "-late@600000 user_id:u", "page_views=0@600000 user_id:u"];
    assert_eq!(fold.told()[3..], exits);
}

#[test]
fn a_rename_beside_the_old_key_is_refused() {
    let fold = before();
    let late = json!({ "key": "late", "where": "did(\"Z\")" });
    let audience =
        |key: &str, from: Value| json!({ "key": key, "renamed_from": from, "where": "did(\"X\")" });
    let refused = |audiences: Value| {
        let found = problems(&fold, workspace(audiences, json!([])));
        found.into_iter().map(|problem| format!("{}: {}", problem.place, problem.detail)).collect::<Vec<_>>()
    };
    let beside = refused(json!([audience("vip2", "vip".into()), audience("vip", Value::Null), late]));
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert!(beside[0].starts_with("audiences.vip2: ") && beside[0].contains("still defined"), "{beside:?}");
    let twice = refused(json!([audience("vip2", "vip".into()), audience("vip3", "vip".into()), late]));
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(twice[0].starts_with("audiences.vip3: ") && twice[0].contains("so is `vip2`"), "{twice:?}");
    // `late` is there already: it cannot be `vip` too, and `vip` must not go for it.
    let onto = refused(json!([audience("late", "vip".into())]));
    assert_eq!(onto.len(), 1, "{onto:?}");
    assert!(onto[0].starts_with("audiences.late: ") && onto[0].contains("both are in force"), "{onto:?}");
    let swapped = refused(json!([audience("late", "vip".into()), audience("vip", "late".into())]));
    assert_eq!(swapped.len(), 2, "{swapped:?}");
}

#[test]
fn computed_traits_are_held_to_the_same() {
    let fold = before();
    let computed =
        |key: &str, from: Value| json!({ "key": key, "renamed_from": from, "value": "count(\"X\")" });
    for other in [computed("views", Value::Null), computed("clicks", "views".into())] {
        let computed = json!([computed("page_views", "views".into()), other]);
        let found = problems(&fold, workspace(json!([]), computed));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].place.starts_with("computed_traits."), "{found:?}");
    }
}

#[test]
fn whoever_asks_for_the_old_key_is_told_the_new_one() {
    let fold = before();
    let mut wrong = after();
    wrong["audiences"][1]["where"] = "in audience(\"vip\") and computed.views > 3".into();
    let found = problems(&fold, wrong);
    let details: Vec<_> = found.iter().map(|problem| problem.detail.as_str()).collect();
    let expected = [
        "there is no audience `vip`; did you mean `high_value`?",
        "there is no computed trait `views`; did you mean `page_views`?",
    ];
    assert_eq!(details, expected);
    let mut wrong = after();
    wrong["destinations"][0]["audiences"] = json!(["vip"]);
    let found = problems(&fold, wrong);
    assert_eq!(found[0].place, "destinations.hook.audiences");
    assert_eq!(found[0].detail, "there is no audience `vip`; did you mean `high_value`?");
}
