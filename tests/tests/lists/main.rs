//! Lists over several cells: against an oracle, and case by case.

mod cases;
mod filters;
mod frozen;
mod house;
mod oracle;
