//! One page of a list: a statement put together from parts, in keyset order.
//!
//! The parts are constants of ours; what callers say is always bound. A connection keeps the hundred texts
//! that were used last prepared, so that orders and filters which are asked for seldom cost nobody memory.

use std::fmt::Write;

use crate::args::Args;

/// A SELECT under construction.
#[derive(Clone, Debug)]
pub struct Paged {
    pub(crate) text: String,
    pub(crate) args: Args,
}

/// One key of an order: an expression that is never NULL.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The expression.
    pub expr: &'static str,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Paged {
    /// Begins with `head`, which goes up to a first condition after WHERE. Each `?` stands for the next of
    /// `args`, here and in every other part.
    pub fn new(head: &'static str, args: Args) -> Self {
        let mut paged = Self { text: String::with_capacity(1_024), args: Vec::new() };
        paged.add(head, args);
        paged
    }

    /// Narrows it to rows of which `condition` holds too.
    #[must_use]
    pub fn and(mut self, condition: &str, args: Args) -> Self {
        self.text.push_str(" AND (");
        self.add(condition, args);
        self.text.push(')');
        self
    }

    /// The same if there is a value, otherwise nothing.
    #[must_use]
    pub fn and_if<V: Into<crate::Val>>(self, condition: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.and(condition, vec![value.into()]),
            None => self,
        }
    }

    /// Ends it: the first `limit` rows in the order of `keys`, after the row whose keys have these values.
    /// The last key must tell any two rows apart.
    #[must_use]
    pub fn page(mut self, keys: &[Key], after: Option<Args>, limit: i64) -> Self {
        if let Some(after) = after {
            self.after(keys, after);
        }
        self.text.push_str(" ORDER BY ");
        for (n, key) in keys.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let direction = if key.descending { " DESC" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{comma}{}{direction}", key.expr);
        }
        self.text.push_str(" LIMIT ");
        self.add("?", vec![limit.into()]);
        self
    }

    fn after(&mut self, keys: &[Key], after: Args) {
        let sign = |descending: bool| if descending { "<" } else { ">" };
        let uniform = keys.windows(2).all(|pair| pair[0].descending == pair[1].descending);
        if uniform && let Some(first) = keys.first() {
            // Both engines walk an index with this.
            let exprs: Vec<&str> = keys.iter().map(|key| key.expr).collect();
            let marks = vec!["?"; keys.len()].join(", ");
            let text = format!(" AND ({}) {} ({marks})", exprs.join(", "), sign(first.descending));
            self.add(&text, after);
            return;
        }
        // (a after x) or (a = x and b after y) or …, and, for the index: a not before x.
        let (mut text, mut args) = (String::new(), Vec::new());
        for n in 0..keys.len() {
            let mut terms: Vec<String> = keys[..n].iter().map(|key| format!("{} = ?", key.expr)).collect();
            terms.push(format!("{} {} ?", keys[n].expr, sign(keys[n].descending)));
            args.extend(after[..=n].iter().cloned());
            let or = if n == 0 { "" } else { " OR " };
            let _ = write!(text, "{or}({})", terms.join(" AND "));
        }
        if let (Some(first), Some(value)) = (keys.first(), after.first()) {
            let text = format!(" AND {} {}= ?", first.expr, sign(first.descending));
            self.add(&text, vec![value.clone()]);
        }
        self.add(&format!(" AND ({text})"), args);
    }

    fn add(&mut self, part: &str, args: Args) {
        let mut pieces = part.split('?');
        self.text.push_str(pieces.next().unwrap_or_default());
        for (piece, value) in pieces.zip(args) {
            self.args.push(value);
            let _ = write!(self.text, "${}{piece}", self.args.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    const ID: Key = Key { expr: "t.id", descending: true };

    #[test]
    fn one_direction_is_a_comparison_of_rows() {
        let keys = [Key { expr: "t.at", descending: true }, ID];
        let paged = Paged::new("SELECT t.id FROM t WHERE t.a = ?", args![1_i64])
            .and("t.b IN (?, ?)", args![2_i64, 3_i64])
            .and_if("t.c = ?", None::<i64>)
            .page(&keys, Some(args![4_i64, 5_i64]), 6);
        assert_eq!(
            paged.text,
            "SELECT t.id FROM t WHERE t.a = $1 AND (t.b IN ($2, $3)) AND (t.at, t.id) < ($4, $5) \
             ORDER BY t.at DESC, t.id DESC LIMIT $6"
        );
        assert_eq!(paged.args.len(), 6);
    }

    #[test]
    fn two_directions_are_spelled_out() {
        let keys = [Key { expr: "t.at", descending: false }, ID];
        let paged =
            Paged::new("SELECT t.id FROM t WHERE true", args![]).page(&keys, Some(args![4_i64, 5_i64]), 6);
        assert_eq!(
            paged.text,
            "SELECT t.id FROM t WHERE true AND t.at >= $1 AND ((t.at > $2) OR (t.at = $3 AND t.id < $4)) \
             ORDER BY t.at, t.id DESC LIMIT $5"
        );
        assert_eq!(paged.args.len(), 5);
    }
}
