//! Random workspaces: identity rules, audiences and computed traits over what the engine evaluates, destinations, edits.

use crate::dice::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Windows as text, with every distance from an event at which they change, in milliseconds.
pub const WINDOWS: &[(&str, &[i64])] = &[
    ("", &[]),
    (" in last 1m", &[MINUTE]),
    (" in last 5m", &[5 * MINUTE]),
    (" in last 30m", &[30 * MINUTE]),
    (" in last 6h", &[6 * HOUR]),
    (" in last 7d", &[168 * HOUR]),
    (" between 30m and 5m ago", &[30 * MINUTE, 5 * MINUTE]),
    (" between 6h and 1m ago", &[6 * HOUR, MINUTE]),
    (" between 5m and 299s ago", &[5 * MINUTE, 299 * SECOND]),
];

/// The farthest that any window reaches.
pub const FARTHEST: i64 = 168 * HOUR;

const SELECTORS: &[&str] = &[
    "\"Product Viewed\"",
    "\"Order Completed\"",
    "\"Product Viewed\" where category = \"shoes\"",
    "\"Product Viewed\" where category != \"shoes\"",
    "\"Order Completed\" where price >= 2 and paid = true",
    "\"Order Completed\" where products[*].category = \"shoes\" ignoring case",
    "\"Cart Updated\" where not category in (\"shoes\", \"bags\")",
    "\"Support Asked\"",
    "page",
    "page(\"Pricing\")",
    "page where path = \"/pricing\"",
    "screen",
    "identify",
    "group",
    "any",
    "any where price exists",
];

const COMPARISONS: &[&str] =
    &[">= 1", ">= 2", ">= 3", "> 1", "= 0", "= 1", "= 2", "!= 1", "< 2", "<= 1", ">= 5", "> 1.5"];

const TRAIT_CONDITIONS: &[&str] = &[
    "traits.plan = \"pro\"",
    "traits.plan != \"pro\"",
    "not traits.plan = \"pro\"",
    "traits.plan exists",
    "traits.plan not exists",
    "traits.age >= 18",
    "traits.age not in (18, 19)",
    "traits.tags contains \"pro\"",
    "traits.address.city starts with \"a\" ignoring case",
    "traits.newsletter = true",
    "traits.email ends with \"@home.example\"",
];

const FORWARDED: &[&str] = &[
    "\"Order Completed\"",
    "\"Product Viewed\" where category = \"shoes\"",
    "identify",
    "page",
    "any where paid = true",
];

/// Per cent of workspaces in which two selectors of one destination may match one message (which is then sent twice
/// under one id).
const OVERLAPPING_SELECTORS: u32 = 20;

/// Selectors of forwarded messages.
fn forwarded(dice: &mut Dice) -> Vec<String> {
    let most = if dice.chance(OVERLAPPING_SELECTORS) { 3 } else { 2 };
    (0..dice.below(most)).map(|_| (*dice.pick(FORWARDED)).to_owned()).collect()
}

/// A destination that comes while the shop is open, and goes and comes back.
#[derive(Clone, Debug)]
struct Late {
    enabled: bool,
    audiences: Value,
    traits: Value,
}

/// Whether destinations come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// They are those of the first workspace.
    Fixed,
    /// One more comes, and its routes change.
    Changing,
}

/// A workspace and how to change it.
#[derive(Clone, Debug)]
pub struct Designer {
    dice: Dice,
    identity: Value,
    audiences: Vec<(String, String)>,
    computed: Vec<(String, String)>,
    events: Vec<String>,
    late: Option<Late>,
    /// What each audience that was renamed was before.
    renamed: BTreeMap<String, String>,
    /// Audiences that are disabled.
    disabled: BTreeSet<String>,
    named: usize,
}

impl Designer {
    /// The first workspace of a seed.
    #[must_use]
    pub fn new(mut dice: Dice) -> Self {
        let identity = identity(&mut dice);
        let events = forwarded(&mut dice);
        let mut designer = Self {
            dice,
            identity,
            audiences: Vec::new(),
            computed: Vec::new(),
            events,
            late: None,
            renamed: BTreeMap::new(),
            disabled: BTreeSet::new(),
            named: 0,
        };
        for _ in 0..designer.dice.below(3) {
            designer.add_computed();
        }
        for _ in 0..4 + designer.dice.below(8) {
            designer.add_audience();
        }
        designer
    }

    /// The workspace as it is.
    #[must_use]
    pub fn workspace(&self) -> Value {
        let list = |pairs: &[(String, String)], field: &str| -> Value {
            pairs.iter().map(|(key, text)| json!({ "key": key, field: text })).collect()
        };
        let mut workspace = json!({
            "version": 1, "workspace": "shop",
            "sources": [{ "key": "web", "kind": "browser", "write_key": "wk" }],
            "identity": self.identity,
            "audiences": self.audiences.iter().map(|pair| self.audience(pair)).collect::<Value>(),
            "computed_traits": list(&self.computed, "value"),
            "destinations": [
                { "key": "all", "kind": "webhook", "audiences": "*", "traits": "*" },
                { "key": "some", "kind": "webhook", "audiences": [self.audiences[0].0], "traits": ["plan"], "events": self.events },
            ],
        });
        if let (Some(late), Some(list)) = (&self.late, workspace["destinations"].as_array_mut()) {
            list.push(json!({ "key": "late", "kind": "webhook", "audiences": late.audiences, "traits": late.traits, "enabled": late.enabled }));
        }
        workspace
    }

    fn audience(&self, (key, text): &(String, String)) -> Value {
        let mut audience = json!({ "key": key, "where": text });
        if let Some(before) = self.renamed.get(key) {
            audience["renamed_from"] = before.as_str().into();
        }
        if self.disabled.contains(key) {
            audience["enabled"] = false.into();
        }
        audience
    }

    /// An audience gets another key, and whoever names it the new one.
    fn rename(&mut self) -> String {
        let at = self.dice.below(self.audiences.len());
        let (before, key) = (self.audiences[at].0.clone(), format!("a{}", self.named));
        self.named += 1;
        self.audiences[at].0.clone_from(&key);
        for (_, text) in &mut self.audiences {
            *text = text.replace(&format!("in audience(\"{before}\")"), &format!("in audience(\"{key}\")"));
        }
        if let Some(late) = self.late.as_mut().filter(|late| late.audiences == json!([before])) {
            late.audiences = json!([key]);
        }
        if self.disabled.remove(&before) {
            self.disabled.insert(key.clone());
        }
        let told = format!("rename {before} to {key}");
        self.renamed.insert(key, before);
        told
    }

    /// An audience that no other asks for is disabled, or enabled again.
    fn toggle(&mut self) -> String {
        let at = self.dice.below(self.audiences.len());
        let key = self.audiences[at].0.clone();
        if self.disabled.remove(&key) {
            return format!("enable {key}");
        }
        let asked = format!("in audience(\"{key}\")");
        if self.audiences.iter().any(|(_, text)| text.contains(&asked)) {
            return format!("{key} is asked for, and stays");
        }
        let told = format!("disable {key}");
        self.disabled.insert(key);
        told
    }

    /// The other destination comes, goes, comes back, or takes other things.
    fn change_late(&mut self) -> String {
        let first = self.audiences[0].0.as_str();
        let audiences = [json!("*"), json!([first]), json!([])];
        let computed = self.computed.first().map(|(key, _)| key.as_str());
        let traits = [json!("*"), json!(["plan"]), computed.map_or(json!([]), |key| json!([key]))];
        match &mut self.late {
            Some(late) if self.dice.chance(60) => late.enabled = !late.enabled,
            late => {
                *late = Some(Late {
                    enabled: self.dice.chance(80),
                    audiences: self.dice.pick(&audiences).clone(),
                    traits: self.dice.pick(&traits).clone(),
                });
            }
        }
        format!("destination {:?}", self.late)
    }

    /// Changes something; says what.
    pub fn edit(&mut self, destinations: Destinations) -> String {
        if destinations == Destinations::Changing && self.dice.chance(25) {
            return self.change_late();
        }
        match self.dice.below(15) {
            13.. => self.toggle(),
            12 => self.rename(),
            10.. => {
                self.identity = identity(&mut self.dice);
                format!("rules {}", self.identity)
            }
            0..3 => {
                self.add_audience();
                format!("add {:?}", self.audiences.last())
            }
            3..6 => {
                let at = self.dice.below(self.audiences.len());
                self.audiences[at].1 = self.condition(at);
                format!("edit {:?}", self.audiences[at])
            }
            6 => {
                self.add_computed();
                format!("add {:?}", self.computed.last())
            }
            7 if !self.computed.is_empty() => {
                let at = self.dice.below(self.computed.len());
                self.computed[at].1 = self.count();
                format!("edit {:?}", self.computed[at])
            }
            8 if self.audiences.len() > 2 => {
                // The last is asked by no other, and the first is the one that destination `some` names.
                let gone = self.audiences.pop();
                format!("remove {gone:?}")
            }
            _ => {
                self.events = forwarded(&mut self.dice);
                format!("forward {:?}", self.events)
            }
        }
    }

    fn add_audience(&mut self) {
        let condition = self.condition(self.audiences.len());
        self.audiences.push((format!("a{}", self.named), condition));
        self.named += 1;
    }

    fn add_computed(&mut self) {
        let count = self.count();
        self.computed.push((format!("c{}", self.named), count));
        self.named += 1;
    }

    fn count(&mut self) -> String {
        let (selector, window) = (*self.dice.pick(SELECTORS), self.dice.pick(WINDOWS).0);
        format!("count({selector}{window})")
    }

    /// A condition that may ask for the first `before` audiences.
    fn condition(&mut self, before: usize) -> String {
        let mut text = self.leaf(before);
        while self.dice.chance(40) {
            let other = self.leaf(before);
            let word = if self.dice.chance(60) { "and" } else { "or" };
            text = if self.dice.chance(50) {
                format!("({text}) {word} ({other})")
            } else {
                format!("({other}) {word} ({text})")
            };
        }
        if self.dice.chance(15) { format!("not ({text})") } else { text }
    }

    fn leaf(&mut self, before: usize) -> String {
        match self.dice.below(12) {
            0..5 => format!("{} {}", self.count(), *self.dice.pick(COMPARISONS)),
            5..7 => format!("did({}{})", *self.dice.pick(SELECTORS), self.dice.pick(WINDOWS).0),
            7 => format!("not did({}{})", *self.dice.pick(SELECTORS), self.dice.pick(WINDOWS).0),
            8 if before > 0 => {
                let at = self.dice.below(before);
                let key = &self.audiences[at].0;
                // One that is disabled is nobody's to ask for.
                if self.disabled.contains(key) {
                    "did(any)".to_owned()
                } else {
                    format!("in audience(\"{key}\")")
                }
            }
            9 if !self.computed.is_empty() => {
                let at = self.dice.below(self.computed.len());
                format!("computed.{} {}", self.computed[at].0, *self.dice.pick(COMPARISONS))
            }
            _ => (*self.dice.pick(TRAIT_CONDITIONS)).to_owned(),
        }
    }
}

/// Identity rules: a preset, sometimes tightened so that limits, hubs and caps matter among few people.
fn identity(dice: &mut Dice) -> Value {
    let mut identity = json!({ "preset": *dice.pick(&["product", "b2b", "b2c"]) });
    let mut rules = Vec::new();
    if dice.chance(30) {
        rules.push(json!({ "type": "anonymous_id", "limit": dice.between(1, 3), "within": *dice.pick(&["30m", "6h", "7d"]) }));
    }
    if dice.chance(25) {
        let mut rule = json!({ "type": "email", "limit": dice.between(1, 2) });
        if dice.chance(30) {
            rule["last_wins"] = true.into();
        }
        rules.push(rule);
    }
    if dice.chance(15) {
        rules.push(json!({ "type": "phone", "limit": 1 }));
    }
    if dice.chance(15) {
        rules.push(json!({ "type": "user_id", "normalise": *dice.pick(&["exact", "lowercase"]) }));
    }
    if dice.chance(10) {
        rules.push(json!({ "type": "crm_id", "scope": "device", "rank": 20 }));
    } else if dice.chance(15) {
        rules.push(json!({ "type": "crm_id", "rank": dice.between(1, 4) }));
    }
    if dice.chance(10) {
        rules.push(json!({ "type": "ios.id", "limit": 1 }));
    }
    identity["identifiers"] = rules.into();
    if dice.chance(30) {
        identity["hub_threshold"] = dice.between(1, 3).into();
    }
    if dice.chance(15) {
        identity["size_cap"] = dice.between(3, 8).into();
    }
    if dice.chance(25) {
        identity["retro_window"] = (*dice.pick(&["5m", "6h"])).into();
    }
    let blocked = [json!(["/@blocked\\.example$/"]), json!(["/@blocked\\.example$/", "/1@/"])];
    identity["blocked"] = blocked[usize::from(dice.chance(20))].clone();
    identity
}
