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

    // Written by hand from language.md and audiences.md 1.2: the engine and the oracle share these functions, so no
    // comparison of the two finds what is wrong here.

    const OPS: [CompareOp; 6] =
        [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];

    /// Which of `= != < <= > >=` hold where the left side is less, equal, greater; none where the two do not compare.
    const LESS: [bool; 6] = [false, true, true, true, false, false];
    const SAME: [bool; 6] = [true, false, false, true, false, true];
    const MORE: [bool; 6] = [false, true, false, false, true, true];
    const NONE: [bool; 6] = [false; 6];

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap_or_else(|| panic!("{text} is no value"))
    }

    fn answers(left: &str, right: &str, ignoring_case: bool) -> [bool; 6] {
        OPS.map(|op| compare(&json(left), op, &json(right), ignoring_case))
    }

    #[test]
    fn numbers_are_exact_or_missing() {
        assert_eq!(Value::from_json("12.10"), Value::from_json("12.1"));
        assert_eq!(Value::from_json("1e2"), Value::from_json("100"));
        assert_eq!(Value::from_json(&"9".repeat(40)), None);
        assert_eq!(Value::from_json("1e400"), None);
        assert_eq!(Value::from_json("null"), None);
    }

    #[test]
    fn two_values_of_one_type_compare_and_others_do_not() {
        for (left, right, expected) in [
            // Numbers, exactly: by value and not by digits.
            ("1", "2", LESS),
            ("2", "10", LESS),
            ("-1", "1", LESS),
            ("-10", "-9", LESS),
            ("1", "1.0", SAME),
            ("1.50", "1.5", SAME),
            ("100", "1e2", SAME),
            ("1E2", "100.00", SAME),
            ("0", "-0", SAME),
            ("0", "0.0", SAME),
            ("0.1", "0.10000000000000000001", LESS),
            ("0.3", "0.30000000000000004", LESS),
            ("9007199254740993", "9007199254740992", MORE),
            ("9223372036854775807", "9223372036854775806", MORE),
            ("18446744073709551615", "18446744073709551616", LESS),
            ("1234567890123456789012345678", "1234567890123456789012345677", MORE),
            ("0.0000000000000000000000000001", "0", MORE),
            ("-0.0000000000000000000000000001", "0", LESS),
            ("0.0000000000000000000000000001", "1e-28", SAME),
            ("1e27", "1000000000000000000000000000", SAME),
            // Text, by its characters: no number, date or truth value is read into it.
            ("\"a\"", "\"b\"", LESS),
            ("\"a\"", "\"a\"", SAME),
            ("\"a\"", "\"aa\"", LESS),
            ("\"\"", "\"a\"", LESS),
            ("\"B\"", "\"a\"", LESS),
            ("\"10\"", "\"9\"", LESS),
            ("\"1.0\"", "\"1\"", MORE),
            ("\"true\"", "\"false\"", MORE),
            ("\"a \"", "\"a\"", MORE),
            ("\"z\"", "\"é\"", LESS),
            ("\"\\u0061\"", "\"a\"", SAME),
            // Values of different types are as good as missing, `!=` included.
            ("1", "\"1\"", NONE),
            ("\"12.5\"", "12.5", NONE),
            ("\"1e2\"", "100", NONE),
            ("1", "true", NONE),
            ("0", "false", NONE),
            ("\"true\"", "true", NONE),
            ("\"\"", "0", NONE),
            ("\"\"", "false", NONE),
            // Lists and objects are compared with nothing, not even with themselves.
            ("[1]", "1", NONE),
            ("[1]", "[1]", NONE),
            ("[]", "[]", NONE),
            ("{}", "{}", NONE),
            ("{\"a\":1}", "{\"a\":1}", NONE),
        ] {
            for ignoring_case in [false, true] {
                let cased = ignoring_case && left == "\"B\"";
                let expected = if cased { MORE } else { expected };
                assert_eq!(answers(left, right, ignoring_case), expected, "{left} and {right}");
                let mirrored = [LESS, SAME, MORE, NONE].into_iter().zip([MORE, SAME, LESS, NONE]);
                let mirrored: Vec<_> = mirrored.filter(|(one, _)| *one == expected).map(|(_, m)| m).collect();
                assert_eq!(vec![answers(right, left, ignoring_case)], mirrored, "{right} and {left}");
            }
        }
    }

    #[test]
    fn truth_values_are_equal_or_not_and_in_no_order() {
        const DIFFER: [bool; 6] = [false, true, false, false, false, false];
        const EQUAL: [bool; 6] = [true, false, false, false, false, false];
        for (left, right, expected) in [
            ("true", "true", EQUAL),
            ("false", "false", EQUAL),
            ("true", "false", DIFFER),
            ("false", "true", DIFFER),
        ] {
            assert_eq!(answers(left, right, false), expected, "{left} and {right}");
            assert_eq!(answers(left, right, true), expected, "{left} and {right}");
        }
    }

    #[test]
    fn case_is_ignored_only_where_it_is_asked_for() {
        for (left, right, cased, ignored) in [
            ("\"Pro\"", "\"pro\"", LESS, SAME),
            ("\"PRO\"", "\"pRo\"", LESS, SAME),
            ("\"ÉCLAIR\"", "\"éclair\"", LESS, SAME),
            ("\"ΑΒΓ\"", "\"αβγ\"", LESS, SAME),
            ("\"Zoe\"", "\"adam\"", LESS, MORE),
            ("\"a\"", "\"B\"", MORE, LESS),
            ("\"ß\"", "\"SS\"", MORE, MORE),
            ("\"pro \"", "\"PRO\"", MORE, MORE),
        ] {
            assert_eq!(answers(left, right, false), cased, "{left} and {right}");
            assert_eq!(answers(left, right, true), ignored, "{left} and {right} ignoring case");
        }
    }

    #[test]
    fn json_is_read_as_it_is_typed() {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        let number = |mantissa: i64, scale: u32| Some(Value::Number(Decimal::new(mantissa, scale)));
        for (json, expected) in [
            ("\"\"", text("")),
            ("\"12.5\"", text("12.5")),
            ("\"true\"", text("true")),
            ("\"null\"", text("null")),
            ("\" a\\n\\\"b\\\" \"", text(" a\n\"b\" ")),
            ("\"\\ud83d\\ude42\"", text("🙂")),
            ("true", Some(Value::Bool(true))),
            ("false", Some(Value::Bool(false))),
            ("0", number(0, 0)),
            ("-0", number(0, 0)),
            ("-7", number(-7, 0)),
            ("12.50", number(125, 1)),
            ("-0.001", number(-1, 3)),
            ("1.5e3", number(1_500, 0)),
            ("15E-1", number(15, 1)),
            ("9223372036854775807", number(i64::MAX, 0)),
            ("-9223372036854775808", number(i64::MIN, 0)),
            ("null", None),
            ("", None),
            ("tru", None),
            ("True", None),
            ("nul", None),
            ("NaN", None),
            ("Infinity", None),
            ("-", None),
            ("1.2.3", None),
            ("1e999", None),
            ("-1e400", None),
            ("1e-400", None),
            ("99999999999999999999999999999999999999999999", None),
            ("\"open", None),
            ("[1", None),
        ] {
            assert_eq!(Value::from_json(json), expected, "{json}");
        }
    }

    /// What is missing inside is left out: a list has one element less, an object one member less.
    #[test]
    fn inside_of_lists_and_objects_what_is_missing_is_left_out() {
        assert_eq!(json("[1, null, \"a\", 1e400, [null]]"), json("[1, \"a\", []]"));
        assert_eq!(json("{\"a\": null, \"b\": {\"c\": 1e999, \"d\": 0.10}}"), json("{\"b\": {\"d\": 0.1}}"));
        // Numbers are as exact inside as outside.
        let Value::List(items) = json("[9007199254740993, 0.30000000000000004]") else { panic!("a list") };
        assert_eq!(items, [json("9007199254740993"), json("0.30000000000000004")]);
    }

    #[test]
    fn a_literal_is_the_value_of_its_json() {
        use crate::ast::Literal;
        for (written, json) in [("0", "0"), ("12.5", "12.50"), ("-3", "-3.0"), ("100", "1e2")] {
            assert_eq!(literal(&Literal::Number(written.to_owned())), Value::from_json(json), "{written}");
        }
        assert_eq!(literal(&Literal::Number("9".repeat(40))), None);
        for text in ["", "12.5", "true", "null"] {
            assert_eq!(literal(&Literal::String(text.to_owned())), Some(Value::String(text.to_owned())));
        }
        assert_eq!(literal(&Literal::Bool(true)), Some(Value::Bool(true)));
        assert_eq!(literal(&Literal::Bool(false)), Some(Value::Bool(false)));
    }
}
