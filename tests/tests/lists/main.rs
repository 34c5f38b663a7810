//! Lists over several cells: against an oracle, and case by case.

mod cases;
mod house;
mod oracle;
