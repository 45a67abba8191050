//! Values that conditions compare: JSON with exact numbers.
//!
//! A number is an exact decimal of at most 28 digits; one that does not fit (40 digits, 1e400) is missing, like a
//! value of another type than expected: no sum or comparison may depend on rounding or on order.

use crate::ast::{CompareOp, Segment};
use rust_decimal::Decimal;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A value that is there; what is missing is `None` around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    String(String),
    /// An exact number.
    Number(Decimal),
    /// A truth value.
    Bool(bool),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// Reads JSON text; `None` for `null`, a number that does not fit, and what is not JSON.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'-' | b'0'..=b'9' => number(text).map(Self::Number),
            b't' if text == "true" => Some(Self::Bool(true)),
            b'f' if text == "false" => Some(Self::Bool(false)),
            b'"' => serde_json::from_str(text).ok().map(Self::String),
            _ => serde_json::from_str(text).ok().and_then(Self::from_value),
        }
    }

    fn from_value(value: serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Bool(truth) => Some(Self::Bool(truth)),
            serde_json::Value::Number(digits) => number(&digits.to_string()).map(Self::Number),
            serde_json::Value::String(text) => Some(Self::String(text)),
            serde_json::Value::Array(items) => {
                Some(Self::List(items.into_iter().filter_map(Self::from_value).collect()))
            }
            serde_json::Value::Object(members) => Some(Self::Object(
                members
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, Self::from_value(value)?)))
                    .collect(),
            )),
        }
    }

    /// The values at the end of `path`, which has a step for each level; `[*]` gives one for each element.
    pub(crate) fn walk<'a>(&'a self, path: &[Segment], found: &mut Vec<&'a Self>) {
        match (path.split_first(), self) {
            (None, value) => found.push(value),
            (Some((Segment::Name(name), rest)), Self::Object(members)) => {
                if let Some(member) = members.get(name) {
                    member.walk(rest, found);
                }
            }
            (Some((Segment::Each, rest)), Self::List(items)) => {
                items.iter().for_each(|item| item.walk(rest, found))
            }
            _ => {}
        }
    }
}

/// Reads a JSON number exactly.
#[must_use]
pub(crate) fn number(text: &str) -> Option<Decimal> {
    if text.len() > 64 {
        return None;
    }
    let plain = Decimal::from_str_exact(text).ok();
    plain
        .or_else(|| if text.contains(['e', 'E']) { Decimal::from_scientific(text).ok() } else { None })
        .map(|n| n.normalize())
}

/// Reads a literal of the language.
pub(crate) fn literal(literal: &crate::ast::Literal) -> Option<Value> {
    match literal {
        crate::ast::Literal::String(text) => Some(Value::String(text.clone())),
        crate::ast::Literal::Number(text) => {
            Decimal::from_str_exact(text).ok().map(|n| Value::Number(n.normalize()))
        }
        crate::ast::Literal::Bool(truth) => Some(Value::Bool(*truth)),
    }
}

/// `left op right`; values of different types compare as missing: false, `!=` included.
#[must_use]
pub(crate) fn compare(left: &Value, op: CompareOp, right: &Value, ignoring_case: bool) -> bool {
    let ordering = match (left, right) {
        (Value::String(a), Value::String(b)) if ignoring_case => a.to_lowercase().cmp(&b.to_lowercase()),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) if matches!(op, CompareOp::Eq | CompareOp::Ne) => a.cmp(b),
        _ => return false,
    };
    holds(ordering, op)
}

/// Whether an ordering fulfils an operator.
pub(crate) const fn holds(ordering: Ordering, op: CompareOp) -> bool {
    match op {
        CompareOp::Eq => ordering.is_eq(),
        CompareOp::Ne => ordering.is_ne(),
        CompareOp::Lt => ordering.is_lt(),
        CompareOp::Le => ordering.is_le(),
        CompareOp::Gt => ordering.is_gt(),
        CompareOp::Ge => ordering.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_missing() {
        assert_eq!(Value::from_json("12.10"), Value::from_json("12.1"));
        assert_eq!(Value::from_json("1e2"), Value::from_json("100"));
        assert_eq!(Value::from_json(&"9".repeat(40)), None);
        assert_eq!(Value::from_json("1e400"), None);
        assert_eq!(Value::from_json("null"), None);
    }
}
