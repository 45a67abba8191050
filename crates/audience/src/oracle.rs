//! What an expression means, said as plainly as possible: all events of a person, filtered, sorted, looped over.
//!
//! Tests and the simulator compare the engine with it. **Never here:** anything that makes it fast, and any code of the
//! plan or the state; it shares the tree and the comparison of two values with them, nothing else.
//!
//! - ORACLE-1: an event counts at instant `at` if it was received by then, `rt <= at`.
//! - ORACLE-2: a person exists from the first event on; nobody else is in an audience (audiences.md 1.2).
//! - ORACLE-3: a trait's value is that of the `identify` with the greatest (ts, message id); `null` removes it.

use crate::SyntaxError;
use crate::ast::{
    Aggregate, Did, Event, EventSelector, Expr, ExprKind, Function, Path, Root, Segment, TextTest, Window,
};
use crate::value::{Value, compare, literal};
use onefold_types::workspace::Workspace;
use onefold_types::{MessageType, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// A message that the person owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleEvent {
    /// When it happened.
    pub ts: Timestamp,
    /// When it was received.
    pub rt: Timestamp,
    /// Its id; duplicates are the caller's to leave out.
    pub message_id: String,
    /// Which call.
    pub message_type: MessageType,
    /// A track's event, a page's or screen's name; else empty.
    pub name: String,
    /// The message's JSON.
    pub body: Json,
}

/// The oracle was asked for something that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the oracle does not know {0}")]
pub struct Unknown(pub &'static str);

/// All definitions of a workspace, by key.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// Conditions.
    pub audiences: BTreeMap<String, Expr>,
    /// Values.
    pub computed: BTreeMap<String, Expr>,
}

/// A person at an instant.
struct View<'a> {
    definitions: &'a Definitions,
    events: Vec<&'a OracleEvent>,
    traits: BTreeMap<&'a str, &'a Json>,
    at: Timestamp,
}

/// Where a path is looked up.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Person,
    Event(&'a OracleEvent),
}

impl Definitions {
    /// Reads the enabled definitions.
    ///
    /// # Errors
    /// The first text that does not parse.
    pub fn parse(workspace: &Workspace) -> Result<Self, SyntaxError> {
        let mut definitions = Self::default();
        for audience in workspace.audiences.iter().filter(|a| a.labels.enabled) {
            definitions.audiences.insert(audience.key.clone(), crate::parse(&audience.condition)?);
        }
        for computed in workspace.computed_traits.iter().filter(|t| t.labels.enabled) {
            definitions.computed.insert(computed.key.clone(), crate::parse(&computed.value)?);
        }
        Ok(definitions)
    }

    /// The audiences that the owner of `events` is in at `at`.
    ///
    /// # Errors
    /// A definition uses what the oracle does not know.
    pub fn members(&self, events: &[OracleEvent], at: Timestamp) -> Result<BTreeSet<String>, Unknown> {
        let view = View::new(self, events, at);
        let mut members = BTreeSet::new();
        for (key, condition) in &self.audiences {
            if !view.events.is_empty() && view.holds(condition, Scope::Person)? {
                members.insert(key.clone());
            }
        }
        Ok(members)
    }

    /// The values of the computed traits at `at`; what has no value is left out.
    ///
    /// # Errors
    /// As [`Definitions::members`].
    pub fn values(&self, events: &[OracleEvent], at: Timestamp) -> Result<BTreeMap<String, Value>, Unknown> {
        let view = View::new(self, events, at);
        let mut values = BTreeMap::new();
        for (key, value) in &self.computed {
            if let Some(value) = view.values(value, Scope::Person)?.pop() {
                values.insert(key.clone(), value);
            }
        }
        Ok(values)
    }

    /// Whether `condition` holds for the owner of `events` at `at`.
    ///
    /// # Errors
    /// As [`Definitions::members`].
    pub fn holds(&self, condition: &Expr, events: &[OracleEvent], at: Timestamp) -> Result<bool, Unknown> {
        View::new(self, events, at).holds(condition, Scope::Person)
    }

    /// The value of `expr` for the owner of `events` at `at`.
    ///
    /// # Errors
    /// As [`Definitions::members`].
    pub fn value(
        &self,
        expr: &Expr,
        events: &[OracleEvent],
        at: Timestamp,
    ) -> Result<Option<Value>, Unknown> {
        Ok(View::new(self, events, at).values(expr, Scope::Person)?.pop())
    }
}

/// The traits of the owner of `events` at `at` (ORACLE-3).
#[must_use]
pub fn traits_at(events: &[OracleEvent], at: Timestamp) -> BTreeMap<&str, &Json> {
    let mut identifies: Vec<&OracleEvent> =
        events.iter().filter(|e| e.rt <= at && e.message_type == MessageType::Identify).collect();
    identifies.sort_by_key(|e| (e.ts, &e.message_id));
    let mut traits = BTreeMap::new();
    for event in identifies {
        for (key, value) in event.body.get("traits").and_then(Json::as_object).into_iter().flatten() {
            if value.is_null() {
                traits.remove(key.as_str());
            } else {
                traits.insert(key.as_str(), value);
            }
        }
    }
    traits
}

impl<'a> View<'a> {
    fn new(definitions: &'a Definitions, events: &'a [OracleEvent], at: Timestamp) -> Self {
        let traits = traits_at(events, at);
        Self { definitions, events: events.iter().filter(|e| e.rt <= at).collect(), traits, at }
    }

    fn holds(&self, expr: &Expr, scope: Scope<'_>) -> Result<bool, Unknown> {
        Ok(match &expr.kind {
            ExprKind::And(parts) => {
                for part in parts {
                    if !self.holds(part, scope)? {
                        return Ok(false);
                    }
                }
                true
            }
            ExprKind::Or(parts) => {
                for part in parts {
                    if self.holds(part, scope)? {
                        return Ok(true);
                    }
                }
                false
            }
            ExprKind::Not(inner) => !self.holds(inner, scope)?,
            ExprKind::Literal(crate::ast::Literal::Bool(truth)) => *truth,
            ExprKind::InAudience(key) => match self.definitions.audiences.get(key) {
                Some(condition) => self.holds(condition, Scope::Person)?,
                None => false,
            },
            ExprKind::Compare { left, op, right, ignoring_case } => {
                let rights = self.values(right, scope)?;
                let lefts = self.values(left, scope)?;
                lefts.iter().any(|l| rights.iter().any(|r| compare(l, *op, r, *ignoring_case)))
            }
            ExprKind::InList { left, list, negated, ignoring_case } => {
                let list: Vec<Value> = list.iter().filter_map(literal).collect();
                self.values(left, scope)?.iter().any(|value| {
                    let same_type: Vec<&Value> = list.iter().filter(|item| same_type(value, item)).collect();
                    let found = same_type.iter().any(|item| equal(value, item, *ignoring_case));
                    !same_type.is_empty() && found != *negated
                })
            }
            ExprKind::Text { left, test, right, negated, ignoring_case } => {
                let rights = self.values(right, scope)?;
                self.values(left, scope)?.iter().any(|value| {
                    rights.iter().any(|with| {
                        text(value, *test, with, *ignoring_case).is_some_and(|found| found != *negated)
                    })
                })
            }
            ExprKind::Matches { left, pattern, negated, ignoring_case, .. } => {
                let flags = if *ignoring_case { "(?i)" } else { "" };
                let pattern = regex::Regex::new(&format!("{flags}{pattern}"))
                    .map_err(|_| Unknown("this regular expression"))?;
                self.values(left, scope)?
                    .iter()
                    .any(|value| matches!(value, Value::String(t) if pattern.is_match(t) != *negated))
            }
            ExprKind::Exists { left, negated } => self.values(left, scope)?.is_empty() == *negated,
            ExprKind::Did(did) => self.did(did)?,
            _ => return Err(Unknown("this kind of condition")),
        })
    }

    /// The values of an expression: none if it is missing, several where a path has `[*]`.
    fn values(&self, expr: &Expr, scope: Scope<'_>) -> Result<Vec<Value>, Unknown> {
        Ok(match &expr.kind {
            ExprKind::Literal(constant) => literal(constant).into_iter().collect(),
            ExprKind::Path(path) => self.path(path, scope),
            ExprKind::Computed(key) => match self.definitions.computed.get(key) {
                Some(value) => self.values(value, Scope::Person)?,
                None => Vec::new(),
            },
            ExprKind::Aggregate(Aggregate { function: Function::Count, selector, window, .. }) => {
                let count = self.matching(selector, window)?.len();
                vec![Value::Number(Decimal::from(count))]
            }
            _ => return Err(Unknown("this kind of value")),
        })
    }

    fn did(&self, did: &Did) -> Result<bool, Unknown> {
        match did.steps.as_slice() {
            [step] if !did.any_member && did.without.is_empty() && did.same.is_empty() => {
                Ok(!self.matching(&step.selector, &did.window)?.is_empty())
            }
            _ => Err(Unknown("sequences and account members")),
        }
    }

    /// The events of a selector in a window, in order.
    fn matching(&self, selector: &EventSelector, window: &Window) -> Result<Vec<&OracleEvent>, Unknown> {
        let mut found = Vec::new();
        for &event in &self.events {
            let passes = match &selector.filter {
                Some(filter) => self.holds(filter, Scope::Event(event))?,
                None => true,
            };
            if passes && is_event(&selector.event, event) && self.is_in(window, event.ts)? {
                found.push(event);
            }
        }
        found.sort_by_key(|event| (event.ts, &event.message_id));
        Ok(found)
    }

    /// audiences.md 1.1, to the letter. Wider integers than an instant's, so that no window is too long.
    fn is_in(&self, window: &Window, ts: Timestamp) -> Result<bool, Unknown> {
        let (at, ts) = (i128::from(self.at.0), i128::from(ts.0));
        match window {
            Window::Lifetime => Ok(ts <= at),
            Window::InLast { ms } => Ok(at - i128::from(*ms) < ts && ts <= at),
            Window::Between { from_ms, to_ms } => {
                Ok(at - i128::from(*from_ms) < ts && ts <= at - i128::from(*to_ms))
            }
            _ => Err(Unknown("this kind of window")),
        }
    }

    fn path(&self, path: &Path, scope: Scope<'_>) -> Vec<Value> {
        let Some((Segment::Name(first), rest)) = path.segments.split_first() else { return Vec::new() };
        let root = match (scope, path.root) {
            (Scope::Person, Root::Traits) => self.traits.get(first.as_str()).copied(),
            (Scope::Event(event), Root::Properties) => {
                event.body.get("properties").and_then(|o| o.get(first))
            }
            (Scope::Event(event), Root::Context) => event.body.get("context").and_then(|o| o.get(first)),
            (Scope::Event(event), Root::Traits) => event.body.get("traits").and_then(|o| o.get(first)),
            _ => None,
        };
        let mut here: Vec<&Json> = root.into_iter().collect();
        for segment in rest {
            here = match segment {
                Segment::Name(name) => {
                    here.iter().filter_map(|value| value.as_object().and_then(|o| o.get(name))).collect()
                }
                Segment::Each => here.iter().filter_map(|value| value.as_array()).flatten().collect(),
            };
        }
        here.iter().filter_map(|value| Value::from_json(&value.to_string())).collect()
    }
}

fn is_event(wanted: &Event, event: &OracleEvent) -> bool {
    let named = |name: &Option<String>| name.as_ref().is_none_or(|name| *name == event.name);
    match wanted {
        Event::Any => true,
        Event::Track(name) => event.message_type == MessageType::Track && *name == event.name,
        Event::Page(name) => event.message_type == MessageType::Page && named(name),
        Event::Screen(name) => event.message_type == MessageType::Screen && named(name),
        Event::Identify => event.message_type == MessageType::Identify,
        Event::Group => event.message_type == MessageType::Group,
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn equal(a: &Value, b: &Value, ignoring_case: bool) -> bool {
    compare(a, crate::ast::CompareOp::Eq, b, ignoring_case)
}

/// `None` where a type does not fit, which is as good as missing.
fn text(value: &Value, test: TextTest, with: &Value, ignoring_case: bool) -> Option<bool> {
    match (value, with) {
        (Value::List(items), with) if test == TextTest::Contains => {
            Some(items.iter().any(|item| equal(item, with, ignoring_case)))
        }
        (Value::String(value), Value::String(with)) => {
            let fold = |text: &String| if ignoring_case { text.to_lowercase() } else { text.clone() };
            let (value, with) = (fold(value), fold(with));
            Some(match test {
                TextTest::Contains => value.contains(&with),
                TextTest::StartsWith => value.starts_with(&with),
                TextTest::EndsWith => value.ends_with(&with),
            })
        }
        _ => None,
    }
}
