//! Conditions on properties and traits, compiled: no text is parsed and no regular expression built per event.
//!
//! Missing values (audiences.md 1.2): a comparison with something missing is false, `!=`, `not in` and `not contains`
//! included; a boolean `not` in front negates that. A path with `[*]` holds if any element does.

use crate::ast::{CompareOp, Expr, ExprKind, Path, TextTest};
use crate::value::{Value, compare, literal};
use regex::{Regex, RegexBuilder};
use smallvec::SmallVec;

/// Memory that one regular expression may take when built.
const REGEX_BYTES: usize = 1 << 20;

/// The values at the end of a path: nearly always one or none.
pub(crate) type Values = SmallVec<[Value; 1]>;

/// Where a condition's paths lead.
pub(crate) trait Lookup {
    /// The values at the end of `path`; none if it leads nowhere.
    fn values(&self, path: &Path) -> Values;
}

/// A compiled condition.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Const(bool),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Test { path: Path, test: Test },
    Both { left: Path, op: CompareOp, right: Path, ignoring_case: bool },
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Compare { op: CompareOp, to: Value, ignoring_case: bool },
    OneOf { list: Vec<Value>, negated: bool, ignoring_case: bool },
    Text { test: TextTest, with: Value, negated: bool, ignoring_case: bool },
    Matches { pattern: Regex, negated: bool },
    Exists { negated: bool },
}

/// A condition that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uncompiled {
    pub(crate) span: crate::ast::Span,
    pub(crate) message: String,
}

pub(crate) fn compile(expr: &Expr) -> Result<Condition, Uncompiled> {
    let refused = |message: &str| Uncompiled { span: expr.span, message: message.to_owned() };
    let list = |parts: &[Expr]| parts.iter().map(compile).collect::<Result<Vec<_>, _>>();
    Ok(match &expr.kind {
        ExprKind::And(parts) => Condition::And(list(parts)?),
        ExprKind::Or(parts) => Condition::Or(list(parts)?),
        ExprKind::Not(inner) => Condition::Not(Box::new(compile(inner)?)),
        ExprKind::Compare { left, op, right, ignoring_case } => {
            comparison(expr, left, *op, right, *ignoring_case)?
        }
        ExprKind::InList { left, list, negated, ignoring_case } => Condition::Test {
            path: path(left)?,
            test: Test::OneOf {
                list: list.iter().filter_map(literal).collect(),
                negated: *negated,
                ignoring_case: *ignoring_case,
            },
        },
        ExprKind::Text { left, test, right, negated, ignoring_case } => match &right.kind {
            ExprKind::Literal(with) => Condition::Test {
                path: path(left)?,
                test: Test::Text {
                    test: *test,
                    with: literal(with).ok_or_else(|| refused("the number does not fit in 28 digits"))?,
                    negated: *negated,
                    ignoring_case: *ignoring_case,
                },
            },
            _ => return Err(refused("expected a constant to look for")),
        },
        ExprKind::Matches { left, pattern, pattern_span, negated, ignoring_case } => {
            let built =
                RegexBuilder::new(pattern).case_insensitive(*ignoring_case).size_limit(REGEX_BYTES).build();
            let pattern = built.map_err(|error| Uncompiled {
                span: *pattern_span,
                message: format!("the regular expression cannot be used: {error}"),
            })?;
            Condition::Test { path: path(left)?, test: Test::Matches { pattern, negated: *negated } }
        }
        ExprKind::Exists { left, negated } => {
            Condition::Test { path: path(left)?, test: Test::Exists { negated: *negated } }
        }
        ExprKind::Literal(crate::ast::Literal::Bool(truth)) => Condition::Const(*truth),
        _ => return Err(refused("expected a condition on a property or trait")),
    })
}

fn path(expr: &Expr) -> Result<Path, Uncompiled> {
    match &expr.kind {
        ExprKind::Path(path) => Ok(path.clone()),
        _ => Err(Uncompiled { span: expr.span, message: "expected a property or a trait here".to_owned() }),
    }
}

fn comparison(
    expr: &Expr,
    left: &Expr,
    op: CompareOp,
    right: &Expr,
    ignoring_case: bool,
) -> Result<Condition, Uncompiled> {
    match (&left.kind, &right.kind) {
        (ExprKind::Path(path), ExprKind::Literal(constant)) => test(expr, path, op, constant, ignoring_case),
        (ExprKind::Literal(constant), ExprKind::Path(path)) => {
            test(expr, path, flipped(op), constant, ignoring_case)
        }
        (ExprKind::Path(left), ExprKind::Path(right)) => {
            Ok(Condition::Both { left: left.clone(), op, right: right.clone(), ignoring_case })
        }
        _ => Err(Uncompiled {
            span: expr.span,
            message: "expected a property or a trait on one side".to_owned(),
        }),
    }
}

fn test(
    expr: &Expr,
    path: &Path,
    op: CompareOp,
    constant: &crate::ast::Literal,
    ignoring_case: bool,
) -> Result<Condition, Uncompiled> {
    let to = literal(constant).ok_or_else(|| Uncompiled {
        span: expr.span,
        message: "the number does not fit in 28 digits".to_owned(),
    })?;
    Ok(Condition::Test { path: path.clone(), test: Test::Compare { op, to, ignoring_case } })
}

/// The operator with its sides exchanged.
pub(crate) const fn flipped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        CompareOp::Eq | CompareOp::Ne => op,
    }
}

impl Condition {
    /// Whether it holds.
    pub(crate) fn holds(&self, lookup: &dyn Lookup) -> bool {
        match self {
            Self::Const(truth) => *truth,
            Self::And(parts) => parts.iter().all(|part| part.holds(lookup)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(lookup)),
            Self::Not(inner) => !inner.holds(lookup),
            Self::Test { path, test: Test::Exists { negated } } => lookup.values(path).is_empty() == *negated,
            Self::Test { path, test } => lookup.values(path).iter().any(|value| test.holds(value)),
            Self::Both { left, op, right, ignoring_case } => {
                let right = lookup.values(right);
                lookup.values(left).iter().any(|l| right.iter().any(|r| compare(l, *op, r, *ignoring_case)))
            }
        }
    }

    /// The paths it reads.
    pub(crate) fn paths(&self, found: &mut Vec<Path>) {
        match self {
            Self::Const(_) => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.paths(found)),
            Self::Not(inner) => inner.paths(found),
            Self::Test { path, .. } => found.push(path.clone()),
            Self::Both { left, right, .. } => found.extend([left.clone(), right.clone()]),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Compare { op, to, ignoring_case } => compare(value, *op, to, *ignoring_case),
            Self::OneOf { list, negated, ignoring_case } => {
                // Compared with a list of another type, a value is missing.
                let comparable =
                    list.iter().any(|item| std::mem::discriminant(item) == std::mem::discriminant(value));
                comparable
                    && list.iter().any(|item| compare(value, CompareOp::Eq, item, *ignoring_case)) != *negated
            }
            Self::Text { test, with, negated, ignoring_case } => match (value, with) {
                (Value::List(items), with) if *test == TextTest::Contains => {
                    items.iter().any(|item| compare(item, CompareOp::Eq, with, *ignoring_case)) != *negated
                }
                (Value::String(text), Value::String(with)) => {
                    text_holds(*test, text, with, *ignoring_case) != *negated
                }
                _ => false,
            },
            Self::Matches { pattern, negated } => match value {
                Value::String(text) => pattern.is_match(text) != *negated,
                _ => false,
            },
            Self::Exists { negated } => !negated,
        }
    }
}

fn text_holds(test: TextTest, text: &str, with: &str, ignoring_case: bool) -> bool {
    if ignoring_case {
        return text_holds(test, &text.to_lowercase(), &with.to_lowercase(), false);
    }
    match test {
        TextTest::Contains => text.contains(with),
        TextTest::StartsWith => text.starts_with(with),
        TextTest::EndsWith => text.ends_with(with),
    }
}
