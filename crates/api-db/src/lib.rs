//! The API database: mappings, request specs, the index that lists are made of, flavors, quotas, audit.
//!
//! Each module is a table (or a few that are written together) and holds functions that take the
//! transaction. Nothing here knows what a cell's database holds.

pub mod aggregates;
pub mod audit;
pub mod cells;
pub mod closed;
pub mod doctor;
pub mod flavors;
pub mod groups;
pub mod hosts;
pub mod idempotency;
pub mod identity;
pub mod images;
pub mod index;
pub mod keypairs;
pub mod limits;
pub mod mappings;
pub mod pages;
pub mod processes;
pub mod quotas;
pub mod resizes;
pub mod restored;
pub mod state;
pub mod usage;

use sql::migrate::Schema;

/// Names the API database in types: a `Tx<Api>` cannot be given to a cell's query.
#[derive(Clone, Copy, Debug)]
pub struct Api;

/// A transaction of the API database.
pub type Tx = sql::Tx<Api>;

/// A handle on the API database.
pub type Db = sql::Db<Api>;

/// Its schema.
pub static SCHEMA: Schema = Schema {
    name: "api",
    steps: &[
        include_str!("../migrations/0001_first.sql"),
        tasks::TABLES,
        include_str!("../migrations/0002_index.sql"),
        include_str!("../migrations/0003_idempotency_key.sql"),
        include_str!("../migrations/0004_compute.sql"),
        include_str!("../migrations/0005_cell_project.sql"),
        include_str!("../migrations/0006_identity.sql"),
        include_str!("../migrations/0007_process.sql"),
        include_str!("../migrations/0008_image.sql"),
        include_str!("../migrations/0009_resize.sql"),
        include_str!("../migrations/0010_restored.sql"),
        include_str!("../migrations/0011_second_urls.sql"),
    ],
    oldest: 12,
    serves: 12,
};
