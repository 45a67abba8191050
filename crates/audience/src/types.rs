//! Is an expression a condition or a value, do its operands fit, and are its patterns regular expressions.

use crate::ast::*;
use crate::error::SyntaxError;
use regex::RegexBuilder;

/// Memory that one pattern may take when built; the evaluator has the same limit.
const PATTERN_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Condition,
    Number,
    Text,
    Bool,
    /// Known only when an event or a trait arrives.
    Any,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Condition => "a condition",
            Type::Number => "a number",
            Type::Text => "a string",
            Type::Bool => "true or false",
            Type::Any => "a value",
        }
    }
}

/// Accepts a condition, as an audience needs it.
pub fn check_condition(expr: &Expr) -> Result<(), SyntaxError> {
    match type_of(expr)? {
        Type::Condition => Ok(()),
        other => {
            Err(SyntaxError::new(expr.span, format!("a condition is needed here, this is {}", other.name()))
                .help("compare it with something, as in `… >= 1` or `… = true`"))
        }
    }
}

/// Accepts a value, as a computed trait needs it.
pub fn check_value(expr: &Expr) -> Result<(), SyntaxError> {
    value(expr).map(|_| ())
}

/// Accepts a selector whose filter, if it has one, is a condition.
pub fn check_selector(selector: &EventSelector) -> Result<(), SyntaxError> {
    selector.filter.as_ref().map_or(Ok(()), |filter| check_condition(filter))
}

fn value(expr: &Expr) -> Result<Type, SyntaxError> {
    match type_of(expr)? {
        Type::Condition => Err(SyntaxError::new(expr.span, "a value is needed here, this is a condition")),
        other => Ok(other),
    }
}

fn needs(expr: &Expr, wanted: Type) -> Result<(), SyntaxError> {
    let found = value(expr)?;
    if found == wanted || found == Type::Any {
        return Ok(());
    }
    Err(SyntaxError::new(expr.span, format!("{} is needed here, this is {}", wanted.name(), found.name())))
}

fn type_of(expr: &Expr) -> Result<Type, SyntaxError> {
    match &expr.kind {
        ExprKind::Literal(literal) => return Ok(literal_type(literal)),
        ExprKind::Path(_) | ExprKind::Computed(_) => return Ok(Type::Any),
        ExprKind::InAudience(_) => {}
        ExprKind::And(parts) | ExprKind::Or(parts) => parts.iter().try_for_each(check_condition)?,
        ExprKind::Not(inner) => check_condition(inner)?,
        ExprKind::Compare { left, op, right, .. } => {
            let (a, b) = (value(left)?, value(right)?);
            if a != b && a != Type::Any && b != Type::Any {
                let message = format!("{} is compared with {}", a.name(), b.name());
                return Err(SyntaxError::new(right.span, message));
            }
            if !matches!(op, CompareOp::Eq | CompareOp::Ne) && (a == Type::Bool || b == Type::Bool) {
                return Err(
                    SyntaxError::new(expr.span, "true and false have no order").help("use `=` or `!=`")
                );
            }
        }
        ExprKind::InList { left, list, .. } => {
            let left = value(left)?;
            if left != Type::Any && !list.iter().any(|literal| literal_type(literal) == left) {
                return Err(SyntaxError::new(
                    expr.span,
                    format!("the list holds nothing that is {}", left.name()),
                ));
            }
        }
        ExprKind::Text { left, test: TextTest::Contains, right, .. } => {
            needs(left, Type::Text)?;
            value(right)?;
        }
        ExprKind::Text { left, right, .. } => {
            needs(left, Type::Text).and_then(|()| needs(right, Type::Text))?
        }
        ExprKind::Matches { left, pattern, pattern_span, ignoring_case, .. } => {
            needs(left, Type::Text)?;
            check_pattern(pattern, *pattern_span, *ignoring_case)?;
        }
        ExprKind::Date { left, .. } => needs(left, Type::Text)?,
        ExprKind::Exists { left, .. } => check_value(left)?,
        ExprKind::Arithmetic { left, right, .. } => {
            needs(left, Type::Number)?;
            needs(right, Type::Number)?;
            return Ok(Type::Number);
        }
        ExprKind::Negate(inner) => return needs(inner, Type::Number).map(|()| Type::Number),
        ExprKind::Aggregate(aggregate) => {
            check_selector(&aggregate.selector)?;
            return Ok(match aggregate.function {
                Function::Count | Function::Sum | Function::Avg | Function::Unique => Type::Number,
                _ => Type::Any,
            });
        }
        ExprKind::Sessions { .. } => return Ok(Type::Number),
        ExprKind::Did(did) => {
            did.steps.iter().try_for_each(|step| check_selector(&step.selector))?;
            did.without.iter().try_for_each(check_selector)?;
        }
    }
    Ok(Type::Condition)
}

/// Builds the pattern as the evaluator would. Matching takes time linear in the text whatever the pattern is.
fn check_pattern(pattern: &str, span: Span, ignoring_case: bool) -> Result<(), SyntaxError> {
    let built = RegexBuilder::new(pattern).case_insensitive(ignoring_case).size_limit(PATTERN_BYTES).build();
    let Err(error) = built else { return Ok(()) };
    if let regex::Error::CompiledTooBig(_) = error {
        return Err(SyntaxError::new(span, "this pattern takes more than 1 MiB when built")
            .help("shorten its repetitions, such as {1000}"));
    }
    // A message of several lines draws the pattern; its last line says what is wrong.
    let text = error.to_string();
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&text);
    Err(SyntaxError::new(span, format!("this pattern is not a regular expression: {reason}")))
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::String(_) => Type::Text,
        Literal::Number(_) => Type::Number,
        Literal::Bool(_) => Type::Bool,
    }
}
