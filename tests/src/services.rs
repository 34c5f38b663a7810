//! The services that `deploy/services.sh` runs: shared ones, told by the environment, and private ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::place::{environment, root, unique};

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// PostgreSQL.
    Postgres,
    /// RabbitMQ.
    Rabbit,
    /// Docker Engine.
    Docker,
}

impl Part {
    /// What `services.sh` calls it.
    fn word(self) -> &'static str {
        match self {
            Part::Postgres => "pg",
            Part::Rabbit => "rabbit",
            Part::Docker => "docker",
        }
    }
}

/// A set of services in one folder; a private one is stopped and removed on drop.
#[derive(Debug)]
pub struct Services {
    folder: PathBuf,
    env: HashMap<String, String>,
    private: bool,
}

impl Services {
    /// Those that serve the whole run. Do not hurt them.
    ///
    /// # Panics
    /// If they were not started.
    pub fn shared() -> Self {
        let Some(folder) = environment("SKEP_TEST_SERVICES") else {
            panic!(
                "SKEP_TEST_SERVICES is not set. Run the suite with deploy/test.sh; or start the services \
                 (deploy/services.sh up DIR) and load their addresses (set -a; . DIR/env)"
            );
        };
        Self::read(PathBuf::from(folder), false)
    }

    /// Starts own ones, for a story that stops, kills or freezes them. RabbitMQ takes about 7 s to start,
    /// PostgreSQL 1 s.
    ///
    /// # Panics
    /// If they do not start.
    pub fn private(parts: &[Part]) -> Self {
        let folder = std::env::temp_dir().join(unique("skep"));
        let mut arguments = vec!["0"];
        arguments.extend(parts.iter().map(|part| part.word()));
        if let Err(error) = run(&folder, "up", &arguments) {
            let _ = run(&folder, "down", &[]);
            panic!("{error}");
        }
        Self::read(folder, true)
    }

    fn read(folder: PathBuf, private: bool) -> Self {
        let file = folder.join("env");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}: run deploy/services.sh up {}", file.display(), folder.display())
        });
        let env = text.lines().filter_map(|line| line.split_once('='));
        Self { folder, env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(), private }
    }

    fn address(&self, name: &str) -> String {
        match self.env.get(name) {
            Some(value) => value.clone(),
            None => panic!("{} has no {name}: that service was not started", self.folder.display()),
        }
    }

    /// Whether it has this part.
    pub fn has(&self, part: Part) -> bool {
        let name = match part {
            Part::Postgres => "SKEP_TEST_PG",
            Part::Rabbit => "SKEP_TEST_AMQP",
            Part::Docker => "SKEP_TEST_DOCKER",
        };
        self.env.contains_key(name)
    }

    /// Its PostgreSQL.
    pub fn postgres(&self) -> Postgres {
        Postgres { folder: self.folder.clone(), url: self.address("SKEP_TEST_PG") }
    }

    /// Its RabbitMQ.
    pub fn rabbit(&self) -> Rabbit {
        Rabbit { folder: self.folder.clone(), url: self.address("SKEP_TEST_AMQP") }
    }

    /// Its Docker Engine.
    pub fn docker(&self) -> Docker {
        Docker { url: self.address("SKEP_TEST_DOCKER") }
    }

    /// Starts what was stopped or killed, and waits until it answers.
    pub fn start(&self, part: Part) {
        self.act("start", part);
    }

    /// Stops it in an orderly way.
    pub fn stop(&self, part: Part) {
        self.act("stop", part);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self, part: Part) {
        self.act("kill", part);
    }

    /// Stops and starts it.
    pub fn restart(&self, part: Part) {
        self.act("restart", part);
    }

    /// Lets it stand still: it accepts connections and answers nothing.
    pub fn freeze(&self, part: Part) {
        self.act("freeze", part);
    }

    /// Lets it go on.
    pub fn thaw(&self, part: Part) {
        self.act("thaw", part);
    }

    /// Raises or ends RabbitMQ's memory alarm: while it lasts, whoever publishes is blocked.
    pub fn alarm(&self, on: bool) {
        self.is_own();
        must(&self.folder, "alarm", &[if on { "on" } else { "off" }]);
    }

    fn act(&self, verb: &str, part: Part) {
        self.is_own();
        must(&self.folder, &format!("{verb}-{}", part.word()), &[]);
    }

    fn is_own(&self) {
        assert!(self.private, "other stories use these services: hurt only what Services::private started");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if self.private
            && let Err(error) = run(&self.folder, "down", &[])
        {
            eprintln!("{error}");
        }
    }
}

/// The PostgreSQL of this run.
///
/// # Panics
/// If it was not started.
pub fn postgres() -> Postgres {
    Services::shared().postgres()
}

/// The RabbitMQ of this run.
///
/// # Panics
/// If it was not started.
pub fn rabbit() -> Rabbit {
    Services::shared().rabbit()
}

/// The Docker Engine of this run.
///
/// # Panics
/// If it was not started.
pub fn docker() -> Docker {
    Services::shared().docker()
}

/// A PostgreSQL server.
#[derive(Clone, Debug)]
pub struct Postgres {
    folder: PathBuf,
    url: String,
}

impl Postgres {
    /// Its URL, `postgres://…`, without a database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates an empty database (UTF-8, C collation) whose name starts with `hint`.
    pub fn database(&self, hint: &str) -> Database {
        let name = unique(hint);
        must(&self.folder, "database", &[&name]);
        Database { folder: self.folder.clone(), url: format!("{}/{name}", self.url), name }
    }
}

/// A database of one test, dropped with it.
#[derive(Debug)]
pub struct Database {
    folder: PathBuf,
    url: String,
    name: String,
}

impl Database {
    /// Its URL, `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL as a superuser and returns rows of columns as text; NULL is empty.
    ///
    /// # Panics
    /// If the database refuses it or does not answer within a minute.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let text = must(&self.folder, "query", &[&self.name, sql]);
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// The one number that a query such as `SELECT count(*) …` returns.
    ///
    /// # Panics
    /// If it is not one row of one number.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = self.query(sql);
        match rows.as_slice() {
            [row] if row.len() == 1 => {
                row[0].parse().unwrap_or_else(|_| panic!("{sql}: '{}' is no number", row[0]))
            }
            _ => panic!("{sql}: wanted one row of one column, got {rows:?}"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // With a private server gone or frozen there is nothing to drop.
        let _ = run(&self.folder, "drop-database", &[&self.name]);
    }
}

/// A RabbitMQ server.
#[derive(Clone, Debug)]
pub struct Rabbit {
    folder: PathBuf,
    url: String,
}

impl Rabbit {
    /// Switches its management API on, until this is dropped. It takes some seconds.
    pub fn management(&self) -> Management {
        let url = must(&self.folder, "management", &["on"]).trim().to_owned();
        Management { folder: self.folder.clone(), url }
    }

    /// Creates a vhost whose name starts with `hint`.
    pub fn vhost(&self, hint: &str) -> Vhost {
        let [vhost] = self.vhosts([hint]);
        vhost
    }

    /// Creates several vhosts in one go; each call costs about a second.
    pub fn vhosts<const N: usize>(&self, hints: [&str; N]) -> [Vhost; N] {
        let vhosts = self.vhosts_of(&hints);
        vhosts.try_into().unwrap_or_else(|_| panic!("as many vhosts as hints"))
    }

    /// The same for a number of hints that is known at run time.
    pub fn vhosts_of(&self, hints: &[impl AsRef<str>]) -> Vec<Vhost> {
        let names: Vec<String> = hints.iter().map(|hint| unique(hint.as_ref())).collect();
        must(&self.folder, "vhost", &names.iter().map(String::as_str).collect::<Vec<_>>());
        let vhost = |name| Vhost { folder: self.folder.clone(), url: format!("{}/{name}", self.url), name };
        names.into_iter().map(vhost).collect()
    }
}

/// RabbitMQ's management API while this lives.
#[derive(Debug)]
pub struct Management {
    folder: PathBuf,
    url: String,
}

impl Management {
    /// Its URL, with an administrator's credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same without credentials.
    pub fn place(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        let _ = run(&self.folder, "management", &["off"]);
    }
}

/// A vhost of one test. It stays until the server stops.
#[derive(Debug)]
pub struct Vhost {
    folder: PathBuf,
    url: String,
    name: String,
}

impl Vhost {
    /// Its URL, `amqp://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a user of a fresh name and password who may use it; its URL for that user.
    pub fn user(&self, hint: &str) -> String {
        let (name, password) = (unique(hint), unique("p"));
        must(&self.folder, "user", &[&name, &password, &self.name]);
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("amqp", &self.url));
        let (_, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        format!("{scheme}://{name}:{password}@{place}")
    }

    /// The same, who may configure, write and read only what these regular expressions name.
    pub fn limited_user(&self, hint: &str, [configure, write, read]: [&str; 3]) -> String {
        let url = self.user(hint);
        let name = url.split("://").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        must(&self.folder, "permit", &[name, &self.name, configure, write, read]);
        url
    }

    /// Gives the user that a URL names the password that it names. Connections that are there stay.
    ///
    /// # Panics
    /// If it names none, or if the broker has no such user.
    pub fn change_password(&self, url: &str) {
        let credentials =
            url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(who, _)| who);
        let Some((name, password)) = credentials.and_then(|who| who.split_once(':')) else {
            panic!("the URL names no user and password")
        };
        must(&self.folder, "password", &[name, password]);
    }

    /// The users of its connections, one for each connection.
    pub fn connections(&self) -> Vec<String> {
        let text = must(&self.folder, "connections", &[&self.name]);
        text.lines().map(str::to_owned).collect()
    }

    /// Empties all its queues of what waits in them.
    pub fn purge(&self) {
        must(&self.folder, "purge", &[&self.name]);
    }

    /// Deletes these and makes them anew: no queue, no exchange, no connection is left.
    pub fn empty(vhosts: &[Vhost]) {
        let Some(first) = vhosts.first() else { return };
        let names: Vec<&str> = vhosts.iter().map(|vhost| vhost.name.as_str()).collect();
        must(&first.folder, "empty-vhost", &names);
    }

    /// Its queues: name, messages, consumers.
    pub fn queues(&self) -> Vec<(String, u64, u64)> {
        let text = must(&self.folder, "queues", &[&self.name]);
        let row = |line: &str| {
            let mut columns = line.split('\t');
            let name = columns.next().unwrap_or_default().to_owned();
            let mut number = || columns.next().and_then(|text| text.parse().ok()).unwrap_or_default();
            (name, number(), number())
        };
        text.lines().filter(|line| !line.is_empty()).map(row).collect()
    }
}

/// A Docker Engine.
#[derive(Clone, Debug)]
pub struct Docker {
    url: String,
}

impl Docker {
    /// Its URL, `unix://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs the `docker` command line and returns what it printed.
    ///
    /// # Panics
    /// If the command fails or takes longer than a minute.
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where a failure is an answer.
    ///
    /// # Errors
    /// What the command said, if it failed or took longer than a minute.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        self.try_cli_within(60, arguments)
    }

    /// The same with so many seconds for it.
    ///
    /// # Errors
    /// What the command said, if it failed or took longer.
    pub fn try_cli_within(&self, seconds: u32, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("timeout");
        command.arg(seconds.to_string()).args(["docker", "-H", &self.url]).args(arguments);
        finish(command)
    }

    /// The ids of all containers, running or not, that carry a label (`name` or `name=value`).
    pub fn labelled(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        self.cli(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
    }
}

fn must(folder: &Path, verb: &str, arguments: &[&str]) -> String {
    run(folder, verb, arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// Calls `deploy/services.sh VERB FOLDER ARGUMENTS…`; all of its waits have deadlines.
fn run(folder: &Path, verb: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(root().join("deploy/services.sh"));
    command.arg(verb).arg(folder).args(arguments);
    finish(command)
}

/// Runs a command to its end. Its outputs go to files, because a server that it starts would keep a pipe open.
fn finish(mut command: Command) -> Result<String, String> {
    let folder = crate::place::Folder::new("skep-command");
    let (out, err) = (folder.join("out"), folder.join("err"));
    let open =
        |path: &Path| std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    command.stdin(Stdio::null()).stdout(open(&out)?).stderr(open(&err)?);
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let done =
        if status.success() { Ok(read(&out)) } else { Err(format!("{command:?}: {status}\n{}", read(&err))) };
    folder.remove();
    done
}
