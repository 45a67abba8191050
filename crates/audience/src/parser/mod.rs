//! Tokens to trees, by recursive descent with explicit limits.

mod condition;
mod event;

use crate::ast::{EventSelector, Expr, Path, Root, Segment, Span};
use crate::error::SyntaxError;
use crate::lexer::{self, Token};
use onefold_types::suggest::nearest;

/// The longest expression, in characters.
pub const MAX_LENGTH: usize = 20_000;
/// The deepest nesting of parentheses, `not` and signs.
pub const MAX_DEPTH: usize = 100;
/// The most arithmetic operators in one expression (a chain of them is a tree as deep as it is long).
pub const MAX_OPERATORS: usize = 200;
/// A hundred years: no window or gap is longer.
const MAX_DURATION_MS: u64 = 100 * 365 * 86_400_000;

/// Tests in words.
const TESTS: &[&str] =
    &["exists", "contains", "starts with", "ends with", "matches", "before", "after", "within"];

type Parsed<T> = Result<T, SyntaxError>;

/// Parses an expression: a condition or a value. Its types are not checked, see [`crate::types`].
pub fn parse(source: &str) -> Result<Expr, SyntaxError> {
    let mut parser = Parser::new(source)?;
    let expr = parser.expression()?;
    parser.end(&["`and`", "`or`", "a comparison"])?;
    Ok(expr)
}

/// Parses a line of a destination's `events`, such as `"Order Completed" where revenue > 100`.
pub fn parse_selector(source: &str) -> Result<EventSelector, SyntaxError> {
    let mut parser = Parser::new(source)?;
    let (selector, _) = parser.selector(false)?;
    parser.end(if selector.filter.is_some() { &["`and`", "`or`", "a comparison"] } else { &["`where`"] })?;
    Ok(selector)
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    operators: usize,
    inside_where: bool,
}

impl Parser {
    fn new(source: &str) -> Parsed<Self> {
        if let Some((limit, c)) = source.char_indices().nth(MAX_LENGTH) {
            let span = Span { start: limit, end: limit + c.len_utf8() };
            return Err(SyntaxError::new(
                span,
                format!("the expression is longer than {MAX_LENGTH} characters"),
            ));
        }
        Ok(Self { tokens: lexer::tokens(source)?, at: 0, depth: 0, operators: 0, inside_where: false })
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        // The last token is always `End`.
        self.tokens.get(self.at + ahead).map_or(&Token::End, |(token, _)| token)
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(Span::default(), |(_, span)| *span)
    }

    /// From `start` to the end of the token before.
    fn since(&self, start: usize) -> Span {
        let end =
            self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(start, |(_, span)| span.end);
        Span { start, end }
    }

    fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Word(found) if found == word)
    }

    /// Takes the words if all of them come next.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(i, word)| self.is_word_at(i, word));
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    fn is_symbol_at(&self, ahead: usize, symbol: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Symbol(found) if *found == symbol)
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol_at(0, symbol);
        if found {
            self.advance();
        }
        found
    }

    fn need_symbol(&mut self, symbol: &str, others: &[&str]) -> Parsed<()> {
        if self.symbol(symbol) {
            return Ok(());
        }
        let quoted = format!("`{symbol}`");
        let mut expected = vec![quoted.as_str()];
        expected.extend(others);
        Err(self.unexpected(&expected))
    }

    /// An error at the next token; a word near one of the expected ones is taken for a slip.
    fn unexpected(&self, expected: &[&str]) -> SyntaxError {
        let mut error = match self.peek() {
            Token::End => SyntaxError::new(self.span(), "the expression ends too early"),
            Token::Word(word) => {
                let error = SyntaxError::new(self.span(), format!("`{word}` does not belong here"));
                match self.meant(word, expected) {
                    Some(meant) => error.help(format!("did you mean `{meant}`?")),
                    None => error,
                }
            }
            Token::Symbol(symbol) => {
                SyntaxError::new(self.span(), format!("`{symbol}` does not belong here"))
            }
            Token::Text(_) => SyntaxError::new(self.span(), "a string does not belong here"),
            Token::Number(_) => SyntaxError::new(self.span(), "a number does not belong here"),
            Token::Date(_) => SyntaxError::new(self.span(), "a date does not belong here")
                .help("dates follow `before`, `after` and `since`"),
            Token::Regex(_) => SyntaxError::new(self.span(), "a pattern does not belong here"),
        };
        error.expected = expected.iter().map(|e| (*e).to_owned()).collect();
        error
    }

    /// What a word that does not belong here was meant to be: what other languages call it, or a slip. Never of a single
    /// letter, which is near to everything.
    fn meant<'a>(&self, word: &str, expected: &[&'a str]) -> Option<&'a str> {
        const OTHERS: &[(&str, &str)] = &[
            ("average", "avg"),
            ("mean", "avg"),
            ("minimum", "min"),
            ("maximum", "max"),
            ("total", "sum"),
            ("distinct", "unique"),
            ("performed", "did"),
        ];
        let plain = || expected.iter().filter_map(|e| e.strip_prefix('`')?.strip_suffix('`'));
        let other = OTHERS.iter().find(|(other, ours)| *other == word && plain().any(|p| p == *ours));
        if let Some((_, ours)) = other {
            return Some(ours);
        }
        // Behind a value a test may follow, which nobody lists.
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let behind_value = matches!(before, Some((Token::Word(_) | Token::Symbol(")" | "[*]"), _)));
        match (behind_value, word) {
            (true, "is" | "equals" | "eq") => return Some("="),
            (true, "has" | "includes" | "like") => return Some("contains"),
            _ => {}
        }
        let tests = if behind_value { TESTS } else { &[] };
        let near = nearest(word, plain().chain(tests.iter().copied()));
        // The same word: the slip is elsewhere.
        near.filter(|near| *near != word && word.chars().count() > 1)
    }

    /// An error at the end of what was taken, where `expected` is missing.
    fn need_after(&mut self, taken: usize, expected: &[&str]) -> SyntaxError {
        (0..taken).for_each(|_| self.advance());
        self.unexpected(expected)
    }

    fn end(&self, others: &[&str]) -> Parsed<()> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected(&[others, &["the end"]].concat())),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(SyntaxError::new(self.span(), format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn text(&mut self, what: &str) -> Parsed<String> {
        let Token::Text(text) = self.peek() else { return Err(self.unexpected(&[what])) };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// A name after a dot: a word, or any text in quotes.
    fn name(&mut self) -> Parsed<String> {
        let (Token::Word(name) | Token::Text(name)) = self.peek() else {
            return Err(self.unexpected(&["a name"]));
        };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    /// A path of an event's values: `category`, `products[*].category`, `context.device.id`.
    fn event_path(&mut self) -> Parsed<Path> {
        let Token::Word(first) = self.peek() else { return Err(self.unexpected(&["a property"])) };
        let first = first.clone();
        self.advance();
        let root = match first.as_str() {
            "properties" => Some(Root::Properties),
            "context" => Some(Root::Context),
            "traits" => Some(Root::Traits),
            _ => None,
        };
        match root {
            Some(root) if self.symbol(".") => {
                let first = self.name()?;
                self.path_from(root, first)
            }
            _ => self.path_from(Root::Properties, first),
        }
    }

    fn path_from(&mut self, root: Root, first: String) -> Parsed<Path> {
        let mut segments = vec![Segment::Name(first)];
        loop {
            if self.symbol(".") {
                segments.push(Segment::Name(self.name()?));
            } else if self.symbol("[*]") {
                segments.push(Segment::Each);
            } else if self.is_symbol_at(0, "[") {
                return Err(self.unexpected(&["`[*]`"]).help("only `[*]`, any element, is possible"));
            } else {
                return Ok(Path { root, segments });
            }
        }
    }

    fn duration(&mut self) -> Parsed<u64> {
        let start = self.span().start;
        let Token::Number(number) = self.peek() else {
            return Err(self.unexpected(&["a duration such as 7d"]));
        };
        let number = number.clone();
        self.advance();
        const UNITS: &[&str] = &["`ms`", "`s`", "`m`", "`h`", "`d`", "`w`"];
        let Token::Word(unit) = self.peek() else { return Err(self.unexpected(UNITS)) };
        let unit_ms = match unit.as_str() {
            "ms" | "millisecond" | "milliseconds" => 1,
            "s" | "second" | "seconds" => 1_000,
            "m" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 604_800_000,
            "month" | "months" | "quarter" | "quarters" | "year" | "years" => {
                return Err(SyntaxError::new(self.span(), "months, quarters and years differ in length")
                    .help("write days, or a calendar window such as `this month`"));
            }
            unit => {
                const LONG: [&str; 6] = ["milliseconds", "seconds", "minutes", "hours", "days", "weeks"];
                let error = self.unexpected(UNITS);
                return Err(match nearest(unit, LONG).filter(|_| unit.len() > 1) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                });
            }
        };
        self.advance();
        let span = self.since(start);
        if number.contains('.') {
            return Err(SyntaxError::new(span, "a duration is a whole number of units")
                .help("write 36h for 1.5 days"));
        }
        // Digits that do not fit are more than a hundred years of anything.
        match number.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_ms)) {
            Some(ms) if ms > 0 && ms <= MAX_DURATION_MS => Ok(ms),
            _ => Err(SyntaxError::new(span, "a duration is longer than nothing and at most 100 years")),
        }
    }

    fn date(&mut self) -> Parsed<String> {
        let Token::Date(date) = self.peek() else {
            let error = self.unexpected(&["a date such as 2026-01-31"]);
            return Err(match self.peek() {
                Token::Text(_) => error.help("a date is written without quotes"),
                _ => error,
            });
        };
        let date = date.clone();
        let part =
            |range: std::ops::Range<usize>| date.get(range).and_then(|p| p.parse::<u32>().ok()).unwrap_or(0);
        let (year, month, day) = (part(0..4), part(5..7), part(8..10));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        if day == 0 || day > days {
            return Err(SyntaxError::new(self.span(), format!("{date} is not a day of the calendar")));
        }
        self.advance();
        Ok(date)
    }
}
