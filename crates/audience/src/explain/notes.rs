//! Notes: what a reader of an expression easily takes for something else.

use crate::ast::*;
use crate::names::{visit, visit_filter};
use crate::print::Duration;
use rust_decimal::Decimal;
use std::cmp::Ordering;

/// The longest piece of an expression that a note repeats, in characters.
const SHOWN: usize = 60;

/// Notes on `expr`, each with its place; no text twice.
pub fn notes(expr: &Expr) -> Vec<(Span, String)> {
    let mut notes = Notes::default();
    visit(expr, None, &mut |expr, event| notes.add(expr, event));
    notes.0
}

/// Notes on `selector`.
pub fn selector_notes(selector: &EventSelector) -> Vec<(Span, String)> {
    let mut notes = Notes::default();
    visit_filter(selector, &mut |expr, event| notes.add(expr, event));
    notes.0
}

/// Whether the value can be missing, which makes every comparison with it false.
pub(super) fn can_be_missing(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Path(_) | ExprKind::Computed(_) => true,
        ExprKind::Negate(inner) => can_be_missing(inner),
        ExprKind::Arithmetic { left, op, right } => {
            let divides = *op == ArithmeticOp::Divide && constant(right).is_none_or(|by| by.is_zero());
            divides || can_be_missing(left) || can_be_missing(right)
        }
        ExprKind::Aggregate(aggregate) => matches!(
            aggregate.function,
            Function::Avg
                | Function::Min
                | Function::Max
                | Function::First
                | Function::Last
                | Function::MostFrequent
        ),
        _ => false,
    }
}

#[derive(Default)]
struct Notes(Vec<(Span, String)>);

impl Notes {
    fn push(&mut self, span: Span, text: String) {
        if self.0.iter().all(|(_, other)| *other != text) {
            self.0.push((span, text));
        }
    }

    fn add(&mut self, expr: &Expr, event: Option<&Event>) {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Not(inner) => self.not(span, inner, event),
            ExprKind::Compare { left, op, right, .. } => {
                if *op == CompareOp::Ne {
                    self.negative(span, "!=", &[left, right]);
                }
                if event.is_none() {
                    self.of_nothing(span, left, *op, right);
                }
            }
            ExprKind::InList { left, negated: true, .. } => self.negative(span, "not in", &[left]),
            ExprKind::Text { left, test, right, negated: true, .. } => {
                let test = match test {
                    TextTest::Contains => "not contains",
                    TextTest::StartsWith => "not starts with",
                    TextTest::EndsWith => "not ends with",
                };
                self.negative(span, test, &[left, right]);
            }
            ExprKind::Matches { left, pattern, pattern_span, negated, .. } => {
                if *negated {
                    self.negative(span, "not matches", &[left]);
                }
                if !pattern.starts_with('^') && !pattern.ends_with('$') {
                    let text = "a pattern matches anywhere in the text; `^` and `$` tie it to the ends";
                    self.push(*pattern_span, text.to_owned());
                }
            }
            ExprKind::Date { left, test, negated } => {
                if *negated {
                    self.negative(span, "not before, after or within", &[left]);
                }
                if let DateTest::WithinLast(ms) | DateTest::WithinNext(ms) = test {
                    self.minutes(span, *ms);
                }
            }
            ExprKind::Arithmetic { op: ArithmeticOp::Divide, right, .. }
                if constant(right).is_some_and(|by| by.is_zero()) =>
            {
                let text = "a division by 0 has no value, so every comparison with it is false";
                self.push(right.span, text.to_owned());
            }
            ExprKind::Aggregate(aggregate) => self.window(span, &aggregate.window),
            ExprKind::Sessions { window, .. } => self.window(span, window),
            ExprKind::Did(did) => {
                for step in &did.steps {
                    step.within_ms.into_iter().for_each(|ms| self.minutes(step.selector.span, ms));
                }
                self.window(span, &did.window);
            }
            _ => {}
        }
    }

    /// A comparison that sounds as if it held for what is missing, and does not.
    fn negative(&mut self, span: Span, test: &str, sides: &[&Expr]) {
        if let Some(side) = sides.iter().find(|side| can_be_missing(side)) {
            let text = format!(
                "`{test}` is false while `{}` is missing; `not` in front of the whole comparison includes that",
                shown(side)
            );
            self.push(span, text);
        }
        let each = |side: &&&Expr| matches!(&side.kind, ExprKind::Path(path) if path.segments.contains(&Segment::Each));
        if let Some(side) = sides.iter().find(each) {
            let text = format!("`{}` means any element: one for which `{test}` holds is enough", shown(side));
            self.push(span, text);
        }
    }

    fn not(&mut self, span: Span, inner: &Expr, event: Option<&Event>) {
        if event.is_none() && matches!(inner.kind, ExprKind::Did(_)) {
            self.new_profile(span);
        }
        let missing: Vec<String> =
            false_for_want_of(inner).into_iter().map(|side| format!("`{}`", shown(side))).collect();
        if !missing.is_empty() {
            let are = if missing.len() > 1 { "are" } else { "is" };
            self.push(span, format!("this `not` holds also while {} {are} missing", missing.join(" and ")));
        }
    }

    /// A comparison of a count or sum with a constant: what it says of a profile without such events.
    fn of_nothing(&mut self, span: Span, left: &Expr, op: CompareOp, right: &Expr) {
        let (counted, op, to) = match (constant(left), constant(right)) {
            (None, Some(to)) => (left, op, to),
            (Some(to), None) => (right, crate::condition::flipped(op), to),
            _ => return,
        };
        let counts = match &counted.kind {
            ExprKind::Aggregate(aggregate) => match aggregate.function {
                Function::Count | Function::Unique => true,
                Function::Sum => false,
                _ => return,
            },
            ExprKind::Sessions { .. } => true,
            _ => return,
        };
        let to_zero = Decimal::ZERO.cmp(&to);
        let always = match op {
            CompareOp::Ge => to_zero != Ordering::Less,
            CompareOp::Gt | CompareOp::Ne => to_zero == Ordering::Greater,
            _ => false,
        };
        let never = match op {
            CompareOp::Lt => to_zero != Ordering::Less,
            CompareOp::Le | CompareOp::Eq => to_zero == Ordering::Greater,
            _ => false,
        };
        if counts && (always || never) {
            let so = if always { "always" } else { "never" };
            self.push(span, format!("a count is never below 0, so this {so} holds"));
            return;
        }
        let holds = match op {
            CompareOp::Eq => to_zero == Ordering::Equal,
            CompareOp::Ne => to_zero != Ordering::Equal,
            CompareOp::Lt => to_zero == Ordering::Less,
            CompareOp::Le => to_zero != Ordering::Greater,
            CompareOp::Gt => to_zero == Ordering::Greater,
            CompareOp::Ge => to_zero != Ordering::Less,
        };
        if holds {
            self.new_profile(span);
        }
    }

    fn new_profile(&mut self, span: Span) {
        self.push(span, "this holds for a new profile at once, which has no such event".to_owned());
    }

    fn window(&mut self, span: Span, window: &Window) {
        match window {
            Window::InLast { ms } => self.minutes(span, *ms),
            Window::Between { from_ms, to_ms } => {
                self.minutes(span, *from_ms);
                self.minutes(span, *to_ms);
            }
            // Minutes are what a session's gap is in.
            Window::Lifetime | Window::Session { .. } => {}
            _ => {
                let text = "calendar windows follow the configured time zone; a week starts on Monday";
                self.push(span, text.to_owned());
            }
        }
    }

    fn minutes(&mut self, span: Span, ms: u64) {
        let text = Duration(ms).to_string();
        if let Some(count) = text.strip_suffix('m') {
            let unit = if count == "1" { "minute" } else { "minutes" };
            let months = "months exist only as calendar windows such as `this month`";
            self.push(span, format!("`{text}` is {count} {unit}; {months}"));
        }
    }
}

/// Values whose absence, all of them together, makes the condition false, so that `not` in front of it holds.
fn false_for_want_of(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::And(parts) => {
            parts.iter().map(false_for_want_of).find(|missing| !missing.is_empty()).unwrap_or_default()
        }
        // One part that holds is enough: only where all of them can lack a value is it said.
        ExprKind::Or(parts) => {
            let all: Vec<Vec<&Expr>> = parts.iter().map(false_for_want_of).collect();
            if all.iter().any(Vec::is_empty) {
                return Vec::new();
            }
            let mut missing: Vec<&Expr> = Vec::new();
            for side in all.into_iter().flatten() {
                if !missing.contains(&side) {
                    missing.push(side);
                }
            }
            missing
        }
        ExprKind::Compare { left, right, .. } | ExprKind::Text { left, right, .. } => [left, right]
            .into_iter()
            .map(|side| &**side)
            .filter(|side| can_be_missing(side))
            .take(1)
            .collect(),
        ExprKind::InList { left, .. } | ExprKind::Matches { left, .. } | ExprKind::Date { left, .. } => {
            Some(&**left).filter(|left| can_be_missing(left)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The value of an expression of numbers alone; `None` if it has none.
fn constant(expr: &Expr) -> Option<Decimal> {
    match &expr.kind {
        ExprKind::Literal(Literal::Number(number)) => Decimal::from_str_exact(number).ok(),
        ExprKind::Negate(inner) => constant(inner).map(|value| -value),
        ExprKind::Arithmetic { left, op, right } => {
            let (left, right) = (constant(left)?, constant(right)?);
            match op {
                ArithmeticOp::Add => left.checked_add(right),
                ArithmeticOp::Subtract => left.checked_sub(right),
                ArithmeticOp::Multiply => left.checked_mul(right),
                ArithmeticOp::Divide => left.checked_div(right),
            }
        }
        _ => None,
    }
}

/// The canonical text, cut if long, without control characters.
fn shown(expr: &Expr) -> String {
    let text = expr.to_string();
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
