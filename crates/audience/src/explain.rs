//! An expression in plain words, for `onefold check`, and notes on what is easily misread.
//!
//! **Never here:** an error. Every tree has an explanation, also one that is ill typed or cannot be evaluated yet.
//!
//! - EXPL-1: the words hold no control characters but the line feeds between the points of a list.

mod notes;

use crate::ast::*;
use crate::print::{Name, Pattern};
use notes::can_be_missing;
pub use notes::{notes, selector_notes};
use std::fmt::{Display, Formatter, Result};

/// What `expr` means: a sentence, with an indented list where conditions are joined.
pub fn explain(expr: &Expr) -> String {
    Sentence(expr).to_string()
}

/// What `selector` takes.
pub fn explain_selector(selector: &EventSelector) -> String {
    Events(selector).to_string()
}

struct Sentence<'a>(&'a Expr);

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if is_value(self.0) {
            return value(f, self.0, Scope::Profile);
        }
        f.write_str("a profile for which ")?;
        points(f, self.0, 1)
    }
}

/// Whose values a path reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Profile,
    Event,
}

fn is_value(expr: &Expr) -> bool {
    matches!(
        expr.kind,
        ExprKind::Literal(_)
            | ExprKind::Path(_)
            | ExprKind::Computed(_)
            | ExprKind::Arithmetic { .. }
            | ExprKind::Negate(_)
            | ExprKind::Aggregate(_)
            | ExprKind::Sessions { .. }
    )
}

/// A condition on a profile: joined ones as a list, one point a line.
fn points(f: &mut Formatter<'_>, expr: &Expr, depth: usize) -> Result {
    let (heading, parts) = match &expr.kind {
        ExprKind::And(parts) => ("all of these hold:", parts),
        ExprKind::Or(parts) => ("at least one of these holds:", parts),
        ExprKind::Not(inner) => match &inner.kind {
            ExprKind::And(parts) => ("not all of these hold:", parts),
            ExprKind::Or(parts) => ("none of these holds:", parts),
            _ => {
                f.write_str("it is not so that ")?;
                return points(f, inner, depth);
            }
        },
        _ => return condition(f, expr, Scope::Profile),
    };
    f.write_str(heading)?;
    for part in parts {
        write!(f, "\n{:width$}- ", "", width = 2 * depth)?;
        points(f, part, depth + 1)?;
    }
    Ok(())
}

/// A condition on one line.
fn condition(f: &mut Formatter<'_>, expr: &Expr, scope: Scope) -> Result {
    match &expr.kind {
        ExprKind::And(parts) => joined(f, parts, " and ", scope),
        ExprKind::Or(parts) => joined(f, parts, " or ", scope),
        ExprKind::Not(inner) => {
            f.write_str("not (")?;
            condition(f, inner, scope)?;
            f.write_str(")")
        }
        ExprKind::Compare { left, op, right, ignoring_case } => {
            value(f, left, scope)?;
            f.write_str(match op {
                CompareOp::Eq => " is ",
                CompareOp::Ne if can_be_missing(left) => " is known and is not ",
                CompareOp::Ne => " is not ",
                CompareOp::Lt => " is below ",
                CompareOp::Le => " is at most ",
                CompareOp::Gt => " is above ",
                CompareOp::Ge => " is at least ",
            })?;
            value(f, right, scope)?;
            case(f, *ignoring_case)
        }
        ExprKind::InList { left, list, negated, ignoring_case } => {
            tested(f, left, scope, *negated, ["is one of ", "is none of "])?;
            for (i, literal) in list.iter().enumerate() {
                write!(f, "{}{}", if i > 0 { ", " } else { "" }, Clean(literal))?;
            }
            case(f, *ignoring_case)
        }
        ExprKind::Text { left, test, right, negated, ignoring_case } => {
            let words = match test {
                TextTest::Contains => ["contains ", "does not contain "],
                TextTest::StartsWith => ["starts with ", "does not start with "],
                TextTest::EndsWith => ["ends with ", "does not end with "],
            };
            tested(f, left, scope, *negated, words)?;
            value(f, right, scope)?;
            case(f, *ignoring_case)
        }
        ExprKind::Matches { left, pattern, negated, ignoring_case, .. } => {
            tested(f, left, scope, *negated, ["matches the pattern ", "does not match the pattern "])?;
            write!(f, "{}", Clean(&Pattern(pattern)))?;
            case(f, *ignoring_case)
        }
        ExprKind::Exists { left, negated } => {
            value(f, left, scope)?;
            f.write_str(if *negated { " is missing" } else { " is known" })
        }
        ExprKind::Date { left, test, negated } => {
            tested(f, left, scope, *negated, ["is ", "is not "])?;
            match test {
                DateTest::Before(date) => write!(f, "before {date}"),
                DateTest::After(date) => write!(f, "after {date}"),
                DateTest::WithinLast(ms) => write!(f, "within the last {}", Duration(*ms)),
                DateTest::WithinNext(ms) => write!(f, "within the next {}", Duration(*ms)),
            }
        }
        ExprKind::InAudience(key) => {
            write!(f, "the profile is in the audience {}", Clean(&Literal::String(key.clone())))
        }
        ExprKind::Did(did) => happened(f, did),
        _ => value(f, expr, scope),
    }
}

fn joined(f: &mut Formatter<'_>, parts: &[Expr], with: &str, scope: Scope) -> Result {
    for (i, part) in parts.iter().enumerate() {
        f.write_str(if i > 0 { with } else { "" })?;
        if matches!(part.kind, ExprKind::And(_) | ExprKind::Or(_)) {
            f.write_str("(")?;
            condition(f, part, scope)?;
            f.write_str(")")?;
        } else {
            condition(f, part, scope)?;
        }
    }
    Ok(())
}

/// The tested value and the words of the test, plain or negated; a negated one needs the value to be there.
fn tested(f: &mut Formatter<'_>, left: &Expr, scope: Scope, negated: bool, words: [&str; 2]) -> Result {
    value(f, left, scope)?;
    f.write_str(if negated && can_be_missing(left) { " is known and " } else { " " })?;
    f.write_str(words[usize::from(negated)])
}

fn case(f: &mut Formatter<'_>, ignoring: bool) -> Result {
    f.write_str(if ignoring { ", upper and lower case alike" } else { "" })
}

/// A value on one line.
fn value(f: &mut Formatter<'_>, expr: &Expr, scope: Scope) -> Result {
    match &expr.kind {
        ExprKind::Literal(literal) => write!(f, "{}", Clean(literal)),
        ExprKind::Path(path) => write!(f, "{}", Clean(&PathWords(path, scope))),
        ExprKind::Computed(key) => write!(f, "the computed trait {}", Clean(&Name(key))),
        ExprKind::Arithmetic { left, op, right } => {
            operand(f, left, scope)?;
            f.write_str(match op {
                ArithmeticOp::Add => " plus ",
                ArithmeticOp::Subtract => " minus ",
                ArithmeticOp::Multiply => " times ",
                ArithmeticOp::Divide => " divided by ",
            })?;
            operand(f, right, scope)
        }
        ExprKind::Negate(inner) => f.write_str("minus ").and_then(|()| operand(f, inner, scope)),
        ExprKind::Aggregate(aggregate) => aggregated(f, aggregate),
        ExprKind::Sessions { gap_ms, window } => {
            write!(f, "the number of sessions ({}){}", Gap(*gap_ms), WindowWords(window))
        }
        // Ill typed, but words it has.
        _ => {
            f.write_str("(")?;
            condition(f, expr, scope)?;
            f.write_str(")")
        }
    }
}

fn operand(f: &mut Formatter<'_>, expr: &Expr, scope: Scope) -> Result {
    if !matches!(expr.kind, ExprKind::Arithmetic { .. } | ExprKind::Negate(_)) {
        return value(f, expr, scope);
    }
    f.write_str("(")?;
    value(f, expr, scope)?;
    f.write_str(")")
}

fn aggregated(f: &mut Formatter<'_>, aggregate: &Aggregate) -> Result {
    let (before, after) = match aggregate.function {
        Function::Count => ("the number of ", ""),
        Function::Sum => ("the sum of ", " over "),
        Function::Avg => ("the average of ", " over "),
        Function::Min => ("the smallest ", " of "),
        Function::Max => ("the largest ", " of "),
        Function::Unique => ("the number of different values of ", " over "),
        Function::First => ("the first ", " of "),
        Function::Last => ("the last ", " of "),
        Function::MostFrequent => ("the most frequent ", " of "),
        Function::List => ("the list of the values of ", " over "),
    };
    f.write_str(before)?;
    if let Some(path) = &aggregate.path {
        // "the sum of …" takes them all, "the largest …" one of them.
        let (of_all, each) = (before.ends_with("of "), path.segments.contains(&Segment::Each));
        f.write_str(match (of_all, each) {
            (true, true) => "all of ",
            (true, false) => "",
            (false, true) => "value of any of ",
            (false, false) if path.root == Root::Properties => "",
            (false, false) => "value of ",
        })?;
        write!(f, "{}{after}", Clean(&Plain(path, Scope::Event)))?;
    }
    write!(f, "{}{}", Events(&aggregate.selector), WindowWords(&aggregate.window))
}

fn happened(f: &mut Formatter<'_>, did: &Did) -> Result {
    f.write_str(if did.any_member { "for some member of the account " } else { "" })?;
    for (i, step) in did.steps.iter().enumerate() {
        let selector = &step.selector;
        match (i, step.negated) {
            (0, _) => write!(f, "{}{} happened", article(&selector.event), OneEvent(selector))?,
            (_, true) => write!(f, ", then no {}", OneEvent(selector))?,
            (_, false) => write!(f, ", then {}{}", article(&selector.event), OneEvent(selector))?,
        }
        if let Some(ms) = step.within_ms {
            write!(f, " within {}", Duration(ms))?;
        }
    }
    did.without.iter().try_for_each(|selector| write!(f, ", with no {} in between", OneEvent(selector)))?;
    for (i, path) in did.same.iter().enumerate() {
        let before = if i > 0 { " and " } else { ", with the same " };
        write!(f, "{before}{}", Clean(&PathWords(path, Scope::Event)))?;
    }
    f.write_str(if did.same.is_empty() { "" } else { " in each step" })?;
    f.write_str(if did.steps.len() > 1 { "," } else { "" })?;
    match did.window {
        Window::Lifetime => f.write_str(" at any time"),
        _ => write!(f, "{}", WindowWords(&did.window)),
    }
}

fn article(event: &Event) -> &'static str {
    match event {
        Event::Track(_) => "",
        Event::Page(_) | Event::Screen(_) | Event::Group => "a ",
        Event::Identify | Event::Any => "an ",
    }
}

/// One event, without an article.
struct OneEvent<'a>(&'a EventSelector);

impl Display for OneEvent<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.0.event {
            Event::Track(_) => write!(f, "{}", Clean(&self.0.event))?,
            Event::Page(None) => f.write_str("page view")?,
            Event::Screen(None) => f.write_str("screen view")?,
            Event::Page(Some(_)) | Event::Screen(Some(_)) => {
                write!(f, "view of {}", Clean(&Named(&self.0.event)))?
            }
            Event::Identify => f.write_str("identify call")?,
            Event::Group => f.write_str("group call")?,
            Event::Any => f.write_str("event of any kind")?,
        }
        filter(f, self.0)
    }
}

/// Events, in the plural.
struct Events<'a>(&'a EventSelector);

impl Display for Events<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.0.event {
            Event::Track(_) => write!(f, "{} events", Clean(&self.0.event))?,
            Event::Page(None) => f.write_str("page views")?,
            Event::Screen(None) => f.write_str("screen views")?,
            Event::Page(Some(_)) | Event::Screen(Some(_)) => {
                write!(f, "views of {}", Clean(&Named(&self.0.event)))?
            }
            Event::Identify => f.write_str("identify calls")?,
            Event::Group => f.write_str("group calls")?,
            Event::Any => f.write_str("events of any kind")?,
        }
        filter(f, self.0)
    }
}

fn filter(f: &mut Formatter<'_>, selector: &EventSelector) -> Result {
    let Some(filter) = &selector.filter else { return Ok(()) };
    f.write_str(" (where ")?;
    condition(f, filter, Scope::Event)?;
    f.write_str(")")
}

/// `page "Pricing"` of `page("Pricing")`.
struct Named<'a>(&'a Event);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (kind, name) = match self.0 {
            Event::Page(Some(name)) => ("page", name),
            Event::Screen(Some(name)) => ("screen", name),
            other => return write!(f, "{other}"),
        };
        write!(f, "{kind} {}", Literal::String(name.clone()))
    }
}

/// A path that is tested: of several values, one is enough.
struct PathWords<'a>(&'a Path, Scope);

impl Display for PathWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.0.segments.contains(&Segment::Each) { "any of " } else { "" })?;
        write!(f, "{}", Plain(self.0, self.1))
    }
}

struct Plain<'a>(&'a Path, Scope);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(path, scope) = self;
        let inner = Path { root: Root::Properties, segments: path.segments.clone() };
        let text = inner.to_string();
        let text = text.strip_prefix("properties.").unwrap_or(&text);
        match (path.root, scope) {
            (Root::Properties, _) => f.write_str(text),
            (Root::Context, _) => write!(f, "the context's {text}"),
            (Root::Traits, Scope::Profile) => write!(f, "the trait {text}"),
            (Root::Traits, Scope::Event) => write!(f, "the event's trait {text}"),
            (Root::Account, _) => write!(f, "the account's {text}"),
        }
    }
}

/// A duration in words: `7 days`.
struct Duration(u64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
        let (ms, unit) =
            units.into_iter().find(|(ms, _)| self.0.is_multiple_of(*ms)).unwrap_or((1, "millisecond"));
        let count = self.0 / ms;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

struct Gap(u64);

impl Display for Gap {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "runs of events less than {} apart", Duration(self.0))
    }
}

/// A window, with a space in front; nothing for always.
struct WindowWords<'a>(&'a Window);

impl Display for WindowWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 {
            Window::InLast { ms } => write!(f, " in the last {}", Duration(*ms)),
            Window::Between { from_ms, to_ms } => {
                write!(f, " between {} and {} ago", Duration(*from_ms), Duration(*to_ms))
            }
            Window::Session { gap_ms } => write!(f, " in the current session ({})", Gap(*gap_ms)),
            other => write!(f, "{other}"),
        }
    }
}

/// Shows what people wrote without its control characters.
struct Clean<'a, T: Display>(&'a T);

impl<T: Display> Display for Clean<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let text = self.0.to_string();
        text.chars().try_for_each(|c| write!(f, "{}", if c.is_control() { ' ' } else { c }))
    }
}
