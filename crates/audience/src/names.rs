//! The names an expression mentions: events, properties, traits, audiences and computed traits, each with its place.
//!
//! **Never here:** whether a name exists. The caller says what it knows, [`unknown`] compares.
//!
//! - NAME-1: mentions come in the order of the text, one for each place; of a value that the steps of a sequence share,
//!   one for each step.
//! - NAME-2: a path inside `where` is a property of that event, `traits.x` there included; outside it is a trait.

use crate::ast::*;
use onefold_types::suggest::nearest;
use std::collections::BTreeSet;

/// Something mentioned, and where. An event or a path of an aggregate or a sequence has the place of the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention<T> {
    /// What is mentioned.
    pub what: T,
    /// Where.
    pub span: Span,
}

/// A value of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Of which event.
    pub event: Event,
    /// Which value of it.
    pub path: Path,
}

/// Everything that an expression mentions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Events of every kind.
    pub events: Vec<Mention<Event>>,
    /// Values of events; for each step of a sequence, those that must be the same in it.
    pub properties: Vec<Mention<Property>>,
    /// Traits of the profile and of its account.
    pub traits: Vec<Mention<Path>>,
    /// Keys of audiences.
    pub audiences: Vec<Mention<String>>,
    /// Keys of computed traits.
    pub computed: Vec<Mention<String>>,
}

impl Names {
    /// What `expr` mentions.
    pub fn of(expr: &Expr) -> Self {
        let mut names = Self::default();
        visit(expr, None, &mut |expr, event| names.add(expr, event));
        names
    }

    /// What `selector` mentions.
    pub fn of_selector(selector: &EventSelector) -> Self {
        let mut names = Self::default();
        names.event(selector);
        visit_filter(selector, &mut |expr, event| names.add(expr, event));
        names
    }

    fn add(&mut self, expr: &Expr, event: Option<&Event>) {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Path(path) => match event {
                Some(event) => self.property(event, path, span),
                None => self.traits.push(Mention { what: path.clone(), span }),
            },
            ExprKind::Computed(key) => self.computed.push(Mention { what: key.clone(), span }),
            ExprKind::InAudience(key) => self.audiences.push(Mention { what: key.clone(), span }),
            ExprKind::Aggregate(aggregate) => {
                self.event(&aggregate.selector);
                if let Some(path) = &aggregate.path {
                    self.property(&aggregate.selector.event, path, aggregate.selector.span);
                }
            }
            ExprKind::Did(did) => {
                did.steps.iter().for_each(|step| self.event(&step.selector));
                did.without.iter().for_each(|selector| self.event(selector));
                for step in &did.steps {
                    did.same.iter().for_each(|path| self.property(&step.selector.event, path, span));
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, selector: &EventSelector) {
        self.events.push(Mention { what: selector.event.clone(), span: selector.span });
    }

    fn property(&mut self, event: &Event, path: &Path, span: Span) {
        let what = Property { event: event.clone(), path: path.clone() };
        self.properties.push(Mention { what, span });
    }
}

/// The audiences that `expr` refers to.
pub fn audiences(expr: &Expr) -> Vec<Mention<String>> {
    Names::of(expr).audiences
}

/// The computed traits that `expr` refers to.
pub fn computed(expr: &Expr) -> Vec<Mention<String>> {
    Names::of(expr).computed
}

/// The names that exist. `None`: not known what exists, so nothing is noted.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Names of track events.
    pub events: Option<BTreeSet<String>>,
    /// First names of the paths of properties, of whatever event.
    pub properties: Option<BTreeSet<String>>,
    /// First names of the paths of a profile's traits.
    pub traits: Option<BTreeSet<String>>,
    /// Keys of audiences.
    pub audiences: Option<BTreeSet<String>>,
    /// Keys of computed traits.
    pub computed: Option<BTreeSet<String>>,
}

/// A note for each place that mentions a name which is not known, with the nearest that is. Never an error: what has
/// not been seen yet can still come.
pub fn unknown(expr: &Expr, known: &Known) -> Vec<(Span, String)> {
    let names = Names::of(expr);
    let mut notes = Vec::new();
    for event in &names.events {
        if let Event::Track(name) = &event.what {
            note(&mut notes, event.span, "event", name, known.events.as_ref());
        }
    }
    for property in &names.properties {
        let path = &property.what.path;
        if let (Root::Properties, Some(Segment::Name(name))) = (path.root, path.segments.first()) {
            note(&mut notes, property.span, "property", name, known.properties.as_ref());
        }
    }
    for path in &names.traits {
        if let (Root::Traits, Some(Segment::Name(name))) = (path.what.root, path.what.segments.first()) {
            note(&mut notes, path.span, "trait", name, known.traits.as_ref());
        }
    }
    for key in &names.audiences {
        note(&mut notes, key.span, "audience", &key.what, known.audiences.as_ref());
    }
    for key in &names.computed {
        note(&mut notes, key.span, "computed trait", &key.what, known.computed.as_ref());
    }
    notes
}

fn note(
    notes: &mut Vec<(Span, String)>,
    span: Span,
    what: &str,
    name: &str,
    known: Option<&BTreeSet<String>>,
) {
    let Some(known) = known.filter(|known| !known.contains(name)) else { return };
    let mut text = format!("no {what} `{name}` is known");
    if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        text.push_str(&format!("; did you mean `{near}`?"));
    }
    // Both names come from outside, and the note goes to a terminal.
    notes.push((span, text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()));
}

/// Calls `found` with `expr` and each node below it, outer before inner, and with the event whose `where` it is in.
pub(crate) fn visit<'a>(
    expr: &'a Expr,
    event: Option<&'a Event>,
    found: &mut dyn FnMut(&'a Expr, Option<&'a Event>),
) {
    found(expr, event);
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Path(_) | ExprKind::Computed(_) => {}
        ExprKind::InAudience(_) | ExprKind::Sessions { .. } => {}
        ExprKind::And(parts) | ExprKind::Or(parts) => {
            parts.iter().for_each(|part| visit(part, event, found));
        }
        ExprKind::Not(inner) | ExprKind::Negate(inner) => visit(inner, event, found),
        ExprKind::Compare { left, right, .. }
        | ExprKind::Text { left, right, .. }
        | ExprKind::Arithmetic { left, right, .. } => {
            visit(left, event, found);
            visit(right, event, found);
        }
        ExprKind::InList { left, .. }
        | ExprKind::Matches { left, .. }
        | ExprKind::Exists { left, .. }
        | ExprKind::Date { left, .. } => visit(left, event, found),
        ExprKind::Aggregate(aggregate) => visit_filter(&aggregate.selector, found),
        ExprKind::Did(did) => {
            did.steps.iter().for_each(|step| visit_filter(&step.selector, found));
            did.without.iter().for_each(|selector| visit_filter(selector, found));
        }
    }
}

/// The same for a selector's filter.
pub(crate) fn visit_filter<'a>(
    selector: &'a EventSelector,
    found: &mut dyn FnMut(&'a Expr, Option<&'a Event>),
) {
    if let Some(filter) = &selector.filter {
        visit(filter, Some(&selector.event), found);
    }
}
