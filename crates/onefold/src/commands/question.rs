//! Asking before something that cannot be taken back.

use crate::http::Failed;
use std::io::{IsTerminal, Write};

/// Asks on the terminal; where there is none, nobody said yes.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failed> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    // A question is no output: with --json stdout holds one document.
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut line));
    read.map_err(|error| Failed::new(format!("the answer cannot be read: {error}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
