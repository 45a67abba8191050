//! What commands print. A reader that has enough, as `head`, ends a command without a word, as it ends any other.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints as `print!` does; where that panics, this ends the command.
macro_rules! put {
    ($($arg:tt)*) => { $crate::out::write(format_args!($($arg)*)) };
}

/// Prints a line as `println!` does; where that panics, this ends the command.
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($arg)*))) };
}

pub(crate) use {put, say};

/// Writes to stdout, or ends the command: 0 if nobody reads any more, 1 if it cannot be written for another reason.
pub(crate) fn write(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    complain(format_args!("the output cannot be written: {error}\nhint: is the disk that it goes to full?"));
    std::process::exit(1);
}

/// Says on stderr why a command fails; `eprintln!` panics where that cannot be written, and the exit code says it still.
pub(crate) fn complain(error: Arguments<'_>) {
    drop(writeln!(std::io::stderr(), "error: {error}"));
}
