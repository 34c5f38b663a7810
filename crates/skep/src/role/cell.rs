//! Mapping cells as a role does it for itself; operators use `skep cell`.

use model::{Cell, Env};
use sql::Work;

use crate::exit::Failure;

/// Maps a cell, or returns the one that is mapped under its name already.
pub async fn create(db: &api_db::Db, cell: &Cell, env: &Env) -> Result<Option<Cell>, Failure> {
    let (cell, now) = (cell.clone(), env.now());
    let mapped = db.write(move |tx| -> Work<'_, Option<Cell>> {
        let cell = cell.clone();
        Box::pin(async move {
            if api_db::cells::create(tx, &cell, now).await? {
                return Ok(None);
            }
            let all = api_db::cells::all(tx).await?;
            Ok(Some(all.into_iter().find(|known| known.name == cell.name).unwrap_or(cell)))
        })
    });
    mapped.await.map_err(|why| Failure::new(format!("api_database: {why}")))
}
