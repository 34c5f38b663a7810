//! Preflight: whether a cell could take instances.

use std::time::Duration;

use cell_db::roster;
use model::Cell;
use serde::Serialize;
use sql::Work;

use super::{Admin, By, Denied, close, only_admins, open, reason};

/// How old a summary of the cell's conductors may be. Far enough in the future counts as old: clocks differ.
const FRESH: Duration = Duration::from_secs(30);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// What was found of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preflight {
    /// The cell's name.
    pub cell: String,
    /// Whether everything is as it should be.
    pub ok: bool,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

impl Admin {
    /// Looks whether a cell could take instances: database, schema, broker, conductors, hosts. Takes 2 s at
    /// most for each of database and broker, at the same time. Changes nothing.
    ///
    /// # Errors
    /// [`super::Why::NoCell`]. What is wrong with the cell is no error.
    pub async fn test_cell(&self, by: &By, cell: &str) -> Result<Preflight, Denied> {
        only_admins(by)?;
        let cell = self.mapping(cell).await?;
        let broker = async {
            match cell.is_cell0() {
                true => None,
                false => Some(self.broker(&cell).await),
            }
        };
        let (mut checks, broker) = futures::join!(self.database(&cell), broker);
        if let Some(broker) = broker {
            checks.insert(2.min(checks.len()), broker);
        }
        Ok(Preflight { cell: cell.name, ok: checks.iter().all(|check| check.ok), checks })
    }

    async fn broker(&self, cell: &Cell) -> Check {
        match self.broker_answers(cell).await {
            Ok(true) => check("broker", true, "answers"),
            Ok(false) => check("broker", false, "does not answer, or refuses the user or vhost"),
            Err(denied) => check("broker", false, denied.message),
        }
    }

    async fn database(&self, cell: &Cell) -> Vec<Check> {
        let db = match open(&cell.database_url, false) {
            Ok(db) => db,
            Err(error) => return vec![check("database", false, reason(&error))],
        };
        let schema = cell_db::SCHEMA.status(&db).await;
        let mut checks = match schema {
            Err(error) if error.is_passing() => vec![check("database", false, reason(&error))],
            Err(error) => vec![check("database", true, "answers"), check("schema", false, error.to_string())],
            Ok(status) => {
                let newest = cell_db::SCHEMA.newest();
                let detail = format!("version {} of {newest}", status.version);
                vec![check("database", true, "answers"), check("schema", status.version == newest, detail)]
            }
        };
        if !cell.is_cell0() && checks.iter().all(|check| check.ok) {
            let counts = db
                .read(|tx| -> Work<'_, roster::Counts> { Box::pin(async move { roster::counts(tx).await }) });
            match counts.await {
                Err(error) => checks.push(check("hosts", false, reason(&error))),
                Ok(counts) => checks.extend(self.inside(counts)),
            }
        }
        close(db);
        checks
    }

    fn inside(&self, counts: roster::Counts) -> [Check; 2] {
        let now = self.env.now();
        let conductors = match counts.published {
            None => check("conductors", false, "none has published a summary yet"),
            Some(at) => {
                let age = if at > now { at.since(now) } else { now.since(at) };
                check("conductors", age <= FRESH, format!("last published {:.1} s ago", age.as_secs_f64()))
            }
        };
        let detail = format!("{} of {} take new instances", counts.hosts_ready, counts.hosts);
        [conductors, check("hosts", counts.hosts_ready > 0, detail)]
    }
}

fn check(name: &'static str, ok: bool, detail: impl Into<String>) -> Check {
    Check { name, ok, detail: detail.into() }
}
