//! What the stories of `skep-manage` stand on: databases on one engine, a configuration, commands, and rows
//! written as a cell's own roles write them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use cell_db::claims::{self, Claim};
use cell_db::hosts::Registration;
use cell_db::instances::New;
use model::flavor::Resources;
use model::testing::spec;
use model::{CellId, Env, HostId, InstanceId};
use sql::{Settings, Work};
use tests::{Database, Folder, postgres, skep, unique};

/// A password that no output may show.
pub const CANARY: &str = "canary7f3e";

/// The databases and commands of one story.
pub struct Bed {
    pub engine: &'static str,
    pub env: Env,
    pub folder: Folder,
    pub api: String,
    databases: Vec<Database>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

/// One bed for each engine, with a migrated API database.
pub async fn beds() -> Vec<Bed> {
    let mut beds = Vec::new();
    for engine in ["sqlite", "postgres"] {
        let (env, folder) = (Env::system(), Folder::new("manage"));
        let mut bed = Bed { engine, env, folder, api: String::new(), databases: Vec::new() };
        bed.api = bed.database("api");
        bed.write_config("");
        std::os::unix::fs::symlink(skep(), bed.folder.join("skep-manage")).expect("is linked");
        assert_eq!(bed.manage("api_db sync").code, 0);
        beds.push(bed);
    }
    beds
}

impl Bed {
    /// The URL of a new, empty database, with the canary as password where there is one.
    pub fn database(&mut self, hint: &str) -> String {
        if self.engine == "sqlite" {
            return format!("sqlite:{}", self.folder.join(format!("{}.db", unique(hint))).display());
        }
        let database = postgres().database(hint);
        let url = database.url().replacen("postgres@", &format!("postgres:{CANARY}@"), 1);
        assert!(url.contains(CANARY), "{url}");
        self.databases.push(database);
        url
    }

    /// Runs SQL as a superuser, where there are users.
    pub fn query(&self, sql: &str) {
        if let Some(database) = self.databases.first() {
            database.query(sql);
        }
    }

    /// A broker's URL that nobody answers at.
    pub fn broker(&self) -> String {
        format!("amqp://u:{CANARY}@127.0.0.1:9/{}", unique("v"))
    }

    /// Writes the configuration: the API database, and `more`.
    pub fn write_config(&self, more: &str) {
        let text = format!("[api_database]\nurl = '{}'\n{more}", self.api);
        std::fs::write(self.folder.join("api.toml"), text).expect("is written");
    }

    /// The configuration's path.
    pub fn config(&self) -> String {
        self.folder.join("api.toml").display().to_string()
    }

    /// Runs `skep-manage` with the words of a line.
    pub fn manage(&self, line: &str) -> Ended {
        let mut command = Command::new("timeout");
        command.arg("60").arg(self.folder.join("skep-manage")).args(["--config-file", &self.config()]);
        command.args(line.split_whitespace());
        self.finish(command, line)
    }

    /// Runs `skep` with the words of a line, straight on the databases.
    pub fn direct(&self, line: &str) -> Ended {
        let mut command = Command::new("timeout");
        command.arg("60").arg(skep()).args(line.split_whitespace()).args(["--config", &self.config()]);
        self.finish(command, line)
    }

    /// `skep` with the words of a line and one more, not run yet.
    pub fn command(&self, line: &str, more: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg("60").arg(skep()).args(line.split_whitespace()).arg(more);
        command
    }

    /// Runs any command and looks that no secret is in what it says, unless it was asked for.
    pub fn finish(&self, mut command: Command, line: &str) -> Ended {
        #[expect(clippy::disallowed_methods, reason = "the time that a command takes is measured")]
        let start = Instant::now();
        command.env_clear().env("USER", "ann").env("PATH", "/usr/bin:/bin");
        let Output { status, stdout, stderr } = command.output().expect("runs");
        let took = start.elapsed();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (out, err) = (text(stdout), text(stderr));
        let code = status.code().expect("was not killed");
        assert!(!err.contains("panicked"), "{line}: {err}");
        let asked = ["list_cells --verbose", "--show-secrets"].iter().any(|asked| line.contains(asked));
        let shown = [&out, &err].iter().any(|text| text.contains(CANARY));
        assert!(asked || !shown, "{} {line}: shows a secret:\n{out}{err}", self.engine);
        Ended { code, out, err, took }
    }

    /// Maps a new cell and makes its schema; gives the URL of its database.
    pub async fn cell(&mut self, name: &str) -> String {
        let url = self.database(name);
        self.migrate(&url).await;
        self.map(name, &url);
        url
    }

    /// Maps a cell whose database need not answer.
    pub fn map(&self, name: &str, url: &str) {
        let broker = self.broker();
        let made = self.manage(&format!(
            "cell_v2 create_cell --name {name} --database_connection {url} --transport-url {broker}"
        ));
        assert_eq!((made.code, made.out.as_str(), made.err.as_str()), (0, "", ""), "{name}");
    }

    pub async fn migrate(&self, url: &str) {
        let db = self.open(url);
        cell_db::SCHEMA.migrate(&db, &self.env).await.expect("migrates");
        db.close().await;
    }

    fn open(&self, url: &str) -> cell_db::Db {
        cell_db::Db::open(&Settings::new(url)).expect("opens")
    }

    /// Registers a host as its agent would; `silent` ones have not been heard of for long.
    pub async fn host(&self, url: &str, name: &str, silent: bool) -> HostId {
        let id = self.env.id();
        self.register(url, id, name, silent).await;
        id
    }

    pub async fn register(&self, url: &str, id: HostId, name: &str, silent: bool) {
        let db = self.open(url);
        let host = Registration {
            id,
            name: name.into(),
            zone: "z".into(),
            engine: name.into(),
            address: "127.0.0.1".into(),
            capacity: Resources { vcpus_milli: 9_000, memory_mib: 6_400, slots: 9 },
            boot: id.uuid(),
            session: id.uuid(),
            version: "0".into(),
            healthy: true,
        };
        let now = self.env.now();
        let written = db.write(move |tx| -> Work<'_, ()> {
            let host = host.clone();
            Box::pin(async move {
                cell_db::hosts::register(tx, &host, now).await?;
                if silent {
                    cell_db::hosts::mark_silent(tx, host.id, 1).await?;
                }
                Ok(())
            })
        });
        written.await.expect("registers");
        db.close().await;
    }

    /// Puts an instance into a cell, on a host if there is one, with or without a mapping above.
    pub async fn instance(&self, url: &str, host: Option<HostId>) -> InstanceId {
        let id: InstanceId = self.env.id();
        let now = self.env.now();
        let db = self.open(url);
        let written = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let new = New {
                    id,
                    epoch: 1,
                    saga_token: 1,
                    spec: spec(),
                    asked_by: "req-1".into(),
                    bucket: 7,
                    created: now,
                };
                cell_db::instances::insert(tx, &[new], now).await?;
                let waiting = claims::waiting(tx, 0, 100).await?.into_iter().find(|found| found.id == id);
                if let (Some(host), Some(instance)) = (host, waiting) {
                    let claim = Claim { instance, host, engine: "e".into() };
                    assert_eq!(claims::claim(tx, &[claim], now).await?.won.len(), 1);
                }
                Ok(())
            })
        });
        written.await.expect("is inserted");
        db.close().await;
        id
    }

    /// Makes an instance a tombstone in its cell, or removes every trace of it.
    pub async fn end(&self, url: &str, id: InstanceId, trace: bool) {
        let db = self.open(url);
        let written = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                const END: &str = "UPDATE instance SET stage = 'tombstone', host = NULL WHERE id = $1";
                const PURGE: &str = "DELETE FROM instance WHERE id = $1";
                tx.exec("DELETE FROM allocation WHERE instance = $1", sql::args![id]).await?;
                tx.exec(if trace { END } else { PURGE }, sql::args![id]).await.map(drop)
            })
        });
        written.await.expect("is ended");
        db.close().await;
    }

    /// Runs one statement in the API database.
    pub async fn above(&self, statement: &'static str, args: sql::Args) -> u64 {
        exec(api_db::Db::open(&Settings::new(&self.api)).expect("opens"), statement, args).await
    }

    /// Runs one statement in a cell's database.
    pub async fn below(&self, url: &str, statement: &'static str, args: sql::Args) -> u64 {
        exec(self.open(url), statement, args).await
    }

    /// One number from a cell's database.
    pub async fn below_number(&self, url: &str, statement: &'static str) -> i64 {
        let db = self.open(url);
        let read = db.read(move |tx| -> Work<'_, Option<(i64,)>> {
            Box::pin(async move { tx.opt(statement, vec![]).await })
        });
        let found = read.await.expect("is read").expect("one row").0;
        db.close().await;
        found
    }

    /// One number from the API database.
    pub async fn number(&self, statement: &'static str) -> i64 {
        let db = api_db::Db::open(&Settings::new(&self.api)).expect("opens");
        let read = db.read(move |tx| -> Work<'_, Option<(i64,)>> {
            Box::pin(async move { tx.opt(statement, vec![]).await })
        });
        let found = read.await.expect("is read").expect("one row").0;
        db.close().await;
        found
    }

    /// The mapping of a cell as it is stored.
    pub async fn mapping(&self, name: &str) -> model::Cell {
        let db = api_db::Db::open(&Settings::new(&self.api)).expect("opens");
        let read = db.read(|tx| -> Work<'_, Vec<model::Cell>> { Box::pin(api_db::cells::all(tx)) });
        let found = read.await.expect("is read").into_iter().find(|cell| cell.name == name);
        db.close().await;
        found.unwrap_or_else(|| panic!("{name} is not mapped"))
    }

    /// The mapping of an instance without a cell, as boot leaves it.
    pub async fn unbound(&self) -> InstanceId {
        let id: InstanceId = self.env.id();
        let db = api_db::Db::open(&Settings::new(&self.api)).expect("opens");
        let now = self.env.now();
        let written = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move { api_db::mappings::create(tx, id, &spec(), now).await })
        });
        written.await.expect("is written");
        db.close().await;
        id
    }

    /// Binds an instance to a cell.
    pub async fn bind(&self, id: InstanceId, cell: CellId) {
        const SQL: &str = "UPDATE instance_mapping SET cell = $2, epoch = 1 WHERE id = $1";
        assert_eq!(self.above(SQL, sql::args![id, cell]).await, 1);
    }
}

/// Runs one statement and closes the database.
async fn exec<D: 'static>(db: sql::Db<D>, statement: &'static str, args: sql::Args) -> u64 {
    let written = db.write(move |tx| -> Work<'_, u64> {
        let args = args.clone();
        Box::pin(async move { tx.exec(statement, args).await })
    });
    let changed = written.await.expect("is written");
    db.close().await;
    changed
}
