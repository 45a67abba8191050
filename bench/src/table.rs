//! The table that comes out.

use std::fmt::{Display, Formatter, Result};

/// Rows of text under the machine's line.
pub(crate) struct Table {
    machine: String,
    rows: Vec<[String; 5]>,
}

impl Table {
    pub(crate) const fn new(machine: String) -> Self {
        Self { machine, rows: Vec::new() }
    }

    /// Adds a row and shows it at once: a run takes minutes.
    pub(crate) fn row(&mut self, what: &str, wanted: &str, measured: &str, memory: &str, load: &str) {
        eprintln!("{what}: {measured} (wanted {wanted}; {memory}; {load})");
        self.rows.push([what, wanted, measured, memory, load].map(str::to_owned));
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "Measured on {}.\n", self.machine)?;
        let heads = ["What", "Wanted", "Measured", "Memory (anonymous, peak)", "Under which load"];
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2), width(3), width(4)];
        let mut line = |cells: [&str; 5]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "| {} |", padded.collect::<Vec<_>>().join(" | "))
        };
        line(heads)?;
        line(widths.map(|width| "-".repeat(width)).each_ref().map(String::as_str))?;
        self.rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
    }
}
