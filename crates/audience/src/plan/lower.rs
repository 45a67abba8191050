//! From the tree to thresholds, trait conditions and references.

use super::{Want, When};
use crate::SyntaxError;
use crate::ast::{Aggregate, CompareOp, EventSelector, Expr, ExprKind, Function, Literal, Window};
use crate::condition::{Condition, Uncompiled, compile, flipped};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// A condition whose counts are thresholds, named by their canonical text.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    Const(bool),
    And(Vec<Lowered>),
    Or(Vec<Lowered>),
    Not(Box<Lowered>),
    Threshold(String),
    Trait(Condition),
    Member(String),
    Computed { key: String, op: CompareOp, to: Decimal },
}

impl Lowered {
    /// The audiences and computed traits it asks for.
    pub(super) fn references(&self, audiences: &mut Vec<String>, computed: &mut Vec<String>) {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.references(audiences, computed))
            }
            Self::Not(inner) => inner.references(audiences, computed),
            Self::Member(key) => audiences.push(key.clone()),
            Self::Computed { key, .. } => computed.push(key.clone()),
            Self::Const(_) | Self::Threshold(_) | Self::Trait(_) => {}
        }
    }
}

/// A count that something needs.
pub(super) struct Needed {
    pub(super) selector: EventSelector,
    pub(super) when: When,
    pub(super) want: Want,
}

/// Collects the primitives of all expressions.
#[derive(Default)]
pub(super) struct Lowering {
    pub(super) primitives: BTreeMap<String, Needed>,
}

fn refused(expr: &Expr, message: &str) -> SyntaxError {
    SyntaxError { span: expr.span, message: message.to_owned(), expected: Vec::new(), help: None }
}

fn uncompiled(error: Uncompiled) -> SyntaxError {
    SyntaxError { span: error.span, message: error.message, expected: Vec::new(), help: None }
}

impl Lowering {
    /// A computed trait: the text of its primitive.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<String, SyntaxError> {
        match &expr.kind {
            ExprKind::Aggregate(aggregate) if aggregate.function == Function::Count => {
                self.need(expr, &aggregate.selector, &aggregate.window, Want::Value)
            }
            _ => Err(refused(expr, "computed traits other than a count are not evaluated yet")),
        }
    }

    /// An audience's condition.
    pub(super) fn condition(&mut self, expr: &Expr) -> Result<Lowered, SyntaxError> {
        let mut each =
            |parts: &[Expr]| parts.iter().map(|part| self.condition(part)).collect::<Result<Vec<_>, _>>();
        Ok(match &expr.kind {
            ExprKind::And(parts) => Lowered::And(each(parts)?),
            ExprKind::Or(parts) => Lowered::Or(each(parts)?),
            ExprKind::Not(inner) => Lowered::Not(Box::new(self.condition(inner)?)),
            ExprKind::Literal(Literal::Bool(truth)) => Lowered::Const(*truth),
            ExprKind::InAudience(key) => Lowered::Member(key.clone()),
            ExprKind::Did(did) => match did.steps.first() {
                Some(step) => self.at_least(expr, &step.selector, &did.window, 1)?,
                None => return Err(refused(expr, "expected an event")),
            },
            ExprKind::Compare { left, op, right, .. } => match (&left.kind, &right.kind) {
                (ExprKind::Aggregate(count), ExprKind::Literal(Literal::Number(n))) => {
                    self.compared(expr, count, *op, n)?
                }
                (ExprKind::Literal(Literal::Number(n)), ExprKind::Aggregate(count)) => {
                    self.compared(expr, count, flipped(*op), n)?
                }
                (ExprKind::Computed(key), ExprKind::Literal(Literal::Number(n))) => {
                    computed(expr, key, *op, n)?
                }
                (ExprKind::Literal(Literal::Number(n)), ExprKind::Computed(key)) => {
                    computed(expr, key, flipped(*op), n)?
                }
                (ExprKind::Computed(_), _) | (_, ExprKind::Computed(_)) => {
                    return Err(refused(
                        expr,
                        "comparisons of a computed trait with anything but a number are not evaluated yet",
                    ));
                }
                _ => Lowered::Trait(compile(expr).map_err(uncompiled)?),
            },
            _ => Lowered::Trait(compile(expr).map_err(uncompiled)?),
        })
    }

    fn compared(
        &mut self,
        expr: &Expr,
        count: &Aggregate,
        op: CompareOp,
        n: &str,
    ) -> Result<Lowered, SyntaxError> {
        let n = decimal(expr, n)?;
        let floor = n.floor();
        // The least count that is >= n, and the least that is > n.
        let exceeds = floor
            .checked_add(Decimal::ONE)
            .ok_or_else(|| refused(expr, "the number is larger than a count can be"))?;
        let reaches = n.ceil();
        let mut at_least = |least: Decimal| -> Result<Lowered, SyntaxError> {
            if least <= Decimal::ZERO {
                return Ok(Lowered::Const(true));
            }
            let least = least
                .to_string()
                .parse()
                .map_err(|_| refused(expr, "the number is larger than a count can be"))?;
            self.at_least(expr, &count.selector, &count.window, least)
        };
        let not = |lowered| Lowered::Not(Box::new(lowered));
        Ok(match op {
            CompareOp::Ge => at_least(reaches)?,
            CompareOp::Gt => at_least(exceeds)?,
            CompareOp::Lt => not(at_least(reaches)?),
            CompareOp::Le => not(at_least(exceeds)?),
            // A count is whole and not negative.
            CompareOp::Eq | CompareOp::Ne if floor != n || n.is_sign_negative() && !n.is_zero() => {
                Lowered::Const(op == CompareOp::Ne)
            }
            CompareOp::Eq => Lowered::And(vec![at_least(reaches)?, not(at_least(exceeds)?)]),
            CompareOp::Ne => Lowered::Or(vec![not(at_least(reaches)?), at_least(exceeds)?]),
        })
    }

    fn at_least(
        &mut self,
        expr: &Expr,
        selector: &EventSelector,
        window: &Window,
        least: u64,
    ) -> Result<Lowered, SyntaxError> {
        self.need(expr, selector, window, Want::AtLeast(least)).map(Lowered::Threshold)
    }

    fn need(
        &mut self,
        expr: &Expr,
        selector: &EventSelector,
        window: &Window,
        want: Want,
    ) -> Result<String, SyntaxError> {
        let ms =
            |ms: u64| i64::try_from(ms).map_err(|_| refused(expr, "the window is longer than time itself"));
        let when = match window {
            Window::Lifetime => When::Lifetime,
            Window::InLast { ms: length } => When::Last(ms(*length)?),
            Window::Between { from_ms, to_ms } => When::Between { from: ms(*from_ms)?, to: ms(*to_ms)? },
            _ => return Err(refused(expr, "this window is not evaluated yet")),
        };
        crate::plan::compile_filter(selector).map_err(|message| refused(expr, &message))?;
        let count = Expr {
            kind: ExprKind::Aggregate(Aggregate {
                function: Function::Count,
                selector: selector.clone(),
                path: None,
                window: window.clone(),
            }),
            span: expr.span,
        };
        let text = match want {
            Want::Value => count.to_string(),
            Want::AtLeast(least) => format!("{count} >= {least}"),
        };
        self.primitives.entry(text.clone()).or_insert_with(|| Needed {
            selector: selector.clone(),
            when,
            want,
        });
        Ok(text)
    }
}

fn decimal(expr: &Expr, text: &str) -> Result<Decimal, SyntaxError> {
    Decimal::from_str_exact(text).map_err(|_| refused(expr, "the number does not fit in 28 digits"))
}

fn computed(expr: &Expr, key: &str, op: CompareOp, n: &str) -> Result<Lowered, SyntaxError> {
    Ok(Lowered::Computed { key: key.to_owned(), op, to: decimal(expr, n)? })
}
