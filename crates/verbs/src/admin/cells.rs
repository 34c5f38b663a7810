//! Cell mappings: making and changing them.

use std::time::Duration;

use api_db::cells::{self, Change};
use model::{Cell, CellId, CellState, Fault};
use router::Which;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sql::{Error, Work};

use super::life::may_become;
use super::slots::{agree, free_url, named, same_urls};
use super::view::CellView;
use super::{Admin, By, Denied, Why, close, pick, url};

/// Longest that one step of making a cell's database may take.
const MAKE: Duration = Duration::from_secs(20);

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
    /// Make its database if there is none, make or migrate its schema, and declare the queues of its broker.
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
        self.check_database(&new.database_url)?;
        if !is_cell0 {
            self.check_transport(&new.transport_url)?;
        }
        let id = if is_cell0 { CellId::ZERO } else { self.env.id() };
        let NewCell { name, region, database_url, transport_url, state } = new;
        let none = String::new;
        let cell = Cell {
            id,
            name,
            region,
            database_url,
            transport_url,
            second_database_url: none(),
            second_transport_url: none(),
            state,
            version: 1,
        };
        let all = self.mappings().await?;
        if let Some(known) = all.iter().find(|known| known.name == cell.name || known.id == cell.id) {
            let same = known.region == cell.region && same_urls(&self.secrets, known, &cell);
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
        for (which, url) in [(Which::Database, &cell.database_url), (Which::Transport, &cell.transport_url)] {
            free_url(&self.secrets, &all, cell.id, which, url)?;
        }
        let mut stored = cell.clone();
        stored.database_url = self.secrets.seal(&self.env, cell.id, Which::Database, &cell.database_url)?;
        stored.transport_url =
            self.secrets.seal(&self.env, cell.id, Which::Transport, &cell.transport_url)?;
        if options.dry_run {
            return Ok(Created { cell: self.blank(&cell), new: true });
        }
        if options.prepare {
            self.prepare(&cell).await?;
        }
        let detail = told(&cell);
        let made = self.db.write(move |tx| -> Work<'_, bool> {
            let (cell, entry, detail) = (stored.clone(), entry.clone(), detail.clone());
            Box::pin(async move {
                if !cells::create(tx, &cell, entry.at).await? {
                    return Ok(false);
                }
                entry.record(tx, cell.id.uuid(), detail).await?;
                Ok(true)
            })
        });
        match made.await? {
            true => Ok(Created { cell: self.blank(&cell), new: true }),
            false => Err(Denied::new(Why::NameTaken, format!("a cell '{}' is mapped already", cell.name))),
        }
    }

    /// Makes of a database and a broker what a cell needs: the database if the server has none of that name,
    /// this release's schema, and the queues that are always there. What is there already stays.
    async fn prepare(&self, cell: &Cell) -> Result<(), Denied> {
        let dark = |error: &Error| Denied::dark(&cell.name, error);
        if !cell.is_cell0() {
            // First, as it makes nothing if it fails.
            self.queues(cell, true)
                .await
                .map_err(|why| Denied::new(Why::Dark, format!("cell {}: its broker {why}", cell.name)))?;
        }
        let url = self.secrets.url(cell, Which::Database)?;
        sql::create_database(&url, MAKE).await.map_err(|error| dark(&error))?;
        let db = super::open(url, true, MAKE)?;
        let migrated = cell_db::SCHEMA.migrate(&db, &self.env).await;
        close(db);
        migrated.map(drop).map_err(|error| dark(&error))
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
        self.alter_cell(by, cell, change, None, dry_run).await
    }

    /// [`Admin::change_cell`], together with the projects that it takes while it is under test.
    pub(super) async fn alter_cell(
        &self,
        by: &By,
        cell: &str,
        mut change: Change,
        projects: Option<Vec<String>>,
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
        for (which, url) in named(&mut change) {
            if let Some(url) = url {
                self.check_url(&all, &known, which, url)?;
            }
        }
        agree(&known, &change)?;
        if known.is_cell0() && change.state.is_some_and(|state| state != CellState::Active) {
            return Err(Denied::new(
                Why::Cell0,
                "cell0 cannot be disabled: what could not be placed lies there",
            ));
        }
        if let Some(state) = change.state {
            may_become(&known, state)?;
        }
        let known = self.opened(&known);
        let mut next = known.clone();
        let given = change.clone();
        next.name = given.name.unwrap_or(next.name);
        next.database_url = given.database_url.unwrap_or(next.database_url);
        next.transport_url = given.transport_url.unwrap_or(next.transport_url);
        next.second_database_url = given.second_database_url.unwrap_or(next.second_database_url);
        next.second_transport_url = given.second_transport_url.unwrap_or(next.second_transport_url);
        next.state = given.state.unwrap_or(next.state);
        if dry_run || (next == known && projects.is_none()) {
            return self.view(next).await;
        }
        let mut detail = changed(&known, &next);
        if let Some(projects) = &projects {
            detail["projects"] = json!(projects);
        }
        let (id, version) = (known.id, known.version);
        for (which, url) in named(&mut change) {
            if let Some(url) = url {
                *url = self.secrets.seal(&self.env, id, which, url)?;
            }
        }
        let written = self.db.write(move |tx| -> Work<'_, bool> {
            let (change, entry, detail) = (change.clone(), entry.clone(), detail.clone());
            let projects = projects.clone();
            Box::pin(async move {
                if !cells::change(tx, id, version, &change).await? {
                    return Ok(false);
                }
                if let Some(projects) = projects {
                    cells::set_projects(tx, id, &projects).await?;
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

fn told(cell: &Cell) -> Value {
    let Cell { name, region, state, .. } = cell;
    let (database, transport) = (url::mask(&cell.database_url), url::mask(&cell.transport_url));
    let mut told = json!({"name": name, "region": region, "state": state, "database_url": database,
        "transport_url": transport});
    for (key, second) in [
        ("second_database_url", &cell.second_database_url),
        ("second_transport_url", &cell.second_transport_url),
    ] {
        if !second.is_empty() {
            told[key] = json!(url::mask(second));
        }
    }
    told
}

/// What differs between two mappings, secrets left out.
fn changed(from: &Cell, to: &Cell) -> Value {
    let (Value::Object(from), Value::Object(mut to)) = (told(from), told(to)) else { return json!({}) };
    let mut detail = Map::new();
    for key in from.keys() {
        // What is there no more.
        to.entry(key.as_str()).or_insert(Value::Null);
    }
    for (key, new) in to {
        let old = from.get(&key).cloned().unwrap_or_default();
        // A password that changed is hidden on both sides: that it changed is worth telling.
        if old != new {
            detail.insert(key, json!([old, new]));
        }
    }
    Value::Object(detail)
}
