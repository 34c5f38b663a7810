//! Whether what several clients were told of one value can be: whether there is one order of all they did, in which
//! each took effect between its question and its answer, and each read what was written last (linearizability;
//! Herlihy and Wing 1990, by the search of Wing and Gong 1993 that remembers where it has been).

use std::collections::HashSet;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The value was set.
    Write(String),
    /// The value was told.
    Read(String),
}

/// One call of one client. Moments are counted, not measured.
#[derive(Clone, Debug)]
pub struct Op {
    /// When it was asked.
    pub asked: u64,
    /// When it was answered; none if nobody knows whether it was done.
    pub answered: Option<u64>,
    /// What was done.
    pub what: What,
}

/// Whether there is such an order.
pub fn is_linearizable(first: &str, ops: &[Op]) -> bool {
    let mut known = HashSet::new();
    let mut left = vec![(vec![false; ops.len()], first.to_owned())];
    while let Some((done, value)) = left.pop() {
        let pending = || ops.iter().enumerate().filter(|(at, _)| !done[*at]);
        // Nothing comes after what was answered before it was asked.
        let Some(first) = pending().filter_map(|(_, op)| op.answered).min() else { return true };
        for (at, op) in pending().filter(|(_, op)| op.asked < first) {
            let next = match &op.what {
                What::Write(new) => new.clone(),
                What::Read(told) if *told == value => value.clone(),
                What::Read(_) => continue,
            };
            let mut more = done.clone();
            more[at] = true;
            if known.insert((more.clone(), next.clone())) {
                left.push((more, next));
            }
        }
    }
    false
}

fn op(asked: u64, answered: Option<u64>, what: What) -> Op {
    Op { asked, answered, what }
}

fn write(asked: u64, answered: Option<u64>, value: &str) -> Op {
    op(asked, answered, What::Write(value.into()))
}

fn read(asked: u64, answered: u64, value: &str) -> Op {
    op(asked, Some(answered), What::Read(value.into()))
}

#[test]
fn what_was_answered_is_read() {
    assert!(is_linearizable("a", &[read(1, 2, "a"), write(3, Some(4), "b"), read(5, 6, "b")]));
    assert!(!is_linearizable("a", &[write(1, Some(2), "b"), read(3, 4, "a")]));
}

#[test]
fn what_is_under_way_is_read_or_not_and_then_never_again() {
    let under_way = write(1, Some(9), "b");
    assert!(is_linearizable("a", &[under_way.clone(), read(2, 3, "a"), read(4, 5, "b")]));
    assert!(!is_linearizable("a", &[under_way, read(2, 3, "b"), read(4, 5, "a")]));
}

#[test]
fn what_nobody_knows_may_take_effect_late_or_never() {
    let unknown = write(1, None, "b");
    assert!(is_linearizable("a", &[unknown.clone(), read(2, 3, "a")]));
    assert!(is_linearizable("a", &[unknown.clone(), read(2, 3, "a"), read(4, 5, "b")]));
    assert!(!is_linearizable("a", &[unknown, read(2, 3, "b"), read(4, 5, "a")]));
}

#[test]
fn writes_have_one_order_for_everybody() {
    let both = [write(1, Some(9), "b"), write(1, Some(9), "c")];
    let seen = |values: [&str; 3]| {
        let reads = values.into_iter().zip([2, 4, 6]).map(|(value, at)| read(at, at + 1, value));
        is_linearizable("a", &both.iter().cloned().chain(reads).collect::<Vec<_>>())
    };
    assert!(seen(["a", "b", "c"]) && seen(["c", "c", "b"]));
    assert!(!seen(["b", "c", "b"]));
}
