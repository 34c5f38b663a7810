//! The limit of `show`: a server that reads one row by its primary key and writes it as JSON, with
//! nothing between axum and sqlx. It runs as a process of its own, as the subject does.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use tests::Process;
use uuid::Uuid;

use crate::http::Target;

/// The word by which this program knows that it is to be that server.
pub const ROLE: &str = "bare-server";
/// Connections to the database, as many as skep's own default for a cell.
const CONNECTIONS: u32 = 8;

const SELECT: &str = "SELECT id, name, project, spec, intent, stage, power, host, generation, created_at, \
                      updated_at, launched_at FROM instance WHERE id = $1";

/// Serves rows of the cell database at `url` until it is killed; writes its address to `file`.
pub fn serve(url: &str, file: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.test_before_acquire(false).connect(url).await?;
        let app = Router::new().route("/{id}", get(show)).with_state(Arc::new(pool));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let aside = format!("{file}.new");
        std::fs::write(&aside, listener.local_addr()?.to_string())?;
        std::fs::rename(&aside, file)?;
        axum::serve(listener, app).await?;
        Ok(())
    })
}

async fn show(
    State(pool): State<Arc<PgPool>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<Value>, StatusCode> {
    let row = sqlx::query(SELECT).bind(id).fetch_optional(&*pool).await;
    let row = row.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.ok_or(StatusCode::NOT_FOUND)?;
    body(&row).map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// A body of about the size of a server's.
fn body(row: &sqlx::postgres::PgRow) -> sqlx::Result<Value> {
    let spec: Value = row.try_get("spec")?;
    Ok(json!({
        "id": row.try_get::<Uuid, _>("id")?,
        "name": row.try_get::<String, _>("name")?,
        "project": row.try_get::<String, _>("project")?,
        "spec": spec,
        "intent": row.try_get::<String, _>("intent")?,
        "stage": row.try_get::<String, _>("stage")?,
        "power": row.try_get::<String, _>("power")?,
        "host": row.try_get::<Option<Uuid>, _>("host")?,
        "generation": row.try_get::<i64, _>("generation")?,
        "created": row.try_get::<i64, _>("created_at")?,
        "updated": row.try_get::<i64, _>("updated_at")?,
        "launched": row.try_get::<Option<i64>, _>("launched_at")?,
    }))
}

/// Starts the server as a process; its address lies in a file in `folder`.
pub async fn start(folder: &Path, url: &str) -> anyhow::Result<(Process, Target)> {
    let file = folder.join("bare.address");
    let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
    command.arg(ROLE).arg(url).arg(&file);
    let process = Process::spawn("bare", folder, command);
    let address = tests::eventually(Duration::from_secs(20), "the bare server listens", async || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    })
    .await;
    Ok((process, Target { address, headers: String::new() }))
}
