//! Small dense worlds: few names, colliding milliseconds, windows of a few milliseconds, so that every instant can be
//! looked at and every boundary is hit.

use super::{identify, message, track, workspace};
use onefold_audience::oracle::OracleEvent;
use onefold_types::MessageType;
use onefold_types::workspace::Workspace;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value as Json, json};

/// Which events.
const SELECTORS: &[&str] = &[
    r#""X""#,
    r#""Y""#,
    r#""X" where a = 1"#,
    r#""X" where a != 1"#,
    r#""X" where not a = 1"#,
    r#""X" where a in (1, "s") or b exists"#,
    r#""Y" where items[*].k > 1 and a not in ("s")"#,
    r#""Y" where a contains "s" ignoring case"#,
    "any",
    "any where a >= 1.0",
    "page",
    r#"page("Home")"#,
    "identify",
    r#"identify where traits.plan = "pro""#,
];

/// When.
const WINDOWS: &[&str] = &[
    "",
    " in last 1ms",
    " in last 4ms",
    " in last 5ms",
    " in last 9ms",
    " between 9ms and 4ms ago",
    " between 8ms and 3ms ago",
    " between 5ms and 4ms ago",
    " between 20ms and 1ms ago",
];

const COMPARISONS: &[&str] = &[
    ">= 1", ">= 2", ">= 3", "> 0", "> 1", "= 0", "= 1", "= 2", "!= 1", "!= 0", "< 1", "< 2", "<= 1", "<= 0",
    "> 1.5", "= 1.5", "!= 1.5", ">= -1", "< 0",
];

const TRAIT_CONDITIONS: &[&str] = &[
    r#"traits.plan = "pro""#,
    r#"traits.plan != "pro""#,
    r#"not traits.plan = "pro""#,
    "traits.plan exists",
    "traits.plan not exists",
    "traits.n > 1",
    "traits.n not in (1, 2)",
    "traits.tags contains \"a\"",
    "traits.address.city starts with \"A\"",
    "traits.n = traits.m",
];

fn count() -> impl Strategy<Value = String> {
    (select(SELECTORS), select(WINDOWS)).prop_map(|(selector, window)| format!("count({selector}{window})"))
}

fn leaf(before: usize, computed: usize) -> BoxedStrategy<String> {
    let compared = (count(), select(COMPARISONS)).prop_map(|(count, with)| format!("{count} {with}"));
    let did = (select(SELECTORS), select(WINDOWS)).prop_map(|(s, w)| format!("did({s}{w})"));
    let own = prop_oneof![4 => compared, 3 => did, 2 => select(TRAIT_CONDITIONS).prop_map(str::to_owned)];
    let asks = (0..before.max(1)).prop_map(|at| format!("in audience(\"a{at}\")"));
    let reads =
        (0..computed.max(1), select(COMPARISONS)).prop_map(|(at, with)| format!("computed.c{at} {with}"));
    match (before, computed) {
        (0, 0) => own.boxed(),
        (_, 0) => prop_oneof![4 => own, 1 => asks].boxed(),
        (0, _) => prop_oneof![6 => own, 1 => reads].boxed(),
        _ => prop_oneof![6 => own, 2 => asks, 1 => reads].boxed(),
    }
}

/// A condition that may ask for audiences `a0` to `a(before - 1)` and traits `c0` to `c(computed - 1)`.
pub fn condition(before: usize, computed: usize) -> BoxedStrategy<String> {
    leaf(before, computed)
        .prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
                inner.prop_map(|a| format!("not ({a})")),
            ]
        })
        .boxed()
}

/// Up to four audiences, up to two computed traits.
pub fn definitions() -> impl Strategy<Value = Workspace> {
    (1..=4usize, 0..=2usize).prop_flat_map(|(audiences, computed)| {
        let conditions: Vec<_> = (0..audiences).map(|before| condition(before, computed)).collect();
        (conditions, proptest::collection::vec(count(), computed)).prop_map(|(conditions, values)| {
            let named = |kind: &str, texts: Vec<String>| -> Vec<(String, String)> {
                texts.into_iter().enumerate().map(|(at, text)| (format!("{kind}{at}"), text)).collect()
            };
            let (audiences, computed) = (named("a", conditions), named("c", values));
            workspace(&borrowed(&audiences), &borrowed(&computed))
        })
    })
}

pub fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect()
}

/// A message without its times.
#[derive(Clone, Debug)]
pub enum Said {
    Track(&'static str, Json),
    Page(&'static str, Json),
    Identify(Json),
}

impl Said {
    pub fn at(&self, id: &str, ts: i64, rt: i64) -> OracleEvent {
        match self {
            Self::Track(name, properties) => track(id, ts, rt, name, properties.clone()),
            Self::Page(name, properties) => {
                message(id, ts, rt, MessageType::Page, name, json!({ "properties": properties }))
            }
            Self::Identify(traits) => identify(id, ts, rt, traits.clone()),
        }
    }
}

pub fn said() -> impl Strategy<Value = Said> {
    let properties = select(vec![
        json!({}),
        json!({ "a": 1 }),
        json!({ "a": 1.0, "b": null }),
        json!({ "a": 2, "b": true }),
        json!({ "a": "s" }),
        json!({ "a": "Sx", "items": [{ "k": 1 }, { "k": 2.5 }] }),
        json!({ "a": null, "items": [{ "k": "2" }, {}] }),
        json!({ "a": ["s", 1], "items": {} }),
    ]);
    let traits = select(vec![
        json!({ "plan": "pro" }),
        json!({ "plan": "free", "n": 1 }),
        json!({ "plan": null }),
        json!({ "n": 2, "m": 2.0, "tags": ["a", "b"] }),
        json!({ "n": "2", "address": { "city": "Aachen" } }),
        json!({ "tags": [], "m": null }),
    ]);
    prop_oneof![
        6 => (select(vec!["X", "X", "Y", "Z"]), properties.clone()).prop_map(|(name, p)| Said::Track(name, p)),
        1 => (select(vec!["Home", "Pricing"]), properties).prop_map(|(name, p)| Said::Page(name, p)),
        2 => traits.prop_map(Said::Identify),
    ]
}

/// What a record does.
#[derive(Clone, Debug)]
pub enum Step {
    /// `late` is how long ago it happened.
    Event {
        who: u64,
        said: Said,
        late: i64,
    },
    /// The same message again.
    Again(Index),
    Merge {
        from: u64,
        into: u64,
    },
    /// What was `from`'s before any merge goes back to it.
    Undo {
        merged: u64,
        from: u64,
    },
    Delete(Index),
    Apply(Box<Workspace>),
    Restart,
}

/// Steps with how long after the one before they come: 0 is the same record.
pub fn script(steps: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let late = prop_oneof![7 => Just(0), 2 => 1..6i64, 1 => 6..30i64];
    let step = prop_oneof![
        24 => (1..4u64, said(), late).prop_map(|(who, said, late)| Step::Event { who, said, late }),
        1 => any::<Index>().prop_map(Step::Again),
        2 => (1..4u64, 1..4u64).prop_map(|(from, into)| Step::Merge { from, into }),
        2 => (1..4u64, 1..4u64).prop_map(|(merged, from)| Step::Undo { merged, from }),
        1 => any::<Index>().prop_map(Step::Delete),
        1 => definitions().prop_map(|definitions| Step::Apply(Box::new(definitions))),
        1 => Just(Step::Restart),
    ];
    let gap = prop_oneof![3 => Just(0), 4 => 1..5i64, 1 => 5..25i64];
    proptest::collection::vec((gap, step), steps)
}
