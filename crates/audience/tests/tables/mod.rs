//! Tables in text files: an input behind `### `, what comes of it below. The file is the expectation, whole and exact;
//! `ONEFOLD_BLESS=1 cargo test -p onefold-audience` writes what is, for a reviewer to read.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, dead_code, reason = "a test says what it expects")]

use std::path::Path;

/// Compares every block of `tests/tables/<name>.txt` with what `actual` makes of its input.
pub fn check(name: &str, actual: impl Fn(&str) -> String) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(format!("{name}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap();
    let (mut written, mut inputs) = (String::new(), Vec::new());
    let (head, _) = expected.split_once("### ").unwrap();
    written.push_str(head);
    for block in expected[head.len()..].split("\n### ") {
        let block = block.strip_prefix("### ").unwrap_or(block);
        let input: Vec<&str> = first_lines(block);
        inputs.push(input.join("\n"));
        let input = inputs.last().unwrap();
        written.push_str(&format!("### {}\n{}\n", input.replace('\n', "\n#   "), actual(input).trim_end()));
        written.push('\n');
    }
    let written = format!("{}\n", written.trim_end());
    if std::env::var_os("ONEFOLD_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
        return inputs.len();
    }
    for (at, (is, was)) in written.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, was, "{name}.txt, line {}", at + 1);
    }
    assert_eq!(written, expected, "{name}.txt ends elsewhere");
    let known = inputs.len();
    inputs.sort_unstable();
    inputs.dedup();
    assert_eq!(inputs.len(), known, "{name}.txt asks something twice");
    known
}

/// The input: the first line, and those that go on behind `#   `.
fn first_lines(block: &str) -> Vec<&str> {
    let mut lines = block.lines();
    let mut input = vec![lines.next().unwrap_or_default()];
    input.extend(lines.map_while(|line| line.strip_prefix("#   ")));
    input
}
