//! Rotating a cell's credentials without a moment in which they are wrong: the new ones become the second slot of the
//! mapping, then the first with the old behind them, and then the old are forgotten.
//!
//! The mapping itself tells how far that is, so it may be stopped anywhere and begun again by the same request.

use api_db::cells::{self, Change};
use cell_db::roster::{self, Detail};
use cell_db::summary;
use model::{Cell, Summary};
use router::Which;
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::slots::named;
use super::{Admin, By, CellView, DEADLINE, Denied, Why, close, only_admins, open, pick, reason, url};

/// How often a mapping that others change at the same time is tried again.
const TRIES: usize = 5;

/// New credentials of a cell.
#[derive(Clone, Default)]
pub struct Rotation {
    /// URL of its database with them; may be a template.
    pub database_url: Option<String>,
    /// URL of its broker with them; may be a template.
    pub transport_url: Option<String>,
    /// The servers do not take them yet: they will be changed there once every process knows both.
    pub pending: bool,
    /// Forget the old although somebody in the cell still uses them.
    pub force: bool,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nothing is changed yet.
    New,
    /// The new are the second slot: whoever is refused by the old uses them.
    Stored,
    /// The new are the first slot, the old the second.
    Switched,
    /// The new are all there is.
    Done,
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rotated {
    /// The cell as it is now.
    pub cell: CellView,
    /// How far it is.
    pub step: Step,
    /// Whether this call has brought it there.
    pub changed: bool,
    /// What has to happen before the next step; nothing if the next call takes it.
    pub waits_for: Vec<String>,
}

impl Admin {
    /// Takes the next step of a rotation, if nothing has to be waited for: call it again until it is done. What the new
    /// URLs lead to is asked first, unless they are `pending`, and has to be the place that the mapping leads to.
    ///
    /// Before each step every process of the API level that lives works with the mapping as it is; before the last one
    /// also nobody is connected to the cell's database by another user, conductors included. A process that wrongly
    /// passes for dead is not hurt: it reads the mapping again within a second, and whichever slots it has, one works.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Bad`], [`Why::UrlTaken`], [`Why::Cell0`]; [`Why::State`] while other credentials are
    /// being rotated; [`Why::NotReady`] if the new ones do not work.
    pub async fn rotate_cell(
        &self,
        by: &By,
        cell: &str,
        wanted: &Rotation,
        dry_run: bool,
    ) -> Result<Rotated, Denied> {
        only_admins(by)?;
        let slots = wanted.slots()?;
        for _ in 0..TRIES {
            let all = self.mappings().await?;
            let cell = pick(all.clone(), cell)?;
            let mut step = Step::Done;
            for (which, url) in &slots {
                self.check_url(&all, &cell, *which, url)?;
                step = step.min(self.step(&cell, *which, url)?);
            }
            let waits_for = match step {
                Step::New => {
                    self.usable(&cell, &slots, wanted.pending).await?;
                    Vec::new()
                }
                _ => self.awaited(by, &cell, &slots, step, wanted.force).await?,
            };
            if dry_run || step == Step::Done || !waits_for.is_empty() {
                let cell = self.view(cell).await?;
                return Ok(Rotated { cell, step, changed: false, waits_for });
            }
            let (mut change, next) = self.next(&cell, &slots, step)?;
            if self.change_slots(by, &cell, &mut change, next).await? {
                let cell = self.view(self.mapping(&cell.id.to_string()).await?).await?;
                return Ok(Rotated { cell, step: next, changed: true, waits_for: Vec::new() });
            }
        }
        let why = format!("cell {cell}: others change it all the time; repeat this");
        Err(Denied::new(Why::State, why))
    }

    /// How far one of the URLs is.
    fn step(&self, cell: &Cell, which: Which, url: &str) -> Result<Step, Denied> {
        let (first, second) = (self.plain(cell, which)?, self.plain(cell, which.other())?);
        match (first == url, second == url, second.is_empty()) {
            (true, _, true) => Ok(Step::Done),
            (true, _, false) => Ok(Step::Switched),
            (false, true, _) => Ok(Step::Stored),
            (false, false, true) => Ok(Step::New),
            (false, false, false) => {
                let (name, what) = (&cell.name, which.word());
                let why = format!(
                    "the {what} credentials of cell {name} are being rotated to others: finish that with their URL, \
                     or forget it first ('skep cell set {name} --second-{what}-url=')"
                );
                Err(Denied::new(Why::State, why))
            }
        }
    }

    fn plain(&self, cell: &Cell, which: Which) -> Result<String, Denied> {
        let opened = self.secrets.template(cell, which);
        opened.map_err(|fault| Denied::new(Why::NotReady, format!("cell {}: {}", cell.name, fault.message)))
    }

    /// What has to happen before the step after this one.
    async fn awaited(
        &self,
        by: &By,
        cell: &Cell,
        slots: &[(Which, String)],
        step: Step,
        force: bool,
    ) -> Result<Vec<String>, Denied> {
        if step == Step::Done {
            return Ok(Vec::new());
        }
        let processes = self.processes(by, &cell.id.to_string()).await?;
        let late = processes.into_iter().filter(|process| process.alive && !process.current);
        let mut waits: Vec<String> = late
            .map(|process| match process.fault {
                Some(fault) => format!("{} {}, which cannot use it: {fault}", process.kind, process.name),
                None => format!("{} {} to read the mapping", process.kind, process.name),
            })
            .collect();
        if !waits.is_empty() {
            return Ok(waits);
        }
        if step == Step::Stored {
            // Whatever was found when they were stored: from the next step on they are what is tried first.
            if let Err(denied) = self.usable(cell, slots, false).await {
                let why = denied.message.split("; --pending").next().unwrap_or_default().to_owned();
                waits.push(format!("the credentials to be changed at the servers now: {why}"));
            }
            return Ok(waits);
        }
        for (which, url) in slots.iter().filter(|(which, _)| *which == Which::Database && !force) {
            let db = open(self.secrets.fill(*which, url)?, false, DEADLINE)
                .map_err(|error| Denied::dark(&cell.name, &error))?;
            let others = db.other_users().await;
            close(db);
            match others {
                Ok(others) => waits.extend(others.into_iter().map(|(user, count)| {
                    format!(
                        "{count} connections of user {user} to the cell's database, conductors' perhaps: \
                             change their files"
                    )
                })),
                Err(error) => waits.push(format!("the cell to tell who is connected: {}", reason(&error))),
            }
        }
        for (which, _) in slots.iter().filter(|(which, _)| *which == Which::Transport && !force) {
            let (old, new) = (self.filled(cell, which.other())?, self.filled(cell, *which)?);
            // A password alone is another: nobody can tell who knows it.
            if let Some(old) = user(&old).filter(|old| user(&new) != Some(old)) {
                waits.extend(self.connected_as(cell, old).await);
            }
        }
        Ok(waits)
    }

    fn filled(&self, cell: &Cell, which: Which) -> Result<String, Denied> {
        Ok(self.secrets.fill(which, &self.plain(cell, which)?)?)
    }

    /// Who in the cell says to be connected to its broker as that user: its conductors, and agents that are heard of.
    async fn connected_as(&self, cell: &Cell, user: &str) -> Vec<String> {
        let db = match self.open_within(cell, DEADLINE) {
            Ok(db) => db,
            Err(error) => return vec![format!("the cell to tell who is connected: {}", reason(&error))],
        };
        type Told = (Vec<Detail>, Option<Summary>);
        let told = db.read(|tx| -> Work<'_, Told> {
            Box::pin(async move {
                let summary = summary::read(tx).await?.map(|(_, summary)| summary);
                Ok((roster::hosts(tx).await?, summary))
            })
        });
        let told = told.await;
        close(db);
        let (hosts, summary) = match told {
            Ok(told) => told,
            Err(error) => return vec![format!("the cell to tell who is connected: {}", reason(&error))],
        };
        let mut waits = Vec::new();
        if summary.is_some_and(|summary| summary.users.contains_key(user)) {
            waits.push(format!("conductors that are connected to the broker as {user}: change their files"));
        }
        let late =
            hosts.into_iter().filter(|host| !host.silent && host.connected_as.as_deref() == Some(user));
        let late: Vec<String> = late.map(|detail| detail.host.name).collect();
        if let Some(first) = late.first() {
            let count = late.len();
            waits.push(format!(
                "{count} hosts whose agents are connected to the broker as {user}, {first} for one: change their files"
            ));
        }
        waits
    }

    /// What takes the next step: for all URLs that are at this one.
    fn next(&self, cell: &Cell, slots: &[(Which, String)], step: Step) -> Result<(Change, Step), Denied> {
        let mut change = Change::default();
        for (which, url) in slots {
            if self.step(cell, *which, url)? != step {
                continue;
            }
            let old = self.plain(cell, *which)?;
            for (slot, to) in named(&mut change) {
                match step {
                    Step::New if slot == which.other() => *to = Some(url.clone()),
                    Step::Stored if slot == *which => *to = Some(url.clone()),
                    Step::Stored if slot == which.other() => *to = Some(old.clone()),
                    Step::Switched if slot == which.other() => *to = Some(String::new()),
                    _ => {}
                }
            }
        }
        let next = match step {
            Step::New => Step::Stored,
            Step::Stored => Step::Switched,
            Step::Switched | Step::Done => Step::Done,
        };
        Ok((change, next))
    }

    /// Writes other URLs into the slots of a mapping, with the record of it. False if others changed it first.
    async fn change_slots(
        &self,
        by: &By,
        cell: &Cell,
        change: &mut Change,
        step: Step,
    ) -> Result<bool, Denied> {
        let entry = self.entry(by, "cell.rotate")?;
        let mut detail = json!({"step": step});
        for (which, to) in named(change) {
            let Some(to) = to else { continue };
            detail[format!("{}_url", which.word().replace(' ', "_"))] = json!(url::mask(to));
            *to = self.secrets.seal(&self.env, cell.id, which, to)?;
        }
        let (id, version, change) = (cell.id, cell.version, change.clone());
        let written = self.db.write(move |tx| -> Work<'_, bool> {
            let (change, entry, detail) = (change.clone(), entry.clone(), detail.clone());
            Box::pin(async move {
                if !cells::change(tx, id, version, &change).await? {
                    return Ok(false);
                }
                entry.record(tx, id.uuid(), detail).await?;
                Ok(true)
            })
        });
        Ok(written.await?)
    }
}

/// The user that a URL names.
fn user(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (who, _) = rest.rsplit_once('@')?;
    Some(who.split_once(':').map_or(who, |(user, _)| user))
}

impl Rotation {
    fn slots(&self) -> Result<Vec<(Which, String)>, Denied> {
        let slots = [(Which::Database, &self.database_url), (Which::Transport, &self.transport_url)];
        let slots: Vec<(Which, String)> =
            slots.into_iter().filter_map(|(which, url)| Some((which, url.clone()?))).collect();
        match slots.is_empty() {
            false => Ok(slots),
            true => Err(Denied::new(Why::Bad, "name a database URL, a transport URL, or both")),
        }
    }
}
