//! Tables as Nova prints them: PrettyTable's, every column centred.

/// A table under `head`.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let rule = format!("{rule}+\n");
    let line = |cells: &mut dyn Iterator<Item = &str>| -> String {
        let cells: String =
            cells.zip(&widths).map(|(cell, width)| format!("| {} ", centred(cell, *width))).collect();
        format!("{cells}|\n")
    };
    let mut out = rule.clone() + &line(&mut head.iter().copied()) + &rule;
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    if !rows.is_empty() {
        out += &rule;
    }
    out
}

/// PrettyTable puts the odd space on the right of a text of odd length and on the left of an even one.
fn centred(text: &str, width: usize) -> String {
    let length = text.chars().count();
    let excess = width.saturating_sub(length);
    let left = if excess % 2 == 1 && length.is_multiple_of(2) { excess / 2 + 1 } else { excess / 2 };
    format!("{}{text}{}", " ".repeat(left), " ".repeat(excess - left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_prettytable() {
        let rows = [vec!["cell1".to_owned(), "True".to_owned()], vec!["ab".to_owned(), "False".to_owned()]];
        let wanted = "\
+-------+----------+
|  Name | Disabled |
+-------+----------+
| cell1 |   True   |
|   ab  |  False   |
+-------+----------+
";
        assert_eq!(table(&["Name", "Disabled"], &rows), wanted);
        assert_eq!(table(&["A"], &[]), "+---+\n| A |\n+---+\n");
    }
}
