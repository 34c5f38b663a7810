//! Sealing anew: the URLs of every mapping under the first key of the file of keys.

use api_db::cells::{self, Change};
use model::{Cell, CellId};
use router::sealed_with;
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::slots::named;
use super::{Admin, By, Denied, Why, only_admins};

/// How often a mapping that others change at the same time is tried again.
const TRIES: usize = 5;

/// What became of one mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// The cell's id.
    pub id: CellId,
    /// The cell's name.
    pub name: String,
    /// Whether it was sealed anew, or would be.
    pub changed: bool,
    /// Why it could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Admin {
    /// Seals with the first key whatever is not: what another key has sealed, and what was stored as it was
    /// written. What cannot be opened is told of and stops nothing else. May be repeated or stopped at any time;
    /// with `dry_run` only tells.
    ///
    /// # Errors
    /// [`Why::NotReady`] without a file of keys; one that cannot be read; the API database does not answer.
    pub async fn rotate_keys(&self, by: &By, dry_run: bool) -> Result<Vec<Resealed>, Denied> {
        only_admins(by)?;
        if self.secrets.keys_file.is_none() {
            let why = "there are no keys: set router.keys_file in the configuration";
            return Err(Denied::new(Why::NotReady, why));
        }
        let mut all = Vec::new();
        for cell in self.mappings().await? {
            let (id, name) = (cell.id, cell.name.clone());
            let (changed, why) = match self.reseal(by, cell, dry_run).await {
                Ok(changed) => (changed, None),
                Err(denied) if denied.why == Why::Dark => (false, Some(denied.message)),
                Err(denied) => return Err(denied),
            };
            all.push(Resealed { id, name, changed, why });
        }
        Ok(all)
    }

    /// Seals one mapping anew; whether there was anything to do. [`Why::Dark`] if it cannot be done.
    async fn reseal(&self, by: &By, mut cell: Cell, dry_run: bool) -> Result<bool, Denied> {
        for _ in 0..TRIES {
            let Some(mut change) = self.anew(&cell)? else { return Ok(false) };
            if dry_run {
                return Ok(true);
            }
            let mut detail = json!({});
            for (which, to) in named(&mut change) {
                let keys = to.as_deref().map(|to| json!([sealed_with(which.of(&cell)), sealed_with(to)]));
                detail[format!("{}_url", which.word().replace(' ', "_"))] = json!(keys);
            }
            let entry = self.entry(by, "cell.rotate-keys")?;
            let (id, version) = (cell.id, cell.version);
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
            if written.await? {
                return Ok(true);
            }
            match self.mappings().await?.into_iter().find(|known| known.id == id) {
                Some(known) => cell = known,
                // Deleted meanwhile.
                None => return Ok(false),
            }
        }
        let why = format!("cell {}: others change it all the time; repeat this", cell.name);
        Err(Denied::new(Why::Dark, why))
    }

    /// The URLs of a cell that are not sealed with the first key, sealed with it; nothing if there are none.
    fn anew(&self, cell: &Cell) -> Result<Option<Change>, Denied> {
        let mut change = Change::default();
        let mut any = false;
        for (which, url) in named(&mut change) {
            if !self.secrets.is_current(cell, which)? {
                let template = self.secrets.template(cell, which);
                let template = template.map_err(|fault| {
                    Denied::new(Why::Dark, format!("cell {}: {}", cell.name, fault.message))
                })?;
                *url = Some(self.secrets.seal(&self.env, cell.id, which, &template)?);
                any = true;
            }
        }
        Ok(any.then_some(change))
    }
}
