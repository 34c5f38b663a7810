//! A cell's life: new → testing → active → cordoned → draining → drained → retired.

use api_db::cells::{self, Change};
use api_db::mappings::{self, Counts};
use cell_db::instances;
use model::{Cell, CellState};
use sql::Work;

use super::{Admin, By, CellView, Denied, Why};

impl Admin {
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
        may_become(&known, CellState::Active)?;
        if !known.is_cell0() && !force {
            self.must_be_ready(by, &known).await?;
        }
        let change = Change { state: Some(CellState::Active), ..Change::default() };
        self.change_cell(by, cell, change, dry_run).await
    }

    async fn must_be_ready(&self, by: &By, cell: &Cell) -> Result<(), Denied> {
        let preflight = self.preflight_cell(by, &cell.name).await?;
        if preflight.ok {
            return Ok(());
        }
        let failed = preflight.checks.iter().filter(|check| !check.ok);
        let failed: Vec<String> = failed.map(|check| format!("{} ({})", check.name, check.detail)).collect();
        let why = format!("cell {} is not ready: {}", cell.name, failed.join(", "));
        Err(Denied::new(Why::NotReady, why))
    }

    /// Lets a cell take instances of these projects only. It need not be ready: those projects find out.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::State`], [`Why::Bad`] of no project.
    pub async fn put_cell_under_test(
        &self,
        by: &By,
        cell: &str,
        projects: Vec<String>,
        dry_run: bool,
    ) -> Result<CellView, Denied> {
        if projects.is_empty() || projects.iter().any(String::is_empty) {
            return Err(Denied::new(Why::Bad, "name at least one project whose instances it is to take"));
        }
        let change = Change { state: Some(CellState::Testing), ..Change::default() };
        self.alter_cell(by, cell, change, Some(projects), dry_run).await
    }

    /// Keeps a cell from taking new instances; what it has goes on. It need not answer.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::State`] of a retired cell.
    pub async fn cordon_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<CellView, Denied> {
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

    /// Empties a cell: it takes nothing new, and once nothing is left in it, it is drained. Users and
    /// administrators delete or move what it has; call this again to see how far that is.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::State`].
    pub async fn drain_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<CellView, Denied> {
        let known = self.mapping(cell).await?;
        let to = |state: CellState| Change { state: Some(state), ..Change::default() };
        if known.state == CellState::Drained {
            return self.view(known).await;
        }
        let view = self.change_cell(by, cell, to(CellState::Draining), dry_run).await?;
        match dry_run || self.left(&known).await? != Some(0) {
            true => Ok(view),
            false => self.change_cell(by, cell, to(CellState::Drained), false).await,
        }
    }

    /// Puts a cell out of service for good. Its mapping stays until it is deleted.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::State`] unless it is drained, [`Why::HasInstances`].
    pub async fn retire_cell(&self, by: &By, cell: &str, dry_run: bool) -> Result<CellView, Denied> {
        let known = self.mapping(cell).await?;
        may_become(&known, CellState::Retired)?;
        if let Some(left @ 1..) = self.left(&known).await? {
            let why = format!("{left} instances live in cell {}: drain it again", known.name);
            return Err(Denied::new(Why::HasInstances, why));
        }
        let change = Change { state: Some(CellState::Retired), ..Change::default() };
        self.change_cell(by, cell, change, dry_run).await
    }

    /// How many instances a cell has, mapped or held; none if that cannot be said, as it does not answer.
    async fn left(&self, cell: &Cell) -> Result<Option<i64>, Denied> {
        let id = cell.id;
        let mapped = self
            .db
            .read(move |tx| -> Work<'_, Counts> { Box::pin(async move { mappings::count(tx, id).await }) });
        let held =
            self.read(cell, |tx| -> Work<'_, i64> { Box::pin(async move { instances::count(tx).await }) });
        let (mapped, held) = futures::join!(mapped, held);
        let live = mapped?.live;
        Ok(match held {
            Ok(held) => Some(live.max(held)),
            Err(_) => (live > 0).then_some(live),
        })
    }

    /// The projects of cells under test.
    pub(super) async fn projects(&self) -> Result<Vec<(model::CellId, String)>, Denied> {
        let read = self.db.read(|tx| -> Work<'_, Vec<(model::CellId, String)>> {
            Box::pin(async move { cells::projects(tx).await })
        });
        Ok(read.await?)
    }
}

/// Refuses a move that no cell makes.
pub(super) fn may_become(cell: &Cell, next: CellState) -> Result<(), Denied> {
    const ALL: [CellState; 7] = [
        CellState::New,
        CellState::Testing,
        CellState::Active,
        CellState::Cordoned,
        CellState::Draining,
        CellState::Drained,
        CellState::Retired,
    ];
    if cell.state.may_become(next) {
        return Ok(());
    }
    let legal = ALL.into_iter().filter(|state| *state != cell.state && cell.state.may_become(*state));
    let legal: Vec<&str> = legal.map(CellState::as_str).collect();
    let rest = match legal.as_slice() {
        [] => "it stays so for good".to_owned(),
        legal => format!("from there it may become {}", legal.join(" or ")),
    };
    let (name, state, next) = (&cell.name, cell.state.as_str(), next.as_str());
    Err(Denied::new(Why::State, format!("cell {name} is {state} and cannot become {next}: {rest}")))
}
