//! Rows by the ten thousand, put straight into the API database and into the databases of cells, as if they
//! had been booted.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use cell_db::Db as CellDb;
use model::instance::Power;
use model::sync::Observed;
use model::{Cell, CellId, CellState, ContainerSpec, Env, Flavor, RequestSpec, Timestamp};
use sql::{Settings, Work};
use tests::{Database, Folder, Postgres, Process, free_port};
use uuid::Uuid;

use crate::http::Target;

/// The caller's token and project.
const TOKEN: &str = "token-of-a-reader-of-lists";
const PROJECT: &str = "bench";
/// Rows written by one statement.
const CHUNK: usize = 20_000;

/// An api process over cells that hold rows and have no conductors.
pub struct Stock {
    _process: Process,
    /// Its API.
    pub target: Target,
    /// The API database.
    pub api: Database,
    /// The cells' databases, with the ids of the cells.
    pub cells: Vec<(CellId, Database)>,
    _cell0: Database,
    _folder: Folder,
}

impl Stock {
    /// Fills `rows` rows evenly into `cells` cells on the services of the run – the first of them on
    /// `apart`, if given – and starts the api.
    pub async fn fill(rows: usize, cells: usize, apart: Option<&Postgres>) -> anyhow::Result<Self> {
        let (env, folder, shared) = (Env::system(), Folder::new("stock"), tests::postgres());
        let (api, cell0) = (shared.database("api"), shared.database("cell0"));
        let db = sql::Db::open(&Settings::new(api.url()))?;
        api_db::SCHEMA.migrate(&db, &env).await?;
        let mut made: Vec<(CellId, Database)> = Vec::new();
        for n in 0..cells {
            let server = apart.filter(|_| n == 0).unwrap_or(&shared);
            made.push((env.id(), server.database(&format!("cell{}", n + 1))));
        }
        map(&env, &db, "cell0", CellId::ZERO, &cell0).await?;
        for (n, (id, database)) in made.iter().enumerate() {
            map(&env, &db, &format!("cell{}", n + 1), *id, database).await?;
        }
        db.close().await;
        fill_api(&api, rows, &made)?;
        for (n, (_, database)) in made.iter().enumerate() {
            fill_cell(database, rows, made.len(), n, env.uuid())?;
        }
        let (process, target) = serve(&folder, &api).await?;
        Ok(Self { _process: process, target, api, cells: made, _cell0: cell0, _folder: folder })
    }
}

async fn map(env: &Env, db: &api_db::Db, name: &str, id: CellId, database: &Database) -> anyhow::Result<()> {
    let own: CellDb = sql::Db::open(&Settings::new(database.url()))?;
    cell_db::SCHEMA.migrate(&own, env).await?;
    own.close().await;
    let cell = Cell {
        id,
        name: name.into(),
        region: "here".into(),
        database_url: database.url().into(),
        transport_url: format!("local:{name}"),
        second_database_url: String::new(),
        second_transport_url: String::new(),
        state: CellState::Active,
        version: 1,
    };
    let now = env.now();
    db.write(move |tx| -> Work<'_, bool> {
        let cell = cell.clone();
        Box::pin(async move { api_db::cells::create(tx, &cell, now).await })
    })
    .await?;
    Ok(())
}

/// The id of the nth row, as SQL.
const ID: &str = "md5('row' || n)::uuid";
/// Its request spec: `SPEC` with its name.
const NAMED: &str = "jsonb_set($spec$SPEC$spec$::jsonb, '{name}', to_jsonb('web-' || n))";

fn spec() -> anyhow::Result<String> {
    let flavor =
        Flavor { id: "1".into(), name: "c1.tiny".into(), vcpus: 1, memory_mib: 64, disk_gib: 1, pids: 128 };
    let spec = RequestSpec {
        name: String::new(),
        project: PROJECT.into(),
        user: "reader".into(),
        request_id: "req-00000000-0000-4000-8000-000000000000".into(),
        region: String::new(),
        zone: None,
        image: "skep/web:1".parse()?,
        flavor,
        container: ContainerSpec::default(),
        metadata: [("role".to_owned(), "web".to_owned())].into(),
        description: None,
        deadline: Timestamp(i64::MAX),
        extra: Default::default(),
    };
    Ok(NAMED.replace("SPEC", &serde_json::to_string(&spec)?))
}

fn fill_api(api: &Database, rows: usize, cells: &[(CellId, Database)]) -> anyhow::Result<()> {
    let ids: Vec<String> = cells.iter().map(|(id, _)| format!("'{id}'::uuid")).collect();
    let cell = format!("(ARRAY[{}])[1 + n % {}]", ids.join(","), ids.len());
    let spec = spec()?;
    for from in (0..rows).step_by(CHUNK) {
        let to = (from + CHUNK).min(rows) - 1;
        let series = format!("FROM generate_series({from}, {to}) n");
        api.query(&format!(
            "INSERT INTO instance_mapping
                (id, project, user_id, cell, epoch, saga_token, state, created_at)
             SELECT {ID}, '{PROJECT}', 'reader', {cell}, 1, 1, 'live', 1000000 + n {series};
             INSERT INTO request_spec (instance, spec) SELECT {ID}, {spec} {series};
             INSERT INTO instance_index (instance, project, user_id, region, created_at, name, deleted,
                epoch, version, status, updated_at)
             SELECT {ID}, '{PROJECT}', 'reader', '', 1000000 + n, 'web-' || n, false, 1, 3, 'ACTIVE',
                2000000 + n {series}"
        ));
    }
    api.query("VACUUM ANALYZE");
    Ok(())
}

/// Fills what falls to the `nth` of so many cells, on one host of each.
fn fill_cell(cell: &Database, rows: usize, cells: usize, nth: usize, host: Uuid) -> anyhow::Result<()> {
    let observed = Observed {
        container: "0123456789abcdef".repeat(4),
        address: "10.0.0.5".into(),
        mac: "02:42:0a:00:00:05".into(),
        ..Observed::default()
    };
    let (observed, spec) = (serde_json::to_string(&observed)?, spec()?);
    let power = Power::Running.as_str();
    cell.query(&format!(
        "INSERT INTO host (id, name, zone, engine, address, enabled, healthy, session, boot, version, beat,
            silent, seen_at, cap_vcpus_milli, cap_memory_mib, cap_slots, used_vcpus_milli, used_memory_mib,
            used_slots, shrunk)
         VALUES ('{host}', 'h{nth}', 'nova', 'e', '127.0.0.1', true, true, '{host}', '{host}', '0', 1, false,
            0, 0, 0, 0, 0, 0, 0, true)"
    ));
    let count = (rows + cells - 1 - nth) / cells;
    for from in (0..count).step_by(CHUNK) {
        let to = (from + CHUNK).min(count) - 1;
        cell.query(&format!(
            "INSERT INTO instance (id, epoch, placement, generation, saga_token, op_token, version, project,
                name, spec, intent, stage, task, power, host, bucket, tries, avoid, restart_seq, restart_hard,
                restart_done, agent_generation, obs_seq, observed, created_at, updated_at, launched_at)
             SELECT {ID}, 1, 1, 1, 1, 0, 3, '{PROJECT}', 'web-' || n, {spec}, 'run', 'settled', NULL,
                '{power}', '{host}', 0, 0, '[]', 0, false, 0, 1, 1, '{observed}', 1000000 + n, 2000000 + n,
                2000000 + n
             FROM (SELECT {nth} + {cells} * k AS n FROM generate_series({from}, {to}) k) numbers"
        ));
    }
    cell.query("VACUUM ANALYZE");
    Ok(())
}

async fn serve(folder: &Folder, api: &Database) -> anyhow::Result<(Process, Target)> {
    let (port, health) = (free_port(), free_port());
    let text = format!(
        "[api]\nlisten = '127.0.0.1:{port}'\n[health]\nlisten = '127.0.0.1:{health}'\n\
         [[api.tokens]]\ntoken = '{TOKEN}'\nuser = 'reader'\nproject = '{PROJECT}'\nroles = ['member']\n\
         [api_database]\nurl = '{}'\n[router]\nconnections = 4\n",
        api.url()
    );
    let file = folder.join("api.toml");
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    let mut command = Command::new(tests::skep());
    command.arg("api").arg("--config").arg(&file).env_clear();
    let process = Process::spawn("api", Path::new(folder.path()), command);
    let target = Target::api(format!("127.0.0.1:{port}"), TOKEN);
    let client = tests::Client::new(format!("http://127.0.0.1:{health}")).deadline(Duration::from_secs(3));
    tests::eventually(Duration::from_secs(60), "the api is ready", async || {
        match client.get("/readyz").await {
            Ok(reply) if reply.status.is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    Ok((process, target))
}
