//! Text to tokens. Total: every text gives tokens or one error with its place, in one pass.

use crate::ast::Span;
use crate::error::SyntaxError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Text(String),
    Number(String),
    Date(String),
    Regex(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 18] =
    ["[*]", "==", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", "+", "-", "*", "/", "[", "]"];

pub(crate) fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

pub(crate) fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

pub(crate) fn tokens(source: &str) -> Result<Vec<(Token, Span)>, SyntaxError> {
    let mut out: Vec<(Token, Span)> = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        // Behind a dot it is a name: `traits.matches / 2`.
        let after_matches = match out.as_slice() {
            [.., (Token::Symbol("."), _), (Token::Word(_), _)] => false,
            [.., (Token::Word(word), _)] => word == "matches",
            _ => false,
        };
        let (token, len) = match c {
            '"' | '\'' => quoted(source, at, c)?,
            '/' if after_matches => regex(source, at)?,
            _ if c.is_ascii_digit() => number_or_date(&source[at..]),
            _ if is_word_start(c) => {
                let rest = &source[at..];
                let len = rest.find(|c| !is_word_part(c)).unwrap_or(rest.len());
                (Token::Word(rest[..len].to_owned()), len)
            }
            _ => symbol(source, at, c)?,
        };
        out.push((token, Span { start: at, end: at + len }));
        at += len;
    }
    out.push((Token::End, Span { start: source.len(), end: source.len() }));
    Ok(out)
}

fn quoted(source: &str, at: usize, quote: char) -> Result<(Token, usize), SyntaxError> {
    let mut text = String::new();
    let mut chars = source[at + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((Token::Text(text), i + 2)),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
                other => {
                    let start = at + 1 + i;
                    let end = other.map_or(source.len(), |(j, c)| at + 1 + j + c.len_utf8());
                    return Err(SyntaxError::new(Span { start, end }, "this escape is not known")
                        .help("known are \\\\ \\\" \\' \\n \\t \\r; write a backslash as \\\\"));
                }
            },
            _ => text.push(c),
        }
    }
    Err(SyntaxError::new(Span { start: at, end: source.len() }, "this string has no closing quote"))
}

fn regex(source: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let mut text = String::new();
    let mut chars = source[at + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '/' => return Ok((Token::Regex(text), i + 2)),
            '\\' => match chars.next() {
                Some((_, '/')) => text.push('/'),
                Some((_, c)) => text.extend(['\\', c]),
                None => {}
            },
            _ => text.push(c),
        }
    }
    Err(SyntaxError::new(Span { start: at, end: source.len() }, "this pattern has no closing /"))
}

fn number_or_date(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let shape = |i: usize, b: u8| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    let date = bytes.len() >= 10 && bytes[..10].iter().enumerate().all(|(i, b)| shape(i, *b));
    if date && !bytes.get(10).is_some_and(u8::is_ascii_digit) {
        return (Token::Date(rest[..10].to_owned()), 10);
    }
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut len = digits(0);
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        len += 1 + digits(len + 1);
    }
    (Token::Number(canonical_number(&rest[..len])), len)
}

/// The text without needless zeros.
fn canonical_number(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

fn symbol(source: &str, at: usize, c: char) -> Result<(Token, usize), SyntaxError> {
    let span = Span { start: at, end: at + c.len_utf8() };
    let Some(found) = SYMBOLS.iter().find(|s| source[at..].starts_with(**s)) else {
        let error = SyntaxError::new(span, format!("`{}` has no meaning here", c.escape_debug()));
        return Err(match c {
            '&' => error.help("write `and`"),
            '|' => error.help("write `or`"),
            '!' => error.help("write `not`, or `!=`"),
            '“' | '”' | '‘' | '’' => error.help("write a straight quote: \" or '"),
            _ => error,
        });
    };
    if source[at..].starts_with("<>") {
        return Err(
            SyntaxError::new(Span { start: at, end: at + 2 }, "`<>` is not an operator").help("write `!=`")
        );
    }
    Ok((Token::Symbol(if *found == "==" { "=" } else { found }), found.len()))
}
