//! Cell mappings: making, showing and changing them.

use std::collections::BTreeMap;
use std::time::Duration;

use api_db::cells::{self, Change};
use api_db::hosts;
use api_db::mappings::{self, Counts};
use cell_db::roster;
use model::{Cell, CellId, CellState, Fault};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sql::{Error, Work};

use super::{Admin, By, Denied, Why, close, only_admins, open, pick, reason, url};

/// A cell as an operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellView {
    /// Its id.
    pub id: CellId,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where it stands in its life.
    pub state: CellState,
    /// Grows with every change of the mapping.
    pub version: i64,
    /// URL of its database, without secrets unless they were asked for.
    pub database_url: String,
    /// URL of its broker, without secrets unless they were asked for.
    pub transport_url: String,
    /// Hosts mapped to it.
    pub mapped_hosts: i64,
    /// Instances mapped to it that are not known to be gone.
    pub mapped_instances: i64,
    /// Whether its database answered; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Hosts that its database holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<i64>,
    /// Hosts that take new instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts_ready: Option<i64>,
    /// Instances that its database holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i64>,
}

/// A cell to map.
#[derive(Clone)]
pub struct NewCell {
    /// Its name, unique.
    pub name: String,
    /// The region that it lies in; never changes.
    pub region: String,
    /// How the API level reaches its database; may be a template.
    pub database_url: String,
    /// How the API level reaches its broker; may be a template. Empty for cell0 alone.
    pub transport_url: String,
    /// Where it stands in its life at first.
    pub state: CellState,
}

/// How a cell is made or changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Check everything, change nothing.
    pub dry_run: bool,
    /// Succeed if it is mapped already, in this region and with these URLs.
    pub if_not_exists: bool,
    /// Make or migrate the schema of its database first, and see that its broker answers.
    pub prepare: bool,
}

/// What came of making a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// The cell.
    pub cell: CellView,
    /// Whether it is new.
    pub new: bool,
}

impl Admin {
    /// Maps a cell.
    ///
    /// # Errors
    /// [`Why::Bad`], [`Why::NameTaken`], [`Why::UrlTaken`], [`Why::Dark`] if it was to be prepared and does
    /// not answer.
    pub async fn create_cell(&self, by: &By, new: NewCell, options: Options) -> Result<Created, Denied> {
        let is_cell0 = new.transport_url.is_empty() && new.name == "cell0";
        let entry = self.entry(by, "cell.create")?;
        plain(&new.name, "name")?;
        if !new.region.is_empty() {
            plain(&new.region, "region")?;
        }
        check_database(&new.database_url)?;
        if !is_cell0 {
            self.check_transport(&new.transport_url)?;
        }
        let id = if is_cell0 { CellId::ZERO } else { self.env.id() };
        let NewCell { name, region, database_url, transport_url, state } = new;
        let cell = Cell { id, name, region, database_url, transport_url, state, version: 1 };
        let all = self.mappings().await?;
        if let Some(known) = all.iter().find(|known| known.name == cell.name || known.id == cell.id) {
            let same = known.region == cell.region && same_urls(known, &cell);
            return match (options.if_not_exists, same) {
                (true, true) => Ok(Created { cell: self.view(known.clone()).await?, new: false }),
                (true, false) => Err(Denied::new(
                    Why::NameTaken,
                    format!("a cell '{}' is mapped already, in another region or with other URLs", cell.name),
                )),
                (false, _) => {
                    Err(Denied::new(Why::NameTaken, format!("a cell '{}' is mapped already", cell.name)))
                }
            };
        }
        free_urls(&all, cell.id, Some(&cell.database_url), Some(&cell.transport_url))?;
        if options.prepare && !options.dry_run {
            self.prepare(&cell).await?;
        }
        if options.dry_run {
            return Ok(Created { cell: blank(cell), new: true });
        }
        let stored = cell.clone();
        let made = self.db.write(move |tx| -> Work<'_, bool> {
            let (cell, entry) = (stored.clone(), entry.clone());
            Box::pin(async move {
                if !cells::create(tx, &cell, entry.at).await? {
                    return Ok(false);
                }
                entry.record(tx, cell.id.uuid(), told(&cell)).await?;
                Ok(true)
            })
        });
        match made.await? {
            true => Ok(Created { cell: blank(cell), new: true }),
            false => Err(Denied::new(Why::NameTaken, format!("a cell '{}' is mapped already", cell.name))),
        }
    }

    /// Brings the cell's database to this release's schema, and sees that its broker answers.
    async fn prepare(&self, cell: &Cell) -> Result<(), Denied> {
        let db = open(&cell.database_url, true)?;
        let migrated = cell_db::SCHEMA.migrate(&db, &self.env).await;
        close(db);
        migrated.map_err(|error| Denied::dark(&cell.name, &error))?;
        if !cell.is_cell0() && !self.broker_answers(cell).await? {
            let why = format!("cell {}: its broker does not answer", cell.name);
            return Err(Denied::new(Why::Dark, why));
        }
        Ok(())
    }

    /// Every cell, by name; with `ask`, with what their databases say.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn cells_view(&self, by: &By, ask: bool, secrets: bool) -> Result<Vec<CellView>, Denied> {
        let all = self.mappings().await?;
        self.views(by, all, ask, secrets).await
    }

    /// One cell, with what its database says.
    ///
    /// # Errors
    /// [`Why::NoCell`].
    pub async fn cell_view(&self, by: &By, cell: &str, secrets: bool) -> Result<CellView, Denied> {
        let cell = self.mapping(cell).await?;
        let view = self.views(by, vec![cell], true, secrets).await?.pop();
        view.ok_or_else(|| Fault::internal("a cell was lost on the way").into())
    }

    async fn views(
        &self,
        by: &By,
        all: Vec<Cell>,
        ask: bool,
        secrets: bool,
    ) -> Result<Vec<CellView>, Denied> {
        only_admins(by)?;
        let mapped = self.db.read(|tx| -> Work<'_, (Vec<hosts::Mapping>, Vec<(CellId, Counts)>)> {
            Box::pin(async move { Ok((hosts::all(tx).await?, mappings::counts(tx).await?)) })
        });
        let asked = async {
            let cells = if ask { all.clone() } else { Vec::new() };
            self.ask(cells, |tx| -> Work<'_, roster::Counts> {
                Box::pin(async move { roster::counts(tx).await })
            })
            .await
        };
        let (mapped, asked) = futures::join!(mapped, asked);
        let (hosts, instances) = mapped?;
        let instances: BTreeMap<CellId, Counts> = instances.into_iter().collect();
        let mut answers: BTreeMap<CellId, Result<roster::Counts, Error>> =
            asked.into_iter().map(|(cell, answer)| (cell.id, answer)).collect();
        let mut views: Vec<CellView> = Vec::new();
        for cell in &all {
            let mut view = blank(cell.clone());
            if secrets {
                view.database_url.clone_from(&cell.database_url);
                view.transport_url.clone_from(&cell.transport_url);
            }
            view.mapped_hosts = hosts.iter().filter(|mapping| mapping.cell == cell.id).count() as i64;
            view.mapped_instances = instances.get(&cell.id).map_or(0, |counts| counts.live);
            match answers.remove(&cell.id) {
                None => {}
                Some(Ok(counts)) => {
                    view.up = Some(true);
                    view.hosts = Some(counts.hosts);
                    view.hosts_ready = Some(counts.hosts_ready);
                    view.instances = Some(counts.instances);
                }
                Some(Err(error)) => {
                    view.up = Some(false);
                    view.why = Some(reason(&error));
                }
            }
            views.push(view);
        }
        if secrets {
            self.audit_secrets(by, &all).await?;
        }
        Ok(views)
    }

    /// Records that secrets of these mappings were shown, before they are.
    async fn audit_secrets(&self, by: &By, shown: &[Cell]) -> Result<(), Denied> {
        let mut entries = Vec::new();
        for cell in shown {
            entries.push((self.entry(by, "cell.show-secrets")?, cell.id.uuid()));
        }
        let written = self.db.write(move |tx| -> Work<'_, ()> {
            let entries = entries.clone();
            Box::pin(async move {
                for (entry, cell) in entries {
                    entry.record(tx, cell, json!({})).await?;
                }
                Ok(())
            })
        });
        Ok(written.await?)
    }

    async fn view(&self, cell: Cell) -> Result<CellView, Denied> {
        let id = cell.id;
        let counts = self.db.read(move |tx| -> Work<'_, (usize, Counts)> {
            Box::pin(async move {
                let hosts = hosts::all(tx).await?;
                let here = hosts.iter().filter(|mapping| mapping.cell == id).count();
                Ok((here, mappings::count(tx, id).await?))
            })
        });
        let (hosts, instances) = counts.await?;
        let mut view = blank(cell);
        view.mapped_hosts = hosts as i64;
        view.mapped_instances = instances.live;
        Ok(view)
    }

    /// Changes what `change` names of a mapping and nothing else; gives the cell as it is then. No cell is
    /// asked, so it works for one that is away.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Bad`], [`Why::NameTaken`], [`Why::UrlTaken`], [`Why::Cell0`].
    pub async fn change_cell(
        &self,
        by: &By,
        cell: &str,
        change: Change,
        dry_run: bool,
    ) -> Result<CellView, Denied> {
        let entry = self.entry(by, "cell.update")?;
        let all = self.mappings().await?;
        let known = pick(all.clone(), cell)?;
        if let Some(name) = &change.name {
            plain(name, "name")?;
            if all.iter().any(|other| other.name == *name && other.id != known.id) {
                return Err(Denied::new(Why::NameTaken, format!("a cell '{name}' is mapped already")));
            }
        }
        if let Some(url) = &change.database_url {
            check_database(url)?;
        }
        if let Some(url) = &change.transport_url {
            if known.is_cell0() {
                return Err(Denied::new(
                    Why::Cell0,
                    "cell0 is a database and nothing else: it has no broker",
                ));
            }
            self.check_transport(url)?;
        }
        let (database, transport) = (change.database_url.as_deref(), change.transport_url.as_deref());
        free_urls(&all, known.id, database, transport)?;
        if known.is_cell0() && change.state.is_some_and(|state| state != CellState::Active) {
            return Err(Denied::new(
                Why::Cell0,
                "cell0 cannot be disabled: what could not be placed lies there",
            ));
        }
        let mut next = known.clone();
        let Change { name, database_url, transport_url, state } = change.clone();
        next.name = name.unwrap_or(next.name);
        next.database_url = database_url.unwrap_or(next.database_url);
        next.transport_url = transport_url.unwrap_or(next.transport_url);
        next.state = state.unwrap_or(next.state);
        if dry_run || next == known {
            return self.view(next).await;
        }
        let detail = changed(&known, &next);
        let id = known.id;
        let written = self.db.write(move |tx| -> Work<'_, bool> {
            let (change, entry, detail) = (change.clone(), entry.clone(), detail.clone());
            Box::pin(async move {
                if !cells::change(tx, id, &change).await? {
                    return Ok(false);
                }
                entry.record(tx, id.uuid(), detail).await?;
                Ok(true)
            })
        });
        match written.await? {
            true => self.view(self.mapping(&id.to_string()).await?).await,
            false => Err(Fault::new(
                model::FaultKind::Stale,
                format!("cell {} was changed or deleted at the same time; look again", known.name),
            )
            .into()),
        }
    }

    /// Lets a cell take new instances (again), after its preflight unless `force` says otherwise.
    ///
    /// # Errors
    /// [`Why::NotReady`] with what is missing; as [`Admin::change_cell`] otherwise.
    pub async fn activate_cell(
        &self,
        by: &By,
        cell: &str,
        force: bool,
        dry_run: bool,
    ) -> Result<CellView, Denied> {
        let known = self.mapping(cell).await?;
        if !known.is_cell0() && !force {
            let preflight = self.test_cell(by, cell).await?;
            if !preflight.ok {
                let failed = preflight.checks.iter().filter(|check| !check.ok);
                let failed: Vec<String> =
                    failed.map(|check| format!("{} ({})", check.name, check.detail)).collect();
                return Err(Denied::new(
                    Why::NotReady,
                    format!("cell {} is not ready: {}", known.name, failed.join(", ")),
                ));
            }
        }
        let change = Change { state: Some(CellState::Active), ..Change::default() };
        self.change_cell(by, cell, change, dry_run).await
    }

    /// Keeps a cell from taking new instances; what it has goes on. It need not answer.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::State`] of a cell that has left service.
    pub async fn cordon_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<CellView, Denied> {
        let known = self.mapping(cell).await?;
        if matches!(known.state, CellState::Draining | CellState::Drained | CellState::Retired) {
            let why = format!("cell {} is {}, which takes nothing new", known.name, known.state.as_str());
            return Err(Denied::new(Why::State, why));
        }
        let change = Change { state: Some(CellState::Cordoned), ..Change::default() };
        self.change_cell(by, cell, change, dry_run).await
    }

    /// Lets a cell that was cordoned take new instances again.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::State`] of a cell that is not cordoned.
    pub async fn uncordon_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<CellView, Denied> {
        let known = self.mapping(cell).await?;
        if !matches!(known.state, CellState::Cordoned | CellState::Active) {
            let why = format!("cell {} is {}, not cordoned: activate it", known.name, known.state.as_str());
            return Err(Denied::new(Why::State, why));
        }
        let change = Change { state: Some(CellState::Active), ..Change::default() };
        self.change_cell(by, cell, change, dry_run).await
    }

    /// Refuses a broker's URL that could not be used.
    fn check_transport(&self, template: &str) -> Result<(), Denied> {
        let bad = |why: String| Denied::new(Why::Bad, format!("transport URL: {why}"));
        let resolved = router::resolve(template).map_err(|fault| bad(fault.message))?;
        let bus =
            self.connector.connect(&resolved, Default::default()).map_err(|fault| bad(fault.message))?;
        tokio::spawn(async move { bus.close().await });
        Ok(())
    }

    /// Whether the cell's broker answers within [`super::DEADLINE`].
    pub(super) async fn broker_answers(&self, cell: &Cell) -> Result<bool, Denied> {
        const LOOK: Duration = Duration::from_millis(20);
        let bus = self.connector.connect(&router::resolve(&cell.transport_url)?, Default::default())?;
        let connected = async {
            while !bus.is_connected() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let answers = tokio::time::timeout(super::DEADLINE, connected).await.is_ok();
        tokio::spawn(async move { bus.close().await });
        Ok(answers)
    }
}

/// Refuses a database's URL that could not be used. Nothing is connected.
fn check_database(template: &str) -> Result<(), Denied> {
    let bad = |why: String| Denied::new(Why::Bad, why);
    let url = router::resolve(template).map_err(|fault| bad(format!("database URL: {}", fault.message)))?;
    match cell_db::Db::open(&sql::Settings::new(url)) {
        Ok(db) => close(db),
        Err(Error::Statement(why)) => return Err(bad(why)),
        Err(why) => return Err(bad(why.to_string())),
    }
    Ok(())
}

fn plain(text: &str, what: &str) -> Result<(), Denied> {
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && uuid::Uuid::parse_str(text).is_err();
    match good {
        true => Ok(()),
        false => Err(Denied::new(
            Why::Bad,
            format!("a cell's {what} has 1 to 64 letters, digits, '-', '_' or '.', and is no UUID"),
        )),
    }
}

/// Refuses URLs that lead to another cell. Templates are compared by what they stand for here.
fn free_urls(
    all: &[Cell],
    id: CellId,
    database: Option<&str>,
    transport: Option<&str>,
) -> Result<(), Denied> {
    let full = |template: &str| router::resolve(template).unwrap_or_else(|_| template.to_owned());
    let clash = |wanted: Option<&str>, theirs: &str| {
        wanted.is_some_and(|wanted| !wanted.is_empty() && full(wanted) == full(theirs))
    };
    for other in all.iter().filter(|other| other.id != id) {
        let which = match (clash(database, &other.database_url), clash(transport, &other.transport_url)) {
            (true, _) => "database",
            (false, true) => "transport",
            (false, false) => continue,
        };
        let why = format!("the {which} URL is that of cell {} ({}) already", other.name, other.id);
        return Err(Denied::new(Why::UrlTaken, why));
    }
    Ok(())
}

fn same_urls(a: &Cell, b: &Cell) -> bool {
    let full = |template: &str| router::resolve(template).unwrap_or_else(|_| template.to_owned());
    full(&a.database_url) == full(&b.database_url) && full(&a.transport_url) == full(&b.transport_url)
}

/// A cell of which only the mapping is known, without its secrets.
fn blank(cell: Cell) -> CellView {
    CellView {
        id: cell.id,
        database_url: url::mask(&cell.database_url),
        transport_url: url::mask(&cell.transport_url),
        name: cell.name,
        region: cell.region,
        state: cell.state,
        version: cell.version,
        mapped_hosts: 0,
        mapped_instances: 0,
        up: None,
        why: None,
        hosts: None,
        hosts_ready: None,
        instances: None,
    }
}

fn told(cell: &Cell) -> Value {
    let Cell { name, region, state, .. } = cell;
    let (database, transport) = (url::mask(&cell.database_url), url::mask(&cell.transport_url));
    json!({"name": name, "region": region, "state": state, "database_url": database, "transport_url": transport})
}

/// What differs between two mappings, secrets left out.
fn changed(from: &Cell, to: &Cell) -> Value {
    let (Value::Object(from), Value::Object(to)) = (told(from), told(to)) else { return json!({}) };
    let mut detail = Map::new();
    for (key, new) in to {
        let old = from.get(&key).cloned().unwrap_or_default();
        // A password that changed is hidden on both sides: that it changed is worth telling.
        if old != new {
            detail.insert(key, json!([old, new]));
        }
    }
    Value::Object(detail)
}
