//! Bringing a cell up to date with what the API level needs of it, as after an upgrade, a new vhost or new hosts.

use std::time::Duration;

use cell_db::summary;
use model::{Cell, Summary};
use rpc::Bell;
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::preflight::{SILENT, queues_by};
use super::{Admin, By, Denied, Found, close, reason};

/// Longest that one step of a migration may take.
const MIGRATE: Duration = Duration::from_secs(20);
/// Longest that a cell's conductors may take to publish when they are asked.
const PUBLISH: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// One thing that was brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SyncedPart {
    /// What.
    pub name: &'static str,
    /// Whether it is as it should be now, or with a dry run: could be asked.
    pub ok: bool,
    /// Whether something was changed, or with a dry run: would be.
    pub changed: bool,
    /// What was found and done.
    pub detail: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// The cell's name.
    pub cell: String,
    /// Whether all parts are ok.
    pub ok: bool,
    /// The parts: `schema`, `queues`, `hosts`, `summary`; of cell0 the first alone.
    pub parts: Vec<SyncedPart>,
}

impl Admin {
    /// Migrates a cell's schema to this release's, declares the queues of its vhost, maps its hosts, and has its
    /// conductors publish anew. What is as it should be stays; what fails keeps nothing else from being done. May be
    /// repeated and run at the same time.
    ///
    /// # Errors
    /// [`super::Why::NoCell`]; if the API database does not answer, in which it is recorded first. What fails in the
    /// cell is told in its part.
    pub async fn sync_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<Synced, Denied> {
        let entry = self.entry(by, "cell.sync")?;
        let cell = self.mapping(cell).await?;
        if dry_run {
            return self.sync_parts(by, cell, true).await;
        }
        let begun = self.begin(&entry, cell.id.uuid(), json!({"name": cell.name})).await?;
        let synced = self.sync_parts(by, cell, false).await;
        let failed = |part: &&SyncedPart| !part.ok;
        self.end(&begun, synced, |synced| {
            let failed: Vec<&str> = synced.parts.iter().filter(failed).map(|part| part.name).collect();
            json!({"failed": failed})
        })
        .await
    }

    async fn sync_parts(&self, by: &By, cell: Cell, dry_run: bool) -> Result<Synced, Denied> {
        if cell.is_cell0() {
            let part = told("schema", self.sync_schema(&cell, dry_run).await);
            return Ok(Synced { cell: cell.name, ok: part.ok, parts: vec![part] });
        }
        let (schema, queues) =
            futures::join!(self.sync_schema(&cell, dry_run), self.sync_queues(&cell, dry_run));
        // Without a database of this release there is nothing to read.
        let (hosts, summary) = match (&schema, dry_run) {
            (Err(why), _) => (Err(why.clone()), Err(why.clone())),
            (Ok((true, _)), true) => {
                let later = || Ok((false, "not looked at before the schema is migrated".to_owned()));
                (later(), later())
            }
            (_, true) => (self.unmapped_hosts(by, &cell).await?, self.sync_summary(&cell, true).await),
            (_, false) => (self.sync_hosts(by, &cell).await?, self.sync_summary(&cell, false).await),
        };
        let parts = vec![
            told("schema", schema),
            told("queues", queues),
            told("hosts", hosts),
            told("summary", summary),
        ];
        Ok(Synced { cell: cell.name, ok: parts.iter().all(|part| part.ok), parts })
    }

    async fn sync_schema(&self, cell: &Cell, dry_run: bool) -> Outcome {
        let newest = cell_db::SCHEMA.newest();
        let db = self.open(cell).map_err(|error| reason(&error))?;
        let before = cell_db::SCHEMA.status(&db).await;
        close(db);
        match before {
            Ok(status) if status.version == newest => return Ok((false, format!("version {newest}"))),
            Err(error) if error.is_passing() => return Err(reason(&error)),
            _ if dry_run => return Ok((true, format!("would be migrated to version {newest}"))),
            _ => {}
        }
        let db = self.open_within(cell, MIGRATE).map_err(|error| reason(&error))?;
        let done = cell_db::SCHEMA.migrate(&db, &self.env).await;
        close(db);
        match done {
            Ok(status) => Ok((true, format!("migrated to version {}", status.version))),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn sync_queues(&self, cell: &Cell, dry_run: bool) -> Outcome {
        let bus = || self.bus(cell).map_err(|fault| fault.message);
        match queues_by(bus()?, false).await {
            Ok(()) => Ok((false, "are there".to_owned())),
            Err(why) if why == SILENT => Err(why),
            Err(missing) if dry_run => Ok((true, format!("would be declared: {missing}"))),
            Err(_) => queues_by(bus()?, true).await.map(|()| (true, "declared".to_owned())),
        }
    }

    async fn sync_hosts(&self, by: &By, cell: &Cell) -> Result<Outcome, Denied> {
        let scan = self.discover_hosts(by, Some(&cell.id.to_string())).await?;
        if let Some(why) = scan.cells.iter().find_map(|cell| cell.dark.clone()) {
            return Ok(Err(why));
        }
        let elsewhere = scan.count(|found| matches!(found, Found::Elsewhere(_)));
        if elsewhere > 0 {
            return Ok(Err(format!(
                "{elsewhere} have ids of hosts of other cells: see 'skep host discover'"
            )));
        }
        let (new, all) = (scan.count(|found| *found == Found::New), scan.count(|_| true));
        Ok(Ok((new > 0, format!("{all}, of which {new} were not mapped"))))
    }

    async fn unmapped_hosts(&self, by: &By, cell: &Cell) -> Result<Outcome, Denied> {
        let seen = self.hosts_view(by, Some(&cell.id.to_string())).await?;
        if let Some(why) = seen.dark.into_values().next() {
            return Ok(Err(why));
        }
        let new = seen.hosts.iter().filter(|host| !host.mapped).count();
        Ok(Ok((new > 0, format!("{}, of which {new} are not mapped", seen.hosts.len()))))
    }

    async fn sync_summary(&self, cell: &Cell, dry_run: bool) -> Outcome {
        let before = self.summary(cell).await?;
        if dry_run {
            return Ok((true, "would be published anew".to_owned()));
        }
        let bus = self.bus(cell).map_err(|fault| fault.message)?;
        let start = self.env.monotonic();
        let published = loop {
            // A bell that is rung before there is a connection is forgotten.
            bus.ring(Bell::Conductors);
            tokio::time::sleep(LOOK).await;
            match self.summary(cell).await {
                Ok(now) if now > before => break Ok((true, format!("version {now}"))),
                Ok(_) if self.env.monotonic().saturating_sub(start) < PUBLISH => {}
                Ok(_) => break Err("no conductor has published when it was asked".to_owned()),
                Err(why) => break Err(why),
            }
        };
        tokio::spawn(async move { bus.close().await });
        published
    }

    /// The version of what a cell has published; 0 if that is nothing.
    async fn summary(&self, cell: &Cell) -> Result<i64, String> {
        let read = self.read(cell, |tx| -> Work<'_, Option<Summary>> {
            Box::pin(async move { Ok(summary::read(tx).await?.map(|(_, summary)| summary)) })
        });
        let found = read.await.map_err(|error| reason(&error))?;
        Ok(found.map_or(0, |summary| summary.version))
    }
}

/// Whether something was changed and what, or why it failed.
type Outcome = Result<(bool, String), String>;

fn told(name: &'static str, outcome: Outcome) -> SyncedPart {
    match outcome {
        Ok((changed, detail)) => SyncedPart { name, ok: true, changed, detail },
        Err(detail) => SyncedPart { name, ok: false, changed: false, detail },
    }
}
