//! Lists over several cells: against an oracle, and case by case.

mod house;
mod oracle;
