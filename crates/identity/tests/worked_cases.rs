//! The worked cases of identity.md section 3, in its notation, by every resolver and in every order of arrival.
//!
//! A case that the table cannot play, or not all of, has its test named in [`ELSEWHERE`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod common;

use common::engine::Folded;
use common::notation::{DAY_MS, check_owners, clusters, decisions, events, id};
use common::{Resolver, comparable, resolvers};
use onefold_identity::engine::{Transition, forget_profile, observe, owned_ranges};
use onefold_identity::graph::{Graph, MemoryGraph, Stamp};
use onefold_identity::oracle::{Cluster, OracleEvent, RefusedRule, Rule, accepts, resolve, without_profile};
use onefold_identity::rules::{Rules, profile_id};
use onefold_identity::why::why;
use onefold_types::decision::Decision;
use onefold_types::event::extract;
use onefold_types::workspace::IdentityConfig;
use onefold_types::{Identifier, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

struct Case {
    number: &'static str,
    config: &'static str,
    events: &'static str,
    decisions: &'static str,
    profiles: &'static str,
    owners: &'static str,
    /// `u1=a1`: the profile id of u1's profile is made of a1.
    named_by: &'static str,
}

const fn case(
    number: &'static str,
    events: &'static str,
    profiles: &'static str,
    owners: &'static str,
) -> Case {
    Case { number, config: "{}", events, decisions: "", profiles, owners, named_by: "" }
}

impl Case {
    const fn under(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    const fn after(self, decisions: &'static str) -> Self {
        Self { decisions, ..self }
    }

    const fn named_by(self, named_by: &'static str) -> Self {
        Self { named_by, ..self }
    }
}

const THIRTEEN: &str = "0:u1,e1; 1:u1,e2; 2:u1,e3; 3:u1,e4; 4:u1,e5; 5:u1,e6";

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        case("1", "0:a1; 1:a1; 2:u1,a1; 3:u1", "{a1,u1}", "m1->u1 m2->u1 m3->u1 m4->u1").named_by("u1=a1"),
        case("2", "0:a1; 1:u1,a1; 2:a2; 3:u1,a2; 4:a2", "{a1,a2,u1}", "m3->u1 m5->u1").named_by("u1=a1"),
        case("3", "2:u1,a1; 0:a1", "{a1,u1}", "m1->u1 m2->u1").named_by("u1=a1"),
        case("4", "0:u1,a1; 1:a1; 2:u2,a1; 3:a1; 4:u1; 5:a1", "{a1} {u1} {u2}", "m1->u1 m2->u1 m3->u2 m4->u2 m5->u1 m6->u2"),
        case("5", "0:a1; 1:u1,a1; 2:a1; 3:u2,a1; 4:a1", "{a1} {u1} {u2}", "m1->u1 m3->u1 m5->u2"),
        case("6", "0:u1,e1; 1:u2,e1", "{u1,e1} {u2}", "m1->u1 m2->u2"),
        case("6'", "1:u2,e1; 0:u1,e1", "{u1,e1} {u2}", "m1->u2 m2->u1"),
        case("7", "0:u1,e1; 1:u2,e1; 2:e1", "{u1,e1} {u2}", "m3->u1"),
        case("8", "0:a1,e1; 1:a1,u1", "{a1,e1,u1}", "m1->u1 m2->u1"),
        case("10", "0:u=null,a1; 1:u=null,a2", "{a1} {a2}", "m1->a1 m2->a2"),
        case("11", "0:u=0000-0000,a1; 1:u=0000-0000,a2", "{a1} {a2}", "m1->a1 m2->a2"),
        case("12", "0:e=A@X.com ,a1; 1:e=a@x.com,u1", "{a1,e=a@x.com,u1}", "m1->u1 m2->u1"),
        case("13", THIRTEEN, "{u1,e1,e2,e3,e4,e5} {e6}", "m6->u1"),
        case("15", "0:u1,a1; 1:u1,a2; 2:u1,a3; 3:u1,a4; 4:u1,a5; 5:u1,a6; 6:a6", "{u1,a1,a2,a3,a4,a5} {a6}", "m6->u1 m7->u1"),
        case("16", "0:u1,a1; 2:u1,a2; 4:u1,a3; 6:u1,a4; 8:u1,a5; 10:u1,a6", "{u1,a1,a2,a3,a4,a5,a6}", "m6->u1"),
        case("17", "0:c1,e1; 1:c2,e1", "{c1,e1} {c2}", "m2->c2"),
        case("18", "0:u1,e1; 1:e1,p1; 2:p1,c1", "{u1,e1,p1,c1}", "m3->u1"),
        case("19", "0:u1,e1; 1:u2,e2; 2:e1,e2", "{u1,e1} {u2,e2}", "m3->u1"),
        case("20b", "0:e1,a1; 1:a1; 2:e2,a1; 3:a1", "{a1} {e1} {e2}", "m2->e1 m4->e2").under(r#"{"preset":"b2b"}"#),
        case("21", "0:u1,d1; 1:u2,d1; 2:d1; 3:u1", "{d1} {u1} {u2}", "m3->u2"),
        case("23", "0:a1; 0:u1,a1", "{a1,u1}", "m1->u1 m2->u1").named_by("u1=a1"),
        case("24", "0:u=,e=not-an-email", "", "m1->none"),
        case("26", "0:u1,e1; 1:u1,e2", "{u1,e1} {e2}", "m2->u1").after("cut e1 e2"),
        case("28", "0:u1,a1; 1:u1,e1; 2:e1,c1; 3:c1", "{u1,a1,e1,c1}", "m4->u1"),
        case("29", "0:e1; 1:p1; 2:e1,p1", "{e1,p1}", "m2->e1").named_by("p1=e1"),
        case("30", "0:a1; 1:a2; 2:a1,a2", "{a1,a2}", "m2->a1").named_by("a2=a1"),
        case("31", "0:e1; 1:c1", "{e1,c1}", "m1->c1 m2->e1").after("link e1 c1").named_by("c1=e1"),
        case("32", "0:a1,e1; 1:a1,u1", "{a1,u1} {e1}", "m1->e1 m2->u1").after("cut a1 e1"),
        case("36", "0:u=U1,e1; 1:u=u1,e1", "{u=U1,e1} {u=u1}", "m2->u1"),
        case("37", "0:a1,e1; 1:a1,u1", "{a1,e1,u1}", "m1->u1 m2->u1").after("cut a1 e1; undo 1"),
        case("42", THIRTEEN, "{u1,e1} {e2} {e3} {e4} {e5} {e6}", "m2->u1 m6->u1")
            .under(r#"{"identifiers":[{"type":"email","limit":1}]}"#),
        case("44", "0:u1,a1; 1:a1,u2; 2:a1", "{a1} {u1} {u2}", "m1->u1 m2->u2 m3->u2"),
    ]
}

/// Every number of the page's list.
const NUMBERS: &str = "1 2 3 4 5 6 6' 7 8 10 11 12 13 15 16 17 18 19 20b 21 23 24 26 27 28 29 30 31 32 36 37 38 40 41 42 \
                       44 45 46";

/// What the table cannot play: the case, the file below `crates/`, the test that holds it.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("18", "identity/tests/worked_cases.rs", "case_18_the_reason_is_a_chain_of_three_hops"),
    ("27", "identity/tests/worked_cases.rs", "case_27_a_link_that_breaks_a_limit_is_refused_with_the_rule"),
    ("29", "identity/tests/worked_cases.rs", "case_29_two_known_profiles_merge_once_and_the_older_one_stays"),
    ("36", "fold/tests/spelling.rs", "the_second_spelling_is_warned_of_once_whichever_comes_first"),
    ("38", "identity/tests/worked_cases.rs", "case_38_a_deleted_person_leaves_nothing_and_comes_back_as_another"),
    ("38", "fold/tests/customer_keys.rs", "case_38_a_deleted_person_comes_back_with_another_key"),
    // One message id twice, and a client's clock, are decided before identity.
    ("40", "fold/tests/once.rs", "case_40_the_first_copy_in_the_log_wins_and_another_is_quarantined"),
    ("41", "types/src/event.rs", "a_wrong_clock_is_corrected_and_a_right_one_left_alone"),
    ("42", "identity/tests/worked_cases.rs", "case_42_stricter_rules_make_the_graph_that_the_definition_makes"),
    ("42", "fold/tests/rules_applied.rs", "case_42_other_rules_applied_are_a_fresh_replay"),
    ("46", "identity/tests/worked_cases.rs", "case_46_an_account_is_never_a_person"),
];

/// Cases of what is not built: edges that are only probable.
const NOT_BUILT: &[&str] = &["45"];

/// What the definitions say beyond the page's table.
#[rustfmt::skip]
fn further_cases() -> Vec<Case> {
    vec![
        case("a window's end is outside", "0:u1,a1; 0:u1,a2; 7:u1,a3", "{u1,a1,a2,a3}", "m3->u1")
            .under(r#"{"identifiers":[{"type":"anonymous_id","limit":2,"within":"7d"}]}"#),
        case("inside a window", "0:u1,a1; 0:u1,a2; 6.9:u1,a3", "{u1,a1,a2} {a3}", "m3->u1")
            .under(r#"{"identifiers":[{"type":"anonymous_id","limit":2,"within":"7d"}]}"#),
        case("a hub", "0:u1,e1; 1:u2,e1; 2:u3,e1; 3:e1; 4:e1,a1; 5:u1,a1", "{u1,a1} {u2} {u3} {e1}", "m1->u1 m4->hub m5->u1")
            .under(r#"{"hub_threshold":2}"#),
        case("no hub yet", "0:u1,e1; 1:u2,e1; 3:e1", "{u1,e1} {u2}", "m3->u1").under(r#"{"hub_threshold":2}"#),
        case("a login claims what is recent", "0:a1; 3:a1; 4:u1,a1; 5:u2,a1", "{a1} {u1} {u2}", "m1->a1 m2->u1")
            .under(r#"{"retro_window":"1d"}"#),
        case("a login claims nothing", "0:a1; 1:u1,a1; 2:a1; 3:u2,a1; 4:a1", "{a1} {u1} {u2}", "m1->a1 m2->u1 m3->u1 m4->u2 m5->u2")
            .under(r#"{"retro_window":"0d"}"#),
        case("a browser of one person is that person's from its first event", "0:a1; 1:u1,a1", "{a1,u1}", "m1->u1")
            .under(r#"{"retro_window":"0d"}"#),
        case("a person who changes e-mail keeps the browser", "0:u1,e1,a1; 1:u1,e2,a1", "{u1,e1,e2,a1}", "m2->u1")
            .under(r#"{"preset":"b2b"}"#),
        case("two addresses on one browser prove to be one person's", "0:e1,a1; 1:e2,a1; 2:u1,e1; 3:u1,e2; 4:a1", "{u1,e1,e2,a1}", "m1->u1 m2->u1 m5->u1")
            .under(r#"{"preset":"b2b"}"#),
        case("the most recent wins", "0:u1,e1; 1:u2,e1", "{u2,e1} {u1}", "m1->u1 m2->u2")
            .under(r#"{"identifiers":[{"type":"email","last_wins":true}]}"#),
        case("the size cap", "0:u1,e1; 1:u1,e2; 2:u1,e3", "{u1,e1,e2} {e3}", "m3->u1").under(r#"{"size_cap":3}"#),
        case("forced together", "0:u1,e1; 1:u2,e1", "{u1,u2,e1}", "m2->u1").after("force u1 u2"),
        case("blocked by an operator", "0:u1,e1; 1:u2,e1; 2:e1", "{u1} {u2}", "m1->u1 m3->none").after("block e1"),
        case("blocked and unblocked", "0:u1,e1; 1:e1", "{u1,e1}", "m2->u1").after("block e1; unblock e1"),
        case("of link and cut the later counts", "0:e1; 1:c1", "{e1} {c1}", "m1->e1").after("link e1 c1; cut c1 e1"),
        case("a type that no rule names", "0:l1,e1; 1:l1,u1", "{l1,e1,u1}", "m1->u1"),
        case("a weak identifier ties no strong ones", "0:u1,a1; 1:u2,a1; 2:u1,e1,a1", "{u1,e1} {u2} {a1}", "m3->u1"),
    ]
}

fn config(json: &str) -> IdentityConfig {
    serde_json::from_str(json).expect("the case's rules")
}

fn numbered(text: &str) -> Vec<(u64, Decision)> {
    (1..).zip(decisions(text)).collect()
}

/// All orders of up to five events; of more, rotations and the reverse.
fn orders(events: &[OracleEvent]) -> Vec<Vec<OracleEvent>> {
    if events.len() > 5 {
        let mut orders: Vec<Vec<OracleEvent>> = (0..events.len())
            .map(|by| {
                let mut order = events.to_vec();
                order.rotate_left(by);
                order
            })
            .collect();
        orders.push(events.iter().rev().cloned().collect());
        return orders;
    }
    let Some((first, rest)) = events.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for place in 0..=order.len() {
            let mut with = order.clone();
            with.insert(place, first.clone());
            all.push(with);
        }
    }
    all
}

fn check(case: &Case) {
    let config = config(case.config);
    let rules = Rules::compile(&config).unwrap();
    let given = events(case.events);
    let operations = numbered(case.decisions);
    for (number, decision) in &operations {
        let before = &operations[..*number as usize - 1];
        assert_eq!(accepts(&given, before, &rules, decision), Ok(()), "case {}: {decision:?}", case.number);
    }
    let mut answer = None;
    for mut resolver in resolvers() {
        for order in orders(&given) {
            let name = format!("case {} by the {}", case.number, resolver.name());
            let resolution = comparable(resolver.resolve(&order, &operations, &config));
            assert_eq!(resolution.clusters, clusters(case.profiles), "{name}");
            check_owners(&name, &resolution, case.owners);
            if let Some((member, anchor)) = case.named_by.split_once('=') {
                let cluster = resolution.cluster_of(&id(member)).unwrap();
                assert_eq!(resolution.profile_anchor[cluster], id(anchor), "{name}");
            }
            assert_eq!(
                answer.get_or_insert_with(|| resolution.clone()),
                &resolution,
                "{name}: another order, another state"
            );
        }
    }
}

#[test]
fn the_worked_cases_hold_in_every_order() {
    cases().iter().for_each(check);
}

#[test]
fn every_case_of_the_page_is_a_row_or_has_its_test_elsewhere() {
    let rows = cases();
    let elsewhere = ELSEWHERE.iter().map(|(number, ..)| *number);
    let held = rows.iter().map(|case| case.number).chain(elsewhere).chain(NOT_BUILT.iter().copied());
    assert_eq!(held.collect::<BTreeSet<_>>(), NUMBERS.split_whitespace().collect());
    for (number, file, test) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let source = std::fs::read_to_string(&path).expect(file);
        assert!(source.contains(&format!("fn {test}(")), "case {number}: {file} has no test {test}");
    }
}

#[test]
fn so_do_the_definitions_finer_points() {
    further_cases().iter().for_each(check);
}

#[test]
fn case_27_a_link_that_breaks_a_limit_is_refused_with_the_rule() {
    let rules = Rules::default();
    let given = events("0:u1; 1:u2");
    let link = decisions("link u1 u2").remove(0);
    let refusal = accepts(&given, &[], &rules, &link).unwrap_err();
    assert_eq!(refusal.rule, RefusedRule::Apart(Rule::Limit { id_type: "user_id".to_owned() }));
    assert_eq!(refusal.witnesses, [id("u1"), id("u2")]);
    let mut folded = Folded::new();
    given.iter().for_each(|event| folded.event(&rules, event));
    let before = folded.graph.export();
    assert!(!folded.decide(&rules, 1, &link));
    assert_eq!(folded.graph.export(), before);
}

#[test]
fn decisions_that_make_no_sense_are_refused() {
    let rules = Rules::default();
    let given = events("0:u1,e1; 1:u2,e2");
    let operations = numbered("block e2; cut u1 e1; undo 2");
    let refused = |text: &str| {
        accepts(&given, &operations, &rules, &decisions(text)[0]).map_err(|refusal| refusal.rule)
    };
    assert_eq!(refused("link u1 u1"), Err(RefusedRule::Same));
    assert_eq!(refused("link u1 e9"), Err(RefusedRule::NeverSeen));
    assert_eq!(refused("link u1 e2"), Err(RefusedRule::BlockedByOperator));
    assert_eq!(refused("cut u1 u=null"), Err(RefusedRule::Blocked));
    assert_eq!(refused("force u1 e1"), Err(RefusedRule::DifferentTypes));
    assert_eq!(refused("undo 9"), Err(RefusedRule::NotThere));
    assert_eq!(refused("undo 2"), Err(RefusedRule::Undone));
    assert_eq!(refused("undo 3"), Err(RefusedRule::NotThere));
    assert_eq!(refused("cut e9 u9"), Ok(()));
}

/// identity.md 1.1: an anonymous profile has no customer key, and what owns nothing is no person.
#[test]
fn a_customer_key_is_a_persons() {
    let rules = Rules::default();
    let given = events(&format!("{THIRTEEN}; 6:a1; 7:a2,c1"));
    let asked =
        |text: &str| accepts(&given, &[], &rules, &decisions(text)[0]).map_err(|refusal| refusal.rule);
    assert_eq!(asked("key u1"), Ok(()));
    assert_eq!(asked("key e1"), Ok(()));
    assert_eq!(asked("key a2"), Ok(()));
    assert_eq!(asked("key a1"), Err(RefusedRule::Anonymous));
    assert_eq!(asked("key e6"), Err(RefusedRule::OwnsNothing));
    assert_eq!(asked("key u9"), Err(RefusedRule::NeverSeen));
    assert_eq!(asked("key u=null"), Err(RefusedRule::Blocked));
}

#[test]
fn case_18_the_reason_is_a_chain_of_three_hops() {
    let rules = Rules::default();
    let given = events("0:u1,e1; 1:e1,p1; 2:p1,c1");
    let resolution = resolve(&given, &[], &rules);
    assert_eq!(
        hops(
            &resolution.edges.accepted.iter().map(|e| (e.u.clone(), e.v.clone())).collect::<Vec<_>>(),
            "u1",
            "c1"
        ),
        3
    );
    let mut folded = Folded::new();
    given.iter().for_each(|event| folded.event(&rules, event));
    let path = why(&rules, &mut folded.graph, &id("u1"), &id("c1")).unwrap();
    assert_eq!(path.map(|path| path.len()), Some(3));
}

/// Edges between two identifiers of a forest.
fn hops(forest: &[(Identifier, Identifier)], from: &str, to: &str) -> usize {
    let mut distance = BTreeMap::from([(id(from), 0)]);
    while !distance.contains_key(&id(to)) {
        for (u, v) in forest {
            for (x, y) in [(u, v), (v, u)] {
                if let Some(known) = distance.get(x).copied() {
                    distance.entry(y.clone()).or_insert(known + 1);
                }
            }
        }
    }
    distance[&id(to)]
}

#[test]
fn case_29_two_known_profiles_merge_once_and_the_older_one_stays() {
    let rules = Rules::default();
    let mut graph = MemoryGraph::new();
    let mut merges = Vec::new();
    for event in events("0:e1; 1:p1; 2:e1,p1") {
        let ids = rules.usable(&event.ids).ids;
        let observed = observe(&rules, &mut graph, &ids, event.ts, &event.message_id).unwrap();
        merges.extend(observed.changes.transitions);
    }
    let node = graph.node_of(&id("e1")).unwrap().unwrap();
    let stays = graph.node(node).unwrap().unwrap().cluster;
    assert!(matches!(merges[..], [Transition::Merged { into, .. }] if into == stays), "{merges:?}");
}

#[test]
fn case_38_a_deleted_person_leaves_nothing_and_comes_back_as_another() {
    let rules = Rules::default();
    let given = events("0:a1; 1:a1; 2:u1,a1; 3:u1");
    let left = without_profile(&given, &[], &rules, &id("u1"));
    assert!(left.is_empty());
    assert!(resolve(&left, &[], &rules).clusters.is_empty());

    let mut folded = Folded::new();
    given.iter().for_each(|event| folded.event(&rules, event));
    let (profile, _) = folded.graph.clusters().next().unwrap();
    let ranges = owned_ranges(&rules, &mut folded.graph, profile).unwrap();
    let owned = |stream, row: &onefold_identity::graph::StreamRow, message_id: &str| {
        ranges
            .iter()
            .any(|range| range.stream == stream && range.takes(row.set) && range.contains(row.ts, message_id))
    };
    let rows = folded.graph.rows().filter(|(stream, row, message_id)| owned(*stream, row, message_id));
    let rows: Vec<_> = rows.map(|(stream, row, message_id)| (stream, row, message_id.to_owned())).collect();
    assert_eq!(rows.len(), 4);
    for (stream, row, message_id) in rows {
        folded.graph.remove_row(stream, &Stamp::new(row.ts, &message_id), row.at.position.0);
    }
    forget_profile(&rules, &mut folded.graph, profile).unwrap();
    assert!(folded.graph.export().clusters.is_empty());

    observe(&rules, &mut folded.graph, &[id("a1")], Timestamp(9 * DAY_MS), "m9").unwrap();
    let node = folded.graph.node_of(&id("a1")).unwrap().unwrap();
    let generation = folded.graph.node(node).unwrap().unwrap().generation;
    assert_ne!(profile_id(b"secret", &id("a1"), generation), profile_id(b"secret", &id("a1"), 0));
}

#[test]
fn case_42_stricter_rules_make_the_graph_that_the_definition_makes() {
    let limit = |n: u32| config(&format!(r#"{{"identifiers":[{{"type":"email","limit":{n}}}]}}"#));
    let given = events(THIRTEEN);
    let of = |rules: &IdentityConfig| -> Vec<Cluster> {
        common::OracleResolver.resolve(&given, &[], rules).clusters.into_iter().collect()
    };
    let (before, after) = (of(&limit(5)), of(&limit(1)));
    assert_eq!(before.iter().map(Cluster::len).max(), Some(6));
    assert_eq!(after.iter().map(Cluster::len).max(), Some(2));
    for mut resolver in resolvers() {
        assert_eq!(resolver.resolve(&given, &[], &limit(1)).clusters.into_iter().collect::<Vec<_>>(), after);
    }
}

#[test]
fn case_46_an_account_is_never_a_person() {
    let body = r#"{"type":"group","userId":"u1","groupId":"acme","traits":{"email":"info@acme.example"}}"#;
    let extracted = extract(body, None).unwrap();
    assert_eq!(extracted.group_id, "acme");
    let usable = Rules::default().usable(&extracted.ids);
    assert_eq!(usable.ids, [id("u1")]);
}
