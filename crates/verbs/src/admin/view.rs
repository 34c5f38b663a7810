//! Cells as operators see them: their mappings, and what their databases say.

use std::collections::BTreeMap;

use api_db::hosts;
use api_db::mappings::{self, Counts};
use cell_db::roster;
use model::{Cell, CellId, CellState, Fault};
use router::Which;
use serde::Serialize;
use serde_json::json;
use sql::{Error, Work};

use super::processes::ProcessView;
use super::{Admin, By, Denied, only_admins, reason, url};

/// What is mapped: hosts, and how many instances to which cell.
type Mapped = (Vec<hosts::Mapping>, Vec<(CellId, Counts)>);

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
    /// While its credentials are rotated: the other URL of its database, without secrets unless they were asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub second_database_url: String,
    /// The same of its broker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub second_transport_url: String,
    /// Hosts mapped to it.
    pub mapped_hosts: i64,
    /// Instances mapped to it that are not known to be gone.
    pub mapped_instances: i64,
    /// While it is under test: the projects whose instances it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// The processes of the API level, and which version of the mapping each works with; only where one cell is
    /// shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessView>,
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

impl Admin {
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
        let processes = self.processes(by, &cell.id.to_string()).await?;
        let view = self.views(by, vec![cell], true, secrets).await?.pop();
        view.map(|view| CellView { processes, ..view })
            .ok_or_else(|| Fault::internal("a cell was lost on the way").into())
    }

    async fn views(
        &self,
        by: &By,
        all: Vec<Cell>,
        ask: bool,
        secrets: bool,
    ) -> Result<Vec<CellView>, Denied> {
        only_admins(by)?;
        let mapped = self.db.read(|tx| -> Work<'_, Mapped> {
            Box::pin(async move { Ok((hosts::all(tx).await?, mappings::counts(tx).await?)) })
        });
        let asked = async {
            let cells = if ask { all.clone() } else { Vec::new() };
            self.ask(cells, |tx| -> Work<'_, roster::Counts> {
                Box::pin(async move { roster::counts(tx).await })
            })
            .await
        };
        let (mapped, asked, projects) = futures::join!(mapped, asked, self.projects());
        let ((hosts, instances), projects) = (mapped?, projects?);
        let instances: BTreeMap<CellId, Counts> = instances.into_iter().collect();
        let mut answers: BTreeMap<CellId, Result<roster::Counts, Error>> =
            asked.into_iter().map(|(cell, answer)| (cell.id, answer)).collect();
        let mut views: Vec<CellView> = Vec::new();
        for cell in &all {
            let mut view = self.blank(cell);
            if secrets {
                let opened = self.opened(cell);
                (view.database_url, view.transport_url) = (opened.database_url, opened.transport_url);
                view.second_database_url = opened.second_database_url;
                view.second_transport_url = opened.second_transport_url;
            }
            view.mapped_hosts = hosts.iter().filter(|mapping| mapping.cell == cell.id).count() as i64;
            view.mapped_instances = instances.get(&cell.id).map_or(0, |counts| counts.live);
            view.projects = of(cell, &projects);
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

    pub(super) async fn view(&self, cell: Cell) -> Result<CellView, Denied> {
        let id = cell.id;
        let counts = self.db.read(move |tx| -> Work<'_, (usize, Counts)> {
            Box::pin(async move {
                let hosts = hosts::all(tx).await?;
                let here = hosts.iter().filter(|mapping| mapping.cell == id).count();
                Ok((here, mappings::count(tx, id).await?))
            })
        });
        let (hosts, instances) = counts.await?;
        let projects = of(&cell, &self.projects().await?);
        let mut view = CellView { projects, ..self.blank(&cell) };
        view.mapped_hosts = hosts as i64;
        view.mapped_instances = instances.live;
        Ok(view)
    }

    /// A cell with its URLs as they were written; in the place of what cannot be opened here stands why.
    pub(super) fn opened(&self, cell: &Cell) -> Cell {
        let open =
            |which| self.secrets.template(cell, which).unwrap_or_else(|why| format!("({})", why.message));
        let [database_url, transport_url, second_database_url, second_transport_url] = Which::ALL.map(open);
        Cell { database_url, transport_url, second_database_url, second_transport_url, ..cell.clone() }
    }

    /// A cell of which only the mapping is known, without its secrets.
    pub(super) fn blank(&self, cell: &Cell) -> CellView {
        blank(self.opened(cell))
    }
}

/// The projects that a cell takes while it is under test.
fn of(cell: &Cell, projects: &[(CellId, String)]) -> Vec<String> {
    let chosen = projects.iter().filter(|(id, _)| *id == cell.id && cell.state == CellState::Testing);
    chosen.map(|(_, project)| project.clone()).collect()
}

fn blank(cell: Cell) -> CellView {
    CellView {
        id: cell.id,
        database_url: url::mask(&cell.database_url),
        transport_url: url::mask(&cell.transport_url),
        second_database_url: url::mask(&cell.second_database_url),
        second_transport_url: url::mask(&cell.second_transport_url),
        name: cell.name,
        region: cell.region,
        state: cell.state,
        version: cell.version,
        mapped_hosts: 0,
        mapped_instances: 0,
        projects: Vec::new(),
        processes: Vec::new(),
        up: None,
        why: None,
        hosts: None,
        hosts_ready: None,
        instances: None,
    }
}
