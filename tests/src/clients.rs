//! The released OpenStack command-line client, as `deploy/setup.sh` installs it, driven by a test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::place::root;

/// The longest that one command may take, `--wait` included.
const COMMAND: Duration = Duration::from_secs(180);

/// A user at a terminal who types `openstack …`; the client is killed on drop.
#[derive(Debug)]
pub struct OpenStack {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    commands: usize,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i64,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl OpenStack {
    /// A client of the cloud `name` of the file `clouds` (a `clouds.yaml`).
    ///
    /// # Panics
    /// If the clients are not installed, or cannot be started.
    pub fn new(clouds: &Path, name: &str) -> Self {
        let mut command = python();
        // Isolated: no other file of clouds, no cache of tokens, nothing of the tester's own.
        let home = clouds.parent().unwrap_or(Path::new("/"));
        command.arg("-I").arg(root().join("tests/clients/openstack.py")).env_clear();
        command.env("HOME", home).env("OS_CLIENT_CONFIG_FILE", clouds).env("OS_CLOUD", name);
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("COLUMNS", "300").current_dir(home);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("cannot start the clients: {error}"));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("the clients have no pipes");
        };
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, input, answers, commands: 0 }
    }

    /// Runs a command, such as `server list --long`; quotes are a shell's. Any end is an end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn run(&mut self, line: &str) -> Said {
        let sent = writeln!(self.input, "{}", Value::from(line)).and_then(|()| self.input.flush());
        assert!(sent.is_ok(), "openstack {line}: the client is gone");
        let answer = self.answers.recv_timeout(COMMAND);
        let answer = answer.unwrap_or_else(|why| panic!("openstack {line}: not within {COMMAND:?}: {why}"));
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{answer}: {why}"));
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Said { code: answer["code"].as_i64().unwrap_or(-1), out: text("out"), err: text("err") }
    }

    /// How many commands were looked at.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Counts a command that the tester looked at.
    pub fn count(&mut self) {
        self.commands += 1;
    }

    /// What a command writes, which must succeed.
    ///
    /// # Panics
    /// If it fails, with all that it said.
    pub fn ok(&mut self, line: &str) -> String {
        let said = self.run(line);
        self.count();
        assert_eq!(said.code, 0, "openstack {line}\n{}{}", said.out, said.err);
        said.out
    }

    /// What a command writes as JSON, which must succeed.
    ///
    /// # Panics
    /// If it fails, with all that it said, or writes something else.
    pub fn json(&mut self, line: &str) -> Value {
        let out = self.ok(&format!("{line} -f json"));
        serde_json::from_str(&out).unwrap_or_else(|why| panic!("openstack {line}: {why}\n{out}"))
    }

    /// One column of a list, sorted.
    ///
    /// # Panics
    /// If the command fails or lists something without that column.
    pub fn column(&mut self, line: &str, column: &str) -> Vec<String> {
        let list = self.json(line);
        let rows = list.as_array().unwrap_or_else(|| panic!("openstack {line} is no list: {list}"));
        let text = |row: &Value| match &row[column] {
            Value::String(text) => text.clone(),
            Value::Null => panic!("openstack {line} has no column {column}: {row}"),
            other => other.to_string(),
        };
        let mut all: Vec<String> = rows.iter().map(text).collect();
        all.sort();
        all
    }

    /// What a command complains of, which must fail and say `why` among it.
    ///
    /// # Panics
    /// If it succeeds, or says something else.
    pub fn fails(&mut self, line: &str, why: &str) -> String {
        let said = self.run(line);
        self.count();
        assert_ne!(said.code, 0, "openstack {line} succeeds: {}", said.out);
        assert!(said.err.contains(why), "openstack {line}: no '{why}' in: {}{}", said.out, said.err);
        said.err
    }
}

impl Drop for OpenStack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script of the SDK (`tests/clients/sdk.py`) as the user `cloud` of the file `clouds`, with containers of
/// `image`.
///
/// # Panics
/// If it fails.
pub fn sdk(clouds: &Path, cloud: &str, image: &str) {
    let mut command = python();
    command.arg("-I").arg(root().join("tests/clients/sdk.py")).args([cloud, image]);
    command.env_clear().env("OS_CLIENT_CONFIG_FILE", clouds).env("HOME", clouds.parent().unwrap_or(clouds));
    command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    let ended = command.stdin(Stdio::null()).status();
    let ended = ended.unwrap_or_else(|error| panic!("cannot start the SDK's script: {error}"));
    assert!(ended.success(), "tests/clients/sdk.py: {ended}; see above");
}

/// Runs tempest (`tests/tempest/run.py`) as the administrator of the cloud `skep` of the file `clouds`, beside which
/// it writes, with containers of `image`; `only` is a file that chooses among its tests.
///
/// # Panics
/// If the outcome is not what `tests/tempest/excluded.txt` says.
pub fn tempest(clouds: &Path, image: &str, workers: usize, only: Option<&str>) {
    let scripts = root().join("tests/tempest");
    let mut command = python();
    command.arg(scripts.join("run.py")).arg("--clouds").arg(clouds).args(["--image", image]);
    command.arg("--work").arg(clouds.with_file_name("tempest"));
    command.arg("--concurrency").arg(workers.to_string());
    if let Some(only) = only {
        command.arg("--only").arg(scripts.join(only));
    }
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    let ended = command.stdin(Stdio::null()).status();
    let ended = ended.unwrap_or_else(|error| panic!("cannot start tempest: {error}"));
    assert!(ended.success(), "tempest says otherwise than tests/tempest/excluded.txt ({ended}); see above");
}

/// The Python that has the clients.
///
/// # Panics
/// If they are not installed.
fn python() -> Command {
    let python = folder().join("bin/python");
    assert!(python.exists(), "{} is missing: run deploy/setup.sh", python.display());
    Command::new(python)
}

/// Where `deploy/setup.sh` puts the clients: below Cargo's target folder.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/clients-0123456789abcdef lies three folders below target.
    test.ancestors().nth(3).unwrap_or(Path::new(".")).join("clients")
}
