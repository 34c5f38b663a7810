//! Statements over many rows: VALUES lists of a few fixed sizes, so that few texts are prepared.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use crate::args::Args;

/// A statement around a list of rows: `head` + `(…), (…)` + `tail`. In `UPDATE … FROM (VALUES …) AS v`
/// the columns are called `column1`, `column2`, … on both engines.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The text before the list, ending in `VALUES`.
    pub head: &'static str,
    /// The text after it.
    pub tail: &'static str,
}

/// The sizes that lists are cut into.
const SIZES: [usize; 5] = [64, 16, 4, 2, 1];

/// The sizes that lists of keys are filled up to.
const COVERS: [usize; 5] = [1, 4, 16, 64, 256];

/// (head, tail, rows, columns), the first two by address.
type Key = (usize, usize, usize, usize);

static TEXTS: LazyLock<Mutex<HashMap<Key, &'static str>>> = LazyLock::new(Mutex::default);

impl Rows {
    /// Cuts `rows`, each of the same length, into statements of fixed sizes with their arguments.
    pub(crate) fn statements(self, rows: Vec<Args>) -> Vec<(&'static str, Args)> {
        let columns = rows.first().map_or(0, Vec::len);
        let mut out = Vec::new();
        let mut rest = rows.into_iter().peekable();
        let mut left = rest.len();
        while left > 0 {
            let size = SIZES.into_iter().find(|size| *size <= left).unwrap_or(1);
            out.push((self.text(size, columns), rest.by_ref().take(size).flatten().collect()));
            left -= size;
        }
        out
    }

    /// As few statements as possible, filled up by repeating the last row: for lists of keys to be looked for
    /// (`IN (VALUES …)`), where a repetition changes nothing and each further statement is a round trip.
    pub(crate) fn covering(self, mut rows: Vec<Args>) -> Vec<(&'static str, Args)> {
        let columns = rows.first().map_or(0, Vec::len);
        let most = COVERS[COVERS.len() - 1];
        let mut out = Vec::new();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(most));
            let size = COVERS.into_iter().find(|size| *size >= rows.len()).unwrap_or(most);
            if let Some(last) = rows.last().cloned() {
                rows.resize(size, last);
            }
            out.push((self.text(size, columns), rows.into_iter().flatten().collect()));
            rows = rest;
        }
        out
    }

    /// The text for `rows` × `columns`. Texts are made once and kept for the life of the process; there
    /// are at most five for each statement.
    fn text(self, rows: usize, columns: usize) -> &'static str {
        let key = (self.head.as_ptr() as usize, self.tail.as_ptr() as usize, rows, columns);
        let mut texts = TEXTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        texts.entry(key).or_insert_with(|| {
            let list: Vec<String> = (0..rows)
                .map(|row| {
                    let cells: Vec<String> =
                        (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
                    format!("({})", cells.join(","))
                })
                .collect();
            Box::leak(format!("{} {} {}", self.head, list.join(","), self.tail).into_boxed_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn fills_up_to_fixed_sizes() {
        const ROWS: Rows = Rows { head: "SELECT n FROM t WHERE n IN (VALUES", tail: ")" };
        let sizes = |rows: i64| -> Vec<usize> {
            let statements = ROWS.covering((0..rows).map(|n| args![n]).collect());
            statements.iter().map(|(_, args)| args.len()).collect()
        };
        assert_eq!(sizes(0), [0_usize; 0]);
        assert_eq!((sizes(1), sizes(3), sizes(25), sizes(256)), (vec![1], vec![4], vec![64], vec![256]));
        assert_eq!(sizes(500), [256, 256]);
        assert_eq!(sizes(257), [256, 1]);
    }

    #[test]
    fn cuts_into_fixed_sizes() {
        const ROWS: Rows = Rows { head: "INSERT INTO t VALUES", tail: "" };
        let rows = (0..23_i64).map(|n| args![n, n]).collect();
        let statements = ROWS.statements(rows);
        let sizes: Vec<usize> = statements.iter().map(|(_, args)| args.len() / 2).collect();
        assert_eq!(sizes, [16, 4, 2, 1]);
        assert_eq!(statements[2].0, "INSERT INTO t VALUES ($1,$2),($3,$4) ");
    }
}
