//! The worked cases of audiences.md section 3 that the fold decides: instants, windows, restarts, merges, backfill.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use common::{Fold, MINUTE, track, workspace};
use serde_json::json;

const M: i64 = MINUTE;

fn in_ten(count: u32) -> Fold {
    Fold::with_audiences(&[("a", &format!("count(\"X\" in last 10m) >= {count}"))], &[])
}

#[test]
fn case_1_leaves_at_the_boundary_to_the_millisecond() {
    let mut fold = in_ten(1);
    fold.at(0).receive(&[track("X", "u")]).at(10 * M);
    assert_eq!(fold.told(), ["+a@0 user_id:u"]);
    fold.at(10 * M + 1);
    assert_eq!(fold.told(), ["+a@0 user_id:u", "-a@600000 user_id:u"]);
}

#[test]
fn case_2_an_event_at_the_very_end_renews_without_a_flap() {
    let mut fold = in_ten(1);
    fold.at(0).receive(&[track("X", "u")]).at(10 * M).receive(&[track("X", "u")]).at(30 * M);
    assert_eq!(fold.told(), ["+a@0 user_id:u", "-a@1200000 user_id:u"]);
}

#[test]
fn cases_4_and_5_the_third_latest_decides() {
    let mut fold = in_ten(3);
    for minute in [0, 4, 8] {
        fold.at(minute * M).receive(&[track("X", "u")]);
    }
    fold.at(11 * M);
    assert_eq!(fold.told(), ["+a@480000 user_id:u", "-a@600000 user_id:u"]);
    let mut fold = in_ten(3);
    for minute in [0, 4, 8, 9] {
        fold.at(minute * M).receive(&[track("X", "u")]);
    }
    fold.at(20 * M);
    assert_eq!(fold.told(), ["+a@480000 user_id:u", "-a@840000 user_id:u"]);
}

#[test]
fn case_8_not_having_done_it_is_true_of_a_newcomer() {
    let mut fold = Fold::with_audiences(&[("quiet", "not did(\"X\" in last 10m)")], &[]);
    fold.at(0).receive(&[track("Y", "u")]).at(3 * M).receive(&[track("X", "u")]).at(14 * M);
    assert_eq!(fold.told(), ["+quiet@0 user_id:u", "-quiet@180000 user_id:u", "+quiet@780000 user_id:u"]);
}

#[test]
fn case_9_a_duplicate_counts_once() {
    let mut fold = in_ten(2);
    let event = json!({ "type": "track", "event": "X", "userId": "u", "messageId": "same" });
    fold.at(0).receive(&[event.clone(), event.clone()]).receive(&[event]);
    assert_eq!(fold.told(), [""; 0]);
}

#[test]
fn case_10_a_late_event_counts_from_when_it_is_seen() {
    let mut fold = in_ten(1);
    fold.at(12 * M)
        .receive(&[json!({ "type": "track", "event": "X", "userId": "u", "ts": 5 * M })])
        .at(16 * M);
    assert_eq!(fold.told(), ["+a@720000 user_id:u", "-a@900000 user_id:u"]);
}

#[test]
fn case_14_after_downtime_the_exit_has_its_true_instant() {
    let mut fold = in_ten(1);
    fold.at(5 * M).receive(&[track("X", "u")]);
    fold.clock.set(onefold_types::Timestamp(40 * M));
    fold.restart();
    assert_eq!(fold.told(), ["+a@300000 user_id:u", "-a@900000 user_id:u"]);
    assert_eq!(fold.effects()[1].observed.0, 40 * M);
}

#[test]
fn case_38_a_reference_never_shows_a_glitch() {
    let mut fold = Fold::with_audiences(
        &[
            ("one", "did(\"X\")"),
            ("two", "did(\"X\" in last 10m)"),
            ("three", "in audience(\"one\") and not in audience(\"two\")"),
        ],
        &[],
    );
    fold.at(0).receive(&[track("X", "u")]);
    assert_eq!(fold.told(), ["+one@0 user_id:u", "+two@0 user_id:u"]);
    fold.at(11 * M);
    assert_eq!(fold.told()[2..], ["-two@600000 user_id:u", "+three@600000 user_id:u"]);
}

#[test]
fn case_41_a_merge_adds_the_counts_and_the_absorbed_one_ends() {
    let mut fold = in_ten(3);
    fold.at(0).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "p" })]);
    fold.at(4 * M).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "p" })]);
    fold.at(8 * M).receive(&[track("X", "q")]);
    fold.at(9 * M).receive(&[json!({ "type": "identify", "userId": "q", "anonymousId": "p" })]);
    fold.at(11 * M);
    assert_eq!(fold.told(), ["+a@540000 user_id:q", "-a@600000 user_id:q"]);
}

#[test]
fn case_45_two_members_who_merge_leave_one_and_say_why() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(0).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "p" })]);
    fold.at(M).receive(&[track("X", "q")]);
    fold.at(2 * M).receive(&[json!({ "type": "identify", "userId": "q", "anonymousId": "p" })]);
    assert_eq!(fold.told(), ["+a@0 anonymous_id:p", "+a@60000 user_id:q", "-a@120000 user_id:q"]);
    let last = fold.effects().pop().unwrap();
    assert!(matches!(last.cause, onefold_types::effect::Cause::Merge { .. }));
}

#[test]
fn case_47_a_new_audience_is_true_of_history_and_forgets_in_time() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(95 * M).receive(&[track("X", "u")]).at(100 * M);
    fold.apply(workspace(&[("a", "did(\"X\" in last 10m)")], &[]));
    fold.at(106 * M);
    assert_eq!(fold.told(), ["+a!@6000000 user_id:u", "-a@6300000 user_id:u"]);
}

#[test]
fn case_50_an_edit_tells_only_the_difference() {
    let mut fold = Fold::with_audiences(&[("a", "count(\"X\") >= 3")], &[]);
    fold.at(0).receive(&[
        track("X", "u"),
        track("X", "u"),
        track("X", "u"),
        track("X", "v"),
        track("X", "v"),
        track("X", "w"),
    ]);
    assert_eq!(fold.told(), ["+a@0 user_id:u"]);
    fold.at(M).apply(workspace(&[("a", "count(\"X\") >= 2")], &[]));
    assert_eq!(fold.told(), ["+a@0 user_id:u", "+a!@60000 user_id:v"]);
}

#[test]
fn a_window_in_the_past_is_entered_and_left_at_its_bounds() {
    let mut fold = Fold::with_audiences(
        &[("a", "did(\"X\" between 40m and 10m ago) and not did(\"Y\" in last 40m)")],
        &[],
    );
    fold.at(0).receive(&[track("X", "u"), track("X", "v")]).at(M).receive(&[track("Y", "v")]).at(60 * M);
    assert_eq!(fold.told(), ["+a@600000 user_id:u", "-a@2400000 user_id:u"]);
}

#[test]
fn case_56_a_clock_stepped_back_changes_nothing() {
    let mut fold = in_ten(1);
    fold.at(5 * M).receive(&[track("X", "u")]).at(15 * M + 1).at(13 * M).at(16 * M);
    assert_eq!(fold.told(), ["+a@300000 user_id:u", "-a@900000 user_id:u"]);
}

#[test]
fn a_computed_count_is_told_at_every_change() {
    let mut fold = Fold::with_audiences(&[], &[("views", "count(\"X\" in last 10m)")]);
    fold.at(0).receive(&[track("X", "u")]).at(4 * M).receive(&[track("X", "u")]).at(15 * M);
    let expected = [
        "views=1@0 user_id:u",
        "views=2@240000 user_id:u",
        "views=1@600000 user_id:u",
        "views=0@840000 user_id:u",
    ];
    assert_eq!(fold.told(), expected);
}

#[test]
fn a_trait_condition_follows_the_latest_value_by_event_time() {
    let mut fold = Fold::with_audiences(&[("pro", "traits.plan = \"pro\"")], &[]);
    let plan = |plan: &str, ts: i64| json!({ "type": "identify", "userId": "u", "traits": { "plan": plan }, "ts": ts });
    fold.at(10 * M).receive(&[plan("pro", 10 * M)]).receive(&[plan("free", 5 * M)]);
    assert_eq!(fold.told(), ["+pro@600000 user_id:u", "plan=\"pro\"@600000 user_id:u"]);
}

#[test]
fn a_replay_of_the_log_gives_the_same_state() {
    let mut fold = in_ten(2);
    for minute in 0..30 {
        let user = format!("u{}", minute % 3);
        fold.at(minute * M).receive(&[
            track("X", &user),
            json!({ "type": "identify", "userId": user, "anonymousId": format!("a{}", minute % 5) }),
        ]);
    }
    let told = fold.told();
    let before: Vec<_> = fold.effects().iter().map(|effect| effect.id).collect();
    fold.store = std::sync::Arc::new(onefold_store::MemoryStore::new());
    fold.restart();
    assert_eq!(fold.told(), told);
    assert_eq!(fold.effects().iter().map(|effect| effect.id).collect::<Vec<_>>(), before);
}

#[test]
fn a_message_that_several_selectors_take_is_sent_once() {
    let mut workspace = common::workspace(&[], &[]);
    workspace["destinations"][0]["events"] = json!(["\"X\"", "any"]);
    let mut fold = Fold::new(workspace);
    fold.at(0).receive(&[track("X", "u")]);
    assert_eq!(fold.told(), ["event@0 user_id:u"]);
}

#[test]
fn a_person_born_in_the_batch_of_a_new_definition_is_looked_at() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.only_append(&[track("X", "u")]);
    fold.apply(common::workspace(&[("a", "did(\"X\")")], &[]));
    assert_eq!(fold.told(), ["+a!@0 user_id:u"]);
}

#[test]
fn merges_in_a_row_tell_the_survivor_what_it_took_over() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(0).receive(&[track("Y", "u0")]);
    fold.receive(&[json!({ "type": "identify", "anonymousId": "x", "traits": { "email": "p@x.example", "newsletter": true } })]);
    fold.receive(&[json!({ "type": "track", "event": "Y", "anonymousId": "a1" })]);
    fold.at(MINUTE).receive(&[
        json!({ "type": "identify", "anonymousId": "a1", "traits": { "email": "p@x.example" } }),
        json!({ "type": "identify", "anonymousId": "a1", "userId": "u0" }),
    ]);
    let told = fold.told();
    assert!(told.contains(&format!("newsletter=true@{MINUTE} user_id:u0")), "{told:?}");
}

#[test]
fn whoever_is_deleted_leaves_the_audiences_by_name() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(0).receive(&[track("X", "u"), track("X", "v")]);
    fold.at(MINUTE).decide(onefold_types::decision::Decision::DeleteMessage { message_id: "m0001".into() });
    let id = onefold_types::Identifier::new("user_id", "v");
    fold.decide(onefold_types::decision::Decision::DeleteProfile { id });
    let exits = [format!("-a@{MINUTE} user_id:u"), format!("-a@{MINUTE} user_id:v")];
    assert_eq!(fold.told()[2..], exits);
}

#[test]
fn a_message_is_forwarded_though_its_profile_owns_nothing_any_more() {
    let mut workspace = common::workspace(&[], &[]);
    workspace["destinations"][0]["events"] = json!(["page"]);
    let mut fold = Fold::new(workspace);
    fold.at(0).receive(&[json!({ "type": "track", "event": "X", "userId": "u2", "anonymousId": "a1" })]);
    fold.receive(&[
        json!({ "type": "page", "name": "Home", "anonymousId": "a1" }),
        json!({ "type": "alias", "userId": "u3", "previousId": "a1" }),
    ]);
    let told = fold.told();
    assert_eq!(told.iter().filter(|effect| effect.starts_with("event@")).count(), 1, "{told:?}");
}
