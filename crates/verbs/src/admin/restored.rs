//! Databases that were put back from a backup: what is held until an operator confirms, and the comparison with what
//! the other databases and the hosts know that goes before.

use std::sync::Arc;
use std::time::Duration;

use api_db::doctor;
use api_db::mappings::{self, Mapping, State};
use cell_db::instances::{self, BUCKETS, New};
use cell_db::offers::{self, Offered, Terms};
use cell_db::restored::{self, Seen, Standing};
use model::instance::Stage;
use model::{Cell, Incarnation, InstanceId, Timestamp};
use serde::Serialize;
use serde_json::json;
use sql::{Error, Work};
use uuid::Uuid;

use super::entry::nothing;
use super::probe::PROJECT;
use super::{Admin, By, Denied, Why, close};

/// Rows that are compared at a time.
pub(super) const PAGE: i64 = 256;
/// How long one statement over a whole database may take.
const LONG: Duration = Duration::from_secs(120);

/// What came of confirming a cell's database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfirmedCell {
    /// The cell.
    pub cell: String,
    /// Rows whose instances are wanted no more, or are another cell's: what is left of them goes.
    pub gone: u64,
    /// Containers that were taken back.
    pub taken_back: u64,
    /// Instances of which nothing is left, in ERROR.
    pub lost: u64,
    /// Containers that stay as they are: nothing says that they belong here.
    pub offered: u64,
    /// Hosts that were not heard out, and that `force` passed over.
    pub unheard: Vec<String>,
}

/// Where a restored cell stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    /// Since when it waits for an operator, if it does.
    pub since: Option<Timestamp>,
    /// Hosts that have yet to tell what they have.
    pub unheard: Vec<String>,
    /// What hosts have and the cell does not know.
    pub offers: Vec<Offered>,
}

pub(super) async fn inside(tx: &mut cell_db::Tx) -> Result<Inside, Error> {
    let Standing { since, .. } = restored::standing(tx).await?;
    let unheard = if since.is_some() { restored::unheard(tx).await? } else { Vec::new() };
    Ok(Inside { since, unheard, offers: offers::all(tx).await? })
}

/// What a page of rows came to.
#[derive(Default)]
struct Compared {
    gone: Vec<New>,
    tokens: Vec<(InstanceId, i64)>,
}

impl Admin {
    /// Refuses what may take long on a cell's database that does not answer at all.
    async fn answers(&self, cell: &Cell) -> Result<(), Denied> {
        let asked = self
            .read(cell, |tx| -> Work<'_, Standing> { Box::pin(async move { restored::standing(tx).await }) });
        asked.await.map(drop).map_err(|error| Denied::dark(&cell.name, &error))
    }

    /// Says that a cell's database was put back from a backup: until [`Admin::confirm_cell`] nothing is placed,
    /// removed or changed there. To be called before the cell's conductors run again.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Dark`].
    pub async fn restored_cell(&self, by: &By, cell: &str) -> Result<(), Denied> {
        let entry = self.entry(by, "cell.restored")?;
        let cell = self.mapping(cell).await?;
        self.answers(&cell).await?;
        let (incarnation, now): (Incarnation, _) = (self.env.id(), self.env.now());
        let begun = self.begin(&entry, cell.id.uuid(), json!({"incarnation": incarnation})).await?;
        let written = self.write_long(&cell, move |tx| -> Work<'_, ()> {
            Box::pin(async move { restored::begin(tx, incarnation, now).await })
        });
        self.end(&begun, written.await, nothing).await
    }

    /// Compares a cell's restored database with the mappings and with what hosts have told, takes back what belongs
    /// there, and lets the cell work again. May be repeated if it stopped halfway. `force` passes hosts over that
    /// were not heard out: what they made since the backup may be made a second time, or be in ERROR.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Dark`]; [`Why::State`] if it does not wait, or if the API database waits itself;
    /// [`Why::NotReady`] with the hosts that were not heard out.
    pub async fn confirm_cell(&self, by: &By, cell: &str, force: bool) -> Result<ConfirmedCell, Denied> {
        let entry = self.entry(by, "cell.confirm")?;
        let cell = self.mapping(cell).await?;
        if self.held_since().await?.is_some() {
            let why =
                "the API database was restored too: 'skep-manage api_db restored --confirm' comes first";
            return Err(Denied::new(Why::State, why));
        }
        let read = self.read(&cell, |tx| -> Work<'_, Inside> { Box::pin(inside(tx)) });
        let Inside { since, unheard, offers } =
            read.await.map_err(|error| Denied::dark(&cell.name, &error))?;
        if since.is_none() {
            let why = format!(
                "cell {} does not wait for anything: it was not restored, or is confirmed",
                cell.name
            );
            return Err(Denied::new(Why::State, why));
        }
        if !unheard.is_empty() && !force {
            let why = format!(
                "hosts have yet to tell what they have: {}; start their agents and wait, or --force if they are gone",
                unheard.join(", ")
            );
            return Err(Denied::new(Why::NotReady, why));
        }
        let begun = self.begin(&entry, cell.id.uuid(), json!({"force": force})).await?;
        let compared = self.compare_cell(&cell, unheard, offers).await;
        self.end(
            &begun,
            compared,
            |done| json!({"lost": done.lost, "gone": done.gone, "taken_back": done.taken_back}),
        )
        .await
    }

    /// Compares a restored cell, and lets it work again.
    async fn compare_cell(
        &self,
        cell: &Cell,
        unheard: Vec<String>,
        offers: Vec<Offered>,
    ) -> Result<ConfirmedCell, Denied> {
        let mut done = ConfirmedCell { cell: cell.name.clone(), unheard, ..ConfirmedCell::default() };
        done.gone = self.compare_rows(cell).await?;
        let count = offers.len() as u64;
        done.taken_back = self.take_back(cell, offers).await?;
        done.offered = count - done.taken_back;
        done.lost = self.lose_in(cell).await?;
        let (incarnation, now): (Incarnation, _) = (self.env.id(), self.env.now());
        self.write_long(cell, move |tx| -> Work<'_, ()> {
            Box::pin(async move { restored::confirm(tx, incarnation, now).await })
        })
        .await?;
        Ok(done)
    }

    /// Since when the API database waits for an operator, if it does.
    pub(super) async fn held_since(&self) -> Result<Option<Timestamp>, Denied> {
        let read = self.db.read(|tx| -> Work<'_, Option<Timestamp>> {
            Box::pin(async move { api_db::restored::held_since(tx).await })
        });
        Ok(read.await?)
    }

    /// Rows whose mappings say that they are gone or elsewhere are to go; all others get the mappings' counters.
    async fn compare_rows(&self, cell: &Cell) -> Result<u64, Denied> {
        let (mut after, mut gone) = (InstanceId(Uuid::nil()), 0);
        loop {
            let page = self.rows(cell, after).await?;
            let Some(last) = page.last() else { return Ok(gone) };
            after = last.id;
            let known = self.mappings_of(page.iter().map(|seen| seen.id).collect()).await?;
            let mut found = Compared::default();
            for seen in page.into_iter().filter(|seen| seen.stage != Stage::Tombstone) {
                let Some(mapping) = known.iter().find(|mapping| mapping.id == seen.id) else { continue };
                let here = mapping.cell == Some(cell.id) && mapping.epoch == seen.epoch;
                match mapping.state {
                    State::Live if here => found.tokens.push((seen.id, mapping.saga_token)),
                    _ => found.gone.push(self.gone(seen, mapping.saga_token)),
                }
            }
            gone += found.gone.len() as u64;
            let (found, now) = (Arc::new(found), self.env.now());
            let written = self.write(cell, move |tx| -> Work<'_, ()> {
                let found = found.clone();
                Box::pin(async move {
                    restored::fence(tx, &found.tokens).await?;
                    instances::want_gone_for_sure(tx, &found.gone, now).await.map(drop)
                })
            });
            written.await.map_err(|error| Denied::dark(&cell.name, &error))?;
        }
    }

    fn gone(&self, seen: Seen, saga_token: i64) -> New {
        New {
            id: seen.id,
            epoch: seen.epoch,
            saga_token: saga_token.max(seen.saga_token),
            asked_by: String::new(),
            spec: seen.spec,
            bucket: self.env.below(BUCKETS) as i64,
            created: seen.created,
        }
    }

    /// A page of a cell's rows.
    pub(super) async fn rows(&self, cell: &Cell, after: InstanceId) -> Result<Vec<Seen>, Denied> {
        let read = self.read(cell, move |tx| -> Work<'_, Vec<Seen>> {
            Box::pin(async move { restored::page(tx, after, PROJECT, PAGE).await })
        });
        read.await.map_err(|error| Denied::dark(&cell.name, &error))
    }

    async fn mappings_of(&self, ids: Vec<InstanceId>) -> Result<Vec<Mapping>, Denied> {
        let ids = Arc::new(ids);
        let read = self.db.read(move |tx| -> Work<'_, Vec<Mapping>> {
            let ids = ids.clone();
            Box::pin(async move { mappings::get_many(tx, &ids).await })
        });
        Ok(read.await?)
    }

    /// Takes back the newest copy of each instance that is mapped to the cell in that very epoch.
    async fn take_back(&self, cell: &Cell, mut offers: Vec<Offered>) -> Result<u64, Denied> {
        // The newest copy of each comes first.
        offers.dedup_by_key(|offered| offered.instance);
        let mut taken = 0;
        for chunk in offers.chunks(PAGE as usize) {
            let known = self.mappings_of(chunk.iter().map(|offered| offered.instance).collect()).await?;
            let belongs = |offered: &Offered| {
                let mapping = known.iter().find(|mapping| mapping.id == offered.instance)?;
                let here = mapping.cell == Some(cell.id) && mapping.epoch == offered.at.epoch;
                let terms = Terms {
                    saga_token: mapping.saga_token,
                    bucket: self.env.below(BUCKETS) as i64,
                    created: mapping.created,
                };
                (here && mapping.state != State::Deleted).then(|| (offered.clone(), terms))
            };
            let belonging: Arc<Vec<(Offered, Terms)>> = Arc::new(chunk.iter().filter_map(belongs).collect());
            let now = self.env.now();
            let written = self.write(cell, move |tx| -> Work<'_, u64> {
                let belonging = belonging.clone();
                Box::pin(async move {
                    let mut taken = 0;
                    for (offered, terms) in belonging.iter() {
                        taken += u64::from(offers::take_back(tx, offered, *terms, now).await?);
                    }
                    Ok(taken)
                })
            });
            taken += written.await.map_err(|error| Denied::dark(&cell.name, &error))?;
        }
        Ok(taken)
    }

    /// Instances that are mapped to the cell, of which it has no row, and that nobody makes there: they were lost.
    async fn lose_in(&self, cell: &Cell) -> Result<u64, Denied> {
        let (mut after, mut lost, of) = (InstanceId(Uuid::nil()), 0, cell.id);
        loop {
            type Page = (Vec<(InstanceId, bool)>, Vec<InstanceId>);
            let read = self.db.read(move |tx| -> Work<'_, Page> {
                Box::pin(async move {
                    let page = doctor::mapped(tx, of, after, PAGE).await?;
                    let live: Vec<InstanceId> =
                        page.iter().filter(|(_, live)| *live).map(|(id, _)| *id).collect();
                    let made = doctor::written_anew(tx, &live).await?;
                    Ok((page, live.into_iter().filter(|id| !made.contains(id)).collect()))
                })
            });
            let (page, resting) = read.await?;
            let Some((last, _)) = page.last() else { return Ok(lost) };
            after = *last;
            let mappings = self.mappings_of(resting).await?;
            lost += self.lose(cell, mappings).await?;
        }
    }

    /// Writes those of these instances that the cell has no row of as lost, and says how many.
    pub(super) async fn lose(&self, cell: &Cell, mappings: Vec<Mapping>) -> Result<u64, Denied> {
        let new = |mapping: Mapping| {
            Some(New {
                id: mapping.id,
                epoch: mapping.epoch,
                saga_token: mapping.saga_token,
                asked_by: String::new(),
                spec: mapping.spec?,
                bucket: self.env.below(BUCKETS) as i64,
                created: mapping.created,
            })
        };
        let (all, now): (Arc<Vec<New>>, _) =
            (Arc::new(mappings.into_iter().filter_map(new).collect()), self.env.now());
        let of = cell.id;
        let written = self.write(cell, move |tx| -> Work<'_, u64> {
            let all = all.clone();
            Box::pin(async move {
                let ids: Vec<InstanceId> = all.iter().map(|new| new.id).collect();
                let here = instances::get_many(tx, of, &ids).await?;
                let lost: Vec<New> =
                    all.iter().filter(|new| !here.iter().any(|row| row.id == new.id)).cloned().collect();
                restored::lose(tx, &lost, now).await?;
                Ok(lost.len() as u64)
            })
        });
        written.await.map_err(|error| Denied::dark(&cell.name, &error))
    }

    /// Writes in a cell what may take long because it touches every row.
    async fn write_long<F>(&self, cell: &Cell, work: F) -> Result<(), Denied>
    where
        F: for<'t> Fn(&'t mut cell_db::Tx) -> Work<'t, ()> + Send + Sync + 'static,
    {
        let written = async {
            let db = self.open_within(cell, LONG)?;
            let answer = db.write(work).await;
            close(db);
            answer
        };
        written.await.map_err(|error| Denied::dark(&cell.name, &error))
    }
}
