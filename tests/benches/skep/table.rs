//! Tables on standard output.

use std::io::Write as _;

/// Writes a line. Nobody can be told that it could not be written.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A table of texts, which Markdown shows as one too.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it.
    pub fn print(&self) {
        let columns = self.rows[0].len();
        let width = |n: usize| self.rows.iter().filter_map(|row| row.get(n)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let cell = |(text, width): (&String, &usize)| format!(" {text:<width$} ");
            line(&format!("|{}|", row.iter().zip(&widths).map(cell).collect::<Vec<_>>().join("|")));
            if at == 0 {
                line(&format!(
                    "|{}|",
                    widths.iter().map(|n| "-".repeat(n + 2)).collect::<Vec<_>>().join("|")
                ));
            }
        }
    }
}
