//! Text for people. What others wrote (identifiers, traits, names) breaks neither the line, nor the columns, nor the
//! terminal: it is shown on one line, by its width there, and what a terminal would obey is shown as an escape.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Text on one line: control characters, and those that turn the direction of writing, as escapes.
pub(crate) fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            _ if is_obeyed(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    shown
}

/// The same for text of several lines, whose line ends and tabs stay.
pub(crate) fn clean_lines(text: &str) -> String {
    let clean = |piece: &str| match piece.strip_suffix(['\n', '\t']) {
        Some(rest) => format!("{}{}", clean(rest), &piece[rest.len()..]),
        None => clean(piece),
    };
    text.split_inclusive(['\n', '\t']).map(clean).collect()
}

/// Controls, line separators, and the marks, embeddings, overrides and isolates of bidirectional text (Unicode TR 9).
fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Clean text of at most `columns` of a terminal; `…` stands for what is cut off.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let text = clean(text);
    if text.width() <= columns {
        return text;
    }
    let (mut shown, mut width) = (String::new(), 1);
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > columns {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// Rows of clean cells in columns, two spaces apart, each line after two spaces.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str("  ");
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 event`, `2 events`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_as_an_escape() {
        assert_eq!(clean("a\u{1b}[31mb\u{7f}\u{9b}"), "a\\u{1b}[31mb\\u{7f}\\u{9b}");
        assert_eq!(clean("a\nb\tc\r"), "a\\nb\\tc\\r");
        assert_eq!(clean("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(clean("Zoë 田中 👩‍👩‍👧"), "Zoë 田中 👩‍👩‍👧");
        assert_eq!(clean_lines("a\n\tb\u{1b}\n"), "a\n\tb\\u{1b}\n");
    }

    #[test]
    fn long_text_is_cut_by_its_width_and_between_characters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        // Each of these is two columns wide.
        assert_eq!(cut("田中太郎", 8), "田中太郎");
        assert_eq!(cut("田中太郎", 7), "田中太…");
        assert_eq!(cut("田中太郎", 6), "田中…");
        // An accent that stands over the letter before takes no column.
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        for columns in 1..40 {
            let text = "é田\u{301}👩‍👩‍👧\u{1b}x".repeat(5);
            assert!(cut(&text, columns).width() <= columns, "{columns}");
        }
    }

    #[test]
    fn columns_are_even_however_wide_their_letters() {
        let cells = |row: [&str; 2]| row.map(str::to_owned).to_vec();
        let text = table(&[cells(["田中", "1"]), cells(["abc", "2"]), cells(["é", ""])]);
        assert_eq!(text, "  田中  1\n  abc   2\n  é\n");
    }
}
