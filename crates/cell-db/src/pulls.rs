//! What a host should run: read by conductors for its agent.

use model::instance::{Freeze, Stage};
use model::sync::Wanted;
use model::{At, HostId, InstanceId, Intent, RequestSpec};
use sql::{Error, Json, args};
use uuid::Uuid;

use crate::Tx;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    epoch: i64,
    placement: i64,
    generation: i64,
    intent: String,
    stage: String,
    restart_seq: i64,
    restart_hard: bool,
    frozen: String,
    spec: Json<RequestSpec>,
    asked_by: String,
}

impl TryFrom<Row> for Wanted {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let intent =
            Intent::parse(&row.intent).ok_or_else(|| Error::corrupt("instance.intent", &row.intent))?;
        // What leaves its host is to be gone from there, whatever it is to be elsewhere.
        let intent = if row.stage == Stage::Leaving.as_str() { Intent::Gone } else { intent };
        Ok(Self {
            instance: InstanceId(row.id),
            at: At { epoch: row.epoch, placement: row.placement, generation: row.generation },
            intent,
            restart_seq: row.restart_seq,
            restart_hard: row.restart_hard,
            freeze: Freeze::parse(&row.frozen).filter(|_| intent == Intent::Run),
            request_id: if row.asked_by.is_empty() { row.spec.request_id.clone() } else { row.asked_by },
            spec: (intent != Intent::Gone).then(|| Box::new(row.spec.0)),
        })
    }
}

/// Up to `limit` wishes for a host after `after`, by id: those that it has not acknowledged, or all.
pub async fn wanted(
    tx: &mut Tx,
    host: HostId,
    full: bool,
    after: Option<InstanceId>,
    limit: i64,
) -> Result<Vec<Wanted>, Error> {
    const PENDING: &str =
        "SELECT id, epoch, placement, generation, intent, stage, restart_seq, restart_hard, frozen, spec,
            asked_by
        FROM instance WHERE host = $1 AND host IS NOT NULL AND agent_generation < generation AND id > $2
        ORDER BY id LIMIT $3";
    const ALL: &str =
        "SELECT id, epoch, placement, generation, intent, stage, restart_seq, restart_hard, frozen, spec,
            asked_by
        FROM instance WHERE host = $1 AND id > $2 ORDER BY id LIMIT $3";
    let after = after.map_or(Uuid::nil(), InstanceId::uuid);
    let rows: Vec<Row> = tx.all(if full { ALL } else { PENDING }, args![host, after, limit]).await?;
    rows.into_iter().map(Wanted::try_from).collect()
}

/// What the cell believes that a host should run, for comparing digests.
pub async fn numbers(tx: &mut Tx, host: HostId) -> Result<Vec<(InstanceId, At)>, Error> {
    const SQL: &str = "SELECT id, epoch, placement, generation FROM instance
        WHERE host = $1 AND intent <> 'gone' AND stage <> 'leaving' ORDER BY id";
    let rows: Vec<(Uuid, i64, i64, i64)> = tx.all(SQL, args![host]).await?;
    Ok(rows
        .into_iter()
        .map(|(id, epoch, placement, generation)| (InstanceId(id), At { epoch, placement, generation }))
        .collect())
}
