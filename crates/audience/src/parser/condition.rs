//! Conditions, comparisons and arithmetic.

use super::{MAX_OPERATORS, Parsed, Parser};
use crate::ast::{ArithmeticOp, CompareOp, DateTest, Expr, ExprKind, Literal, Root, TextTest};
use crate::error::SyntaxError;
use crate::lexer::Token;

const FUNCTIONS: &[&str] = &[
    "`count`",
    "`sum`",
    "`avg`",
    "`min`",
    "`max`",
    "`unique`",
    "`first`",
    "`last`",
    "`most_frequent`",
    "`list`",
    "`did`",
    "`sessions`",
    "`traits`",
    "`account`",
    "`computed`",
    "`in audience`",
    "`not`",
    "`any member did`",
];

impl Parser {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(Self::either)
    }

    fn either(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let first = self.both()?;
        if !self.is_word_at(0, "or") {
            return Ok(first);
        }
        let mut parts = Vec::new();
        push_flat(&mut parts, first, false);
        while self.words(&["or"]) {
            let next = self.both()?;
            push_flat(&mut parts, next, false);
        }
        Ok(Expr { kind: ExprKind::Or(parts), span: self.since(start) })
    }

    fn both(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let first = self.negation()?;
        if !self.is_word_at(0, "and") {
            return Ok(first);
        }
        let mut parts = Vec::new();
        push_flat(&mut parts, first, true);
        while self.words(&["and"]) {
            let next = self.negation()?;
            push_flat(&mut parts, next, true);
        }
        Ok(Expr { kind: ExprKind::And(parts), span: self.since(start) })
    }

    fn negation(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        if self.words(&["not"]) {
            let inner = self.deeper(Self::negation)?;
            return Ok(Expr { kind: ExprKind::Not(Box::new(inner)), span: self.since(start) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let left = self.sum()?;
        let op = match self.peek() {
            Token::Symbol("=") => Some(CompareOp::Eq),
            Token::Symbol("!=") => Some(CompareOp::Ne),
            Token::Symbol("<") => Some(CompareOp::Lt),
            Token::Symbol("<=") => Some(CompareOp::Le),
            Token::Symbol(">") => Some(CompareOp::Gt),
            Token::Symbol(">=") => Some(CompareOp::Ge),
            _ => None,
        };
        let kind = if let Some(op) = op {
            self.advance();
            let right = Box::new(self.sum()?);
            ExprKind::Compare {
                left: Box::new(left),
                op,
                right,
                ignoring_case: self.words(&["ignoring", "case"]),
            }
        } else {
            let not = self.is_word_at(0, "not");
            match self.test(left, not)? {
                Ok(kind) => kind,
                Err(left) if not => {
                    let _ = left;
                    self.advance();
                    return Err(self.unexpected(&[
                        "`in`",
                        "`contains`",
                        "`starts with`",
                        "`ends with`",
                        "`exists`",
                        "`matches`",
                        "`before`",
                        "`after`",
                        "`within`",
                    ]));
                }
                Err(left) => return Ok(left),
            }
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    /// A test in words after `left`; gives `left` back if none follows.
    fn test(&mut self, left: Expr, negated: bool) -> Parsed<Result<ExprKind, Expr>> {
        let ahead = usize::from(negated);
        let Token::Word(word) = self.peek_at(ahead) else { return Ok(Err(left)) };
        let word = word.clone();
        let follows = match word.as_str() {
            "in" if matches!(self.peek_at(ahead + 1), Token::Text(_)) => {
                return Err(self.need_after(ahead + 1, &["`(`"]).help("a list is written in (\"a\", \"b\")"));
            }
            "in" => self.is_symbol_at(ahead + 1, "("),
            // Inside `where` it may be a step's limit.
            "within" if !self.inside_where && matches!(self.peek_at(ahead + 1), Token::Number(_)) => {
                return Err(self.need_after(ahead + 1, &["`last`", "`next`"]));
            }
            "contains" | "starts" | "ends" | "matches" | "exists" | "before" | "after" => true,
            "within" => self.is_word_at(ahead + 1, "last") || self.is_word_at(ahead + 1, "next"),
            _ => false,
        };
        if !follows {
            return Ok(Err(left));
        }
        (0..=ahead).for_each(|_| self.advance());
        let left = Box::new(left);
        Ok(Ok(match word.as_str() {
            "in" => {
                let list = self.list()?;
                ExprKind::InList { left, list, negated, ignoring_case: self.words(&["ignoring", "case"]) }
            }
            "contains" | "starts" | "ends" => {
                let test = match word.as_str() {
                    "contains" => TextTest::Contains,
                    "starts" => TextTest::StartsWith,
                    _ => TextTest::EndsWith,
                };
                if test != TextTest::Contains && !self.words(&["with"]) {
                    return Err(self.unexpected(&["`with`"]));
                }
                let right = Box::new(self.sum()?);
                ExprKind::Text {
                    left,
                    test,
                    right,
                    negated,
                    ignoring_case: self.words(&["ignoring", "case"]),
                }
            }
            "matches" => {
                let pattern_span = self.span();
                let Token::Regex(pattern) = self.peek() else {
                    return Err(self.unexpected(&["a pattern such as /^a/"]));
                };
                let pattern = pattern.clone();
                self.advance();
                let ignoring_case = self.words(&["ignoring", "case"]);
                ExprKind::Matches { left, pattern, pattern_span, negated, ignoring_case }
            }
            "exists" => ExprKind::Exists { left, negated },
            "before" => ExprKind::Date { left, test: DateTest::Before(self.date()?), negated },
            "after" => ExprKind::Date { left, test: DateTest::After(self.date()?), negated },
            _ => {
                let last = self.is_word_at(0, "last");
                self.advance();
                let ms = self.duration()?;
                let test = if last { DateTest::WithinLast(ms) } else { DateTest::WithinNext(ms) };
                ExprKind::Date { left, test, negated }
            }
        }))
    }

    fn list(&mut self) -> Parsed<Vec<Literal>> {
        self.need_symbol("(", &[])?;
        let mut list = Vec::new();
        loop {
            let Some(literal) = self.literal() else {
                return Err(self.unexpected(&["a string", "a number", "`true`", "`false`"]));
            };
            list.push(literal);
            if !self.symbol(",") {
                self.need_symbol(")", &["`,`"])?;
                return Ok(list);
            }
        }
    }

    fn literal(&mut self) -> Option<Literal> {
        let minus = self.is_symbol_at(0, "-");
        let literal = match self.peek_at(usize::from(minus)) {
            Token::Number(number) if minus && number != "0" => Literal::Number(format!("-{number}")),
            Token::Number(number) => Literal::Number(number.clone()),
            _ if minus => return None,
            Token::Text(text) => Literal::String(text.clone()),
            Token::Word(word) if word == "true" || word == "false" => Literal::Bool(word == "true"),
            _ => return None,
        };
        (0..=usize::from(minus)).for_each(|_| self.advance());
        Some(literal)
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Token::Symbol("+") => ArithmeticOp::Add,
                Token::Symbol("-") => ArithmeticOp::Subtract,
                _ => return Ok(left),
            };
            self.operator()?;
            let right = Box::new(self.product()?);
            let kind = ExprKind::Arithmetic { left: Box::new(left), op, right };
            left = Expr { kind, span: self.since(start) };
        }
    }

    fn product(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let mut left = self.sign()?;
        loop {
            let op = match self.peek() {
                Token::Symbol("*") => ArithmeticOp::Multiply,
                Token::Symbol("/") => ArithmeticOp::Divide,
                _ => return Ok(left),
            };
            self.operator()?;
            let right = Box::new(self.sign()?);
            let kind = ExprKind::Arithmetic { left: Box::new(left), op, right };
            left = Expr { kind, span: self.since(start) };
        }
    }

    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            let message = format!("more than {MAX_OPERATORS} arithmetic operators");
            return Err(SyntaxError::new(self.span(), message));
        }
        self.advance();
        Ok(())
    }

    fn sign(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        if let Some(literal) = self.literal() {
            return Ok(Expr { kind: ExprKind::Literal(literal), span: self.since(start) });
        }
        if self.symbol("-") {
            let inner = self.deeper(Self::sign)?;
            return Ok(Expr { kind: ExprKind::Negate(Box::new(inner)), span: self.since(start) });
        }
        self.primary()
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        if self.symbol("(") {
            let inner = self.expression()?;
            self.need_symbol(")", &["`and`", "`or`"])?;
            return Ok(inner);
        }
        if self.inside_where {
            return match self.peek() {
                Token::Word(_) if self.is_symbol_at(1, "(") => Err(SyntaxError::new(
                    self.span(),
                    "inside `where` only the event's own values can be used",
                )),
                Token::Word(_) => {
                    let path = self.event_path()?;
                    Ok(Expr { kind: ExprKind::Path(path), span: self.since(start) })
                }
                _ => Err(self.unexpected(&["a property", "a string", "a number", "`(`"])),
            };
        }
        let Token::Word(word) = self.peek() else {
            return Err(self.unexpected(&[
                "an aggregate such as `count(…)`",
                "`did(…)`",
                "a trait",
                "a constant",
            ]));
        };
        let word = word.clone();
        let kind = match word.as_str() {
            "in" if self.is_word_at(1, "audience") => {
                self.words(&["in", "audience"]);
                self.need_symbol("(", &[])?;
                let key = self.text("an audience's key in quotes")?;
                self.need_symbol(")", &[])?;
                ExprKind::InAudience(key)
            }
            "traits" | "account" | "computed" if self.is_symbol_at(1, ".") => {
                (0..2).for_each(|_| self.advance());
                let first = self.name()?;
                match word.as_str() {
                    "computed" => ExprKind::Computed(first),
                    "traits" => ExprKind::Path(self.path_from(Root::Traits, first)?),
                    _ => ExprKind::Path(self.path_from(Root::Account, first)?),
                }
            }
            "in" => return Err(self.need_after(1, &["`audience`"])),
            "traits" | "account" | "computed" => return Err(self.need_after(1, &["`.`"])),
            "properties" | "context" => {
                return Err(SyntaxError::new(self.span(), "a property belongs to an event")
                    .help("write it behind `where`, as in count(page where path = \"/\")"));
            }
            _ => match self.event_term()? {
                Some(kind) => kind,
                None => return Err(self.no_term(&word)),
            },
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    /// `word` starts no term, or is not followed by what the term needs.
    fn no_term(&mut self, word: &str) -> SyntaxError {
        if word == "any" {
            let did = self.is_word_at(1, "member");
            return if did { self.need_after(2, &["`did`"]) } else { self.need_after(1, &["`member did`"]) };
        }
        if FUNCTIONS.iter().any(|function| function.trim_matches('`') == word) {
            return self.need_after(1, &["`(`"]);
        }
        let error = self.unexpected(FUNCTIONS);
        let joins = ["and", "or", "then", "where", "within", "without", "same", "between"].contains(&word);
        if error.help.is_some() || joins || self.is_symbol_at(1, "(") {
            return error;
        }
        error.help(format!("a trait is written `traits.{word}`"))
    }
}

/// Keeps `and` in `and` and `or` in `or` flat.
fn push_flat(parts: &mut Vec<Expr>, expr: Expr, and: bool) {
    match expr.kind {
        ExprKind::And(inner) if and => parts.extend(inner),
        ExprKind::Or(inner) if !and => parts.extend(inner),
        kind => parts.push(Expr { kind, span: expr.span }),
    }
}
