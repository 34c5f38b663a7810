//! An operator: cordons cells and opens them again, and sees what was bound to them meanwhile.

use std::collections::BTreeSet;

use api_db::cells::{self, Change};
use model::CellState;
use sql::{Error, Work, args};
use uuid::Uuid;

use super::world::{self, World};

/// Bindings: instances with their epochs.
pub type Bound = BTreeSet<(Uuid, i64)>;

impl World {
    /// Gives a cell another state, and all bindings to it as they are then. The operator waits until the API database
    /// answers, for which the world stands still.
    ///
    /// # Panics
    /// If it cannot be done, which is a defect of the simulation.
    pub fn set_state(&mut self, site: usize, state: CellState) -> Bound {
        let disk = self.api.clone();
        let (faults, frozen) = (disk.set_faults(Default::default()), disk.freeze(false));
        let cell = self.sites[site].cell.id;
        let bound = self.observe(async {
            let db: api_db::Db = world::open("api");
            let change = db.write(move |tx| -> Work<'_, Vec<(Uuid, i64)>> {
                Box::pin(async move {
                    let known = cells::all(tx).await?.into_iter().find(|known| known.id == cell);
                    let version = known.ok_or_else(|| Error::corrupt("cell_mapping", cell))?.version;
                    let change = Change { state: Some(state), ..Change::default() };
                    assert!(cells::change(tx, cell, version, &change).await?, "nobody else changes it");
                    tx.all("SELECT id, epoch FROM instance_mapping WHERE cell = $1 ORDER BY id", args![cell])
                        .await
                })
            });
            change.await.expect("the operator writes")
        });
        self.trace.add(format_args!("cell{} is {state:?}, {} are bound to it", site + 1, bound.len()));
        disk.set_faults(faults);
        disk.freeze(frozen);
        bound.into_iter().collect()
    }
}
