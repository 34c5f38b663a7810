//! Preflight: whether a cell could take instances.

use std::time::Duration;

use cell_db::roster::{self, Counts, Detail};
use cell_db::summary;
use model::{Cell, Summary, Timestamp};
use rpc::Bus;
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::{Admin, By, Denied, close, only_admins, reason};

/// How old a summary of the cell's conductors may be.
const FRESH: Duration = Duration::from_secs(30);
/// How far the conductors' clock may be ahead of ours. One that is behind makes the summary look old.
const AHEAD: Duration = Duration::from_secs(5);
/// How often a connection is looked at while it is made.
const LOOK: Duration = Duration::from_millis(20);
/// Why a broker could not be asked.
pub(super) const SILENT: &str = "does not answer, or refuses the user or vhost";
/// This release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

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

    /// [`Admin::test_cell`], and a container that runs on some host of the cell and is removed. Takes a minute
    /// at most; nothing of it stays.
    ///
    /// # Errors
    /// [`super::Why::NoCell`]. What is wrong with the cell is no error.
    pub async fn preflight_cell(&self, by: &By, cell: &str) -> Result<Preflight, Denied> {
        let mut preflight = self.test_cell(by, cell).await?;
        let cell = self.mapping(cell).await?;
        if preflight.ok && !cell.is_cell0() {
            let entry = self.entry(by, "cell.preflight")?;
            let begun = self.begin(&entry, cell.id.uuid(), json!({"name": cell.name})).await?;
            let probed = self.probe(&cell).await;
            let told = self.end(&begun, Ok(probed), |probe| json!({"container": probe.detail}));
            preflight.checks.push(told.await?);
            preflight.ok = preflight.checks.iter().all(|check| check.ok);
        }
        Ok(preflight)
    }

    async fn broker(&self, cell: &Cell) -> Check {
        match self.queues(cell, false).await {
            Ok(()) => check("broker", true, "answers, and has the cell's queues"),
            Err(why) => check("broker", false, why),
        }
    }

    /// Declares the cell's queues, or only looks whether they are there, within [`super::DEADLINE`].
    pub(super) async fn queues(&self, cell: &Cell, declare: bool) -> Result<(), String> {
        queues_by(self.bus(cell).map_err(|fault| fault.message)?, declare).await
    }

    async fn database(&self, cell: &Cell) -> Vec<Check> {
        let db = match self.open(cell) {
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
            let inside = db.read(|tx| -> Work<'_, (Counts, Vec<Detail>, Summary)> {
                Box::pin(async move {
                    let summary = summary::read(tx).await?.map(|(_, summary)| summary);
                    Ok((roster::counts(tx).await?, roster::hosts(tx).await?, summary.unwrap_or_default()))
                })
            });
            match inside.await {
                Err(error) => checks.push(check("hosts", false, reason(&error))),
                Ok((counts, hosts, summary)) => checks.extend(self.inside(counts, &hosts, &summary)),
            }
        }
        close(db);
        checks
    }

    fn inside(&self, counts: Counts, hosts: &[Detail], summary: &Summary) -> Vec<Check> {
        let now = self.env.now();
        let mut checks = Vec::new();
        match counts.published {
            None => checks.push(check("conductors", false, "none has published a summary yet")),
            Some(at) => {
                let (age, ahead) = (now.since(at), at.since(now));
                let detail = format!("last published {:.1} s ago", age.as_secs_f64());
                checks.push(check("conductors", age <= FRESH, detail));
                let detail = match ahead <= AHEAD {
                    true => "agree".to_owned(),
                    false => format!("that of a conductor is {:.0} s ahead of ours", ahead.as_secs_f64()),
                };
                checks.push(check("clocks", ahead <= AHEAD, detail));
            }
        }
        let agents = hosts.iter().filter(|detail| !detail.silent);
        let agents = agents.map(|detail| (format!("the agent of {}", detail.host.name), &detail.version));
        let lately = |at: &Timestamp| summary.at.since(*at) <= FRESH;
        let conductors = summary.releases.iter().filter(|(_, at)| lately(at));
        let conductors = conductors.map(|(release, _)| ("a conductor".to_owned(), release));
        let other: Vec<String> = conductors
            .chain(agents)
            .filter(|(_, version)| !within_one_release(version, VERSION))
            .map(|(who, version)| format!("{who} has {version}"))
            .collect();
        checks.push(match other.is_empty() {
            true => check("versions", true, format!("within one release of {VERSION}")),
            false => check("versions", false, format!("{}; ours is {VERSION}", other.join(", "))),
        });
        let detail = format!("{} of {} take new instances", counts.hosts_ready, counts.hosts);
        checks.push(check("hosts", counts.hosts_ready > 0, detail));
        checks
    }
}

/// Declares a cell's queues, or only looks whether they are there, within [`super::DEADLINE`]; closes the bus.
pub(super) async fn queues_by(bus: Bus, declare: bool) -> Result<(), String> {
    let done = async {
        while !bus.is_connected() {
            tokio::time::sleep(LOOK).await;
        }
        match declare {
            true => bus.declare().await,
            false => bus.is_declared().await,
        }
    };
    let done = tokio::time::timeout(super::DEADLINE, done).await;
    tokio::spawn(async move { bus.close().await });
    match done {
        Ok(done) => done.map_err(|fault| fault.message),
        Err(_) => Err(SILENT.to_owned()),
    }
}

/// Whether two versions are the same release or neighbours: `MAJOR.MINOR.…`, minors at most one apart. What
/// does not say its version is let through.
pub fn within_one_release(one: &str, other: &str) -> bool {
    let parse = |text: &str| -> Option<(u64, u64)> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    };
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => one.0 == other.0 && one.1.abs_diff(other.1) <= 1,
        _ => true,
    }
}

pub(super) fn check(name: &'static str, ok: bool, detail: impl Into<String>) -> Check {
    Check { name, ok, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::within_one_release;

    #[test]
    fn neighbours_work_together() {
        for (one, other, wanted) in [
            ("1.4.0", "1.5.9", true),
            ("1.5.0", "1.4.2-rc1", true),
            ("1.4.0", "1.6.0", false),
            ("2.0.0", "1.0.0", false),
            ("", "1.0.0", true),
        ] {
            assert_eq!(within_one_release(one, other), wanted, "{one} {other}");
        }
    }
}
