//! A cell's database: hosts, instances, claims, and what has changed. cell0 has the same, with nothing
//! but instances in it.
//!
//! The API level writes only an instance's row and its dirty mark; host rows, allocations and port
//! claims are written by conductors alone, so a distant API level holds nobody up.

pub mod actions;
pub mod amend;
pub mod archive;
pub mod claims;
pub mod dirty;
pub mod groups;
pub mod hosts;
pub mod instances;
pub mod keys;
pub mod offers;
pub mod pages;
pub mod pulls;
pub mod reports;
pub mod resizes;
pub mod restored;
pub mod roster;
pub mod summary;
pub mod users;

use sql::migrate::Schema;

/// Names a cell's database in types: a `Tx<Cell>` cannot be given to an API database's query.
#[derive(Clone, Copy, Debug)]
pub struct Cell;

/// A transaction of a cell's database.
pub type Tx = sql::Tx<Cell>;

/// A handle on a cell's database.
pub type Db = sql::Db<Cell>;

/// Its schema.
pub static SCHEMA: Schema = Schema {
    name: "cell",
    steps: &[
        include_str!("../migrations/0001_first.sql"),
        tasks::TABLES,
        include_str!("../migrations/0002_host_disabled.sql"),
        include_str!("../migrations/0003_host_sessions.sql"),
        include_str!("../migrations/0004_archived_instance.sql"),
        include_str!("../migrations/0005_compute.sql"),
        include_str!("../migrations/0006_phase.sql"),
        include_str!("../migrations/0007_restored.sql"),
        include_str!("../migrations/0008_host_key.sql"),
        include_str!("../migrations/0009_broker_user.sql"),
        include_str!("../migrations/0010_connected_as.sql"),
        include_str!("../migrations/0011_asked_by.sql"),
    ],
    oldest: 12,
    serves: 11,
};
