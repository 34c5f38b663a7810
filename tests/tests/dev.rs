//! Stories against `skep dev`, a whole cloud in one process.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use tests::estate::{User, id, server};
use tests::{Docker, Folder, Process, docker, eventually, skep};

const DRAIN: Duration = Duration::from_secs(60);

/// A development cloud; what it leaves when it is killed goes with it.
struct Dev {
    process: Process,
    dir: PathBuf,
    arguments: Vec<String>,
    logs: Folder,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let logs = Folder::new("dev");
        let dir = logs.join("cloud");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let process = Self::spawn(&logs, &dir, &arguments);
        Self { process, dir, arguments, logs }
    }

    fn spawn(logs: &Folder, dir: &Path, arguments: &[String]) -> Process {
        let mut command = Command::new(skep());
        command.args(["dev", "--listen", "127.0.0.1:0", "--dir"]).arg(dir).args(arguments).env_clear();
        Process::spawn("dev", logs.path(), command)
    }

    /// Starts it again over what it left.
    fn again(&mut self) {
        self.process = Self::spawn(&self.logs, &self.dir, &self.arguments);
    }

    /// Waits until it says for the `time`th time that it is ready; gives its user.
    async fn ready(&mut self, time: usize) -> User {
        eventually(Duration::from_secs(60), "the cloud is ready", async || match self.process.ended() {
            Some(status) => panic!("it ended ({status}):\n{}", self.process.log()),
            None if self.process.log().matches("Ctrl-C ends it.").count() == time => Ok(()),
            None => Err(self.process.tail(2)),
        })
        .await;
        let text = std::fs::read_to_string(self.dir.join("skep.env")).expect("is written");
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.trim_start_matches("export ").strip_prefix(name));
            found.unwrap_or_else(|| panic!("it names no {name}")).trim_matches(['=', '\'', '"']).to_owned()
        };
        User::new(&value("SKEP_ENDPOINT"), &value("SKEP_TOKEN"))
    }

    /// Runs a drill.
    fn cell(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(skep());
        command.args(["dev", "cell"]).args(arguments).arg("--dir").arg(&self.dir).env_clear();
        command.output().expect("skep starts")
    }
}

/// How many servers are listed with a status.
async fn count(user: &User, status: &str) -> usize {
    user.statuses().await.values().filter(|found| *found == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pretended_cloud_shows_cells_that_go_dark() {
    let mut dev = Dev::start(&["--engine", "scripted", "--regions", "1", "--cells", "3", "--hosts", "2"]);
    let user = dev.ready(1).await;
    assert!(dev.process.log().contains("NO CONTAINER WILL RUN"), "{}", dev.process.log());
    let ids = user.boot_many("web", 30).await;
    let counts = user.settle(&ids).await;
    assert_eq!(counts.get("ACTIVE"), Some(&30), "{counts:?}");
    for drill in [&["down", "cell2"][..], &["down", "cell2", "--hang"]] {
        // What no list knows to be made is BUILD while its cell is dark.
        user.indexed().await;
        let done = dev.cell(drill);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // Others go on, also what is asked for before anybody has noticed.
        let late = user.boot_many("late", 6).await;
        for id in &late {
            user.reaches(id, "ACTIVE").await;
        }
        eventually(Duration::from_secs(60), "the cell is dark", async || {
            match count(&user, "UNKNOWN").await {
                0 => Err("no server is UNKNOWN".into()),
                dark => Ok(dark),
            }
        })
        .await;
        assert_eq!(user.statuses().await.len(), 36, "nothing vanishes from a list");
        for id in &late {
            user.delete(id).await;
            user.gone(id).await;
        }
        assert!(dev.cell(&["up", "cell2"]).status.success());
        eventually(Duration::from_secs(60), "the cell is light", async || {
            match count(&user, "ACTIVE").await {
                30 => Ok(()),
                other => Err(format!("{other} are ACTIVE")),
            }
        })
        .await;
    }
    assert!(!dev.cell(&["down", "cell9"]).status.success(), "there is no such cell");
    let status = dev.process.terminate(DRAIN);
    assert!(status.success(), "{status}: {}", dev.process.tail(20));
    assert!(!dev.dir.exists(), "it removes what it made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_killed_resumes_with_its_containers() {
    let docker = docker();
    // A host has four vCPU at least, however many there are.
    let mut dev =
        Dev::start(&["--engine", "docker", "--engine-url", docker.url(), "--cells", "3", "--hosts", "6"]);
    let user = dev.ready(1).await;
    let ids = user.boot_many("web", 6).await;
    let mut published = Vec::new();
    for id in &ids {
        let place = User::published(&user.reaches(id, "ACTIVE").await);
        place.answers().await;
        published.push(place);
    }
    let container = |id: &str| docker.labelled(&format!("skep.instance={id}"));
    let before: Vec<Vec<String>> = ids.iter().map(|id| container(id)).collect();
    // In the middle of further boots.
    let more = user.boot_many("more", 50).await;
    let building = count(&user, "BUILD").await;
    dev.process.kill();
    assert!(building > 25, "there is nothing left to resume: {building}");
    for place in &published {
        assert!(place.is_answered().await, "containers run on without it");
    }
    dev.again();
    let user = dev.ready(2).await;
    let counts = user.settle(&[ids.clone(), more].concat()).await;
    assert_eq!(counts.get("ACTIVE"), Some(&56), "{counts:?}");
    for (id, place) in ids.iter().zip(&published) {
        assert_eq!(&User::published(&user.reaches(id, "ACTIVE").await), place, "its port stays");
        place.answers().await;
    }
    let after: Vec<Vec<String>> = ids.iter().map(|id| container(id)).collect();
    assert_eq!(after, before, "containers were adopted, not made anew");
    let all: Vec<String> = user.list().await.iter().map(id).collect();
    assert_eq!(all.len(), 56);
    for id in &all {
        assert_eq!(container(id).len(), 1, "one container of {id}");
    }
    user.create(server("last")).await.expect(202);
    let status = dev.process.terminate(DRAIN);
    assert!(status.success(), "{status}: {}", dev.process.tail(20));
    let left: Vec<Vec<String>> =
        all.iter().map(|id| container(id)).filter(|found| !found.is_empty()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!dev.dir.exists(), "it removes what it made");
}

/// Of an engine that is not there, and of one that takes connections and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_a_cloud_pretends_and_says_so() {
    let sockets = Folder::new("sockets");
    let (gone, refusing, silent) = (sockets.join("gone"), sockets.join("refusing"), sockets.join("silent"));
    drop(UnixListener::bind(&refusing).expect("binds"));
    let _silent = UnixListener::bind(&silent).expect("binds");
    for (socket, why) in
        [(&gone, "there is no engine at"), (&refusing, "cannot reach the engine at"), (&silent, "within 10s")]
    {
        let url = format!("unix://{}", socket.display());
        let mut dev = Dev::start(&["--engine", "auto", "--engine-url", &url, "--cells", "1", "--hosts", "1"]);
        let user = dev.ready(1).await;
        let log = dev.process.log();
        let told = log.lines().find(|line| line.starts_with("engine: ")).expect("an engine is told of");
        assert!(told.contains("SCRIPTED: NO CONTAINER WILL RUN"), "{told}");
        assert!(told.contains(why) && told.contains(&url), "{told}");
        let id = user.boot(server("pretended")).await;
        user.reaches(&id, "ACTIVE").await;
        let status = dev.process.terminate(DRAIN);
        assert!(status.success(), "{status}: {}", dev.process.tail(20));

        // Who asks for Docker gets Docker or nothing.
        let mut dev = Dev::start(&["--engine", "docker", "--engine-url", &url]);
        assert_eq!(dev.process.wait(DRAIN).code(), Some(1), "{}", dev.process.log());
        assert!(dev.process.log().contains("--engine scripted to go without"), "{}", dev.process.log());
    }
}

/// The one container of a server: its id, and when its process was started.
fn process_of(docker: &Docker, server: &str) -> (String, String) {
    let mut found = docker.labelled(&format!("skep.instance={server}"));
    assert_eq!(found.len(), 1, "one container of {server}");
    let started = docker.cli(&["inspect", "--format", "{{.State.StartedAt}}", &found[0]]);
    (found.remove(0), started)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_kept_adopts_its_containers() {
    let docker = docker();
    let url = docker.url();
    let mut dev =
        Dev::start(&["--keep", "--engine", "docker", "--engine-url", url, "--cells", "2", "--hosts", "1"]);
    let user = dev.ready(1).await;
    let ids = user.boot_many("web", 4).await;
    for id in &ids {
        User::published(&user.reaches(id, "ACTIVE").await).answers().await;
    }
    let (busy, stopped) = (&ids[0], &ids[1]);
    let published = User::published(&user.reaches(busy, "ACTIVE").await);
    user.act(busy, json!({"os-stop": null})).await.expect(202);
    user.reaches(busy, "SHUTOFF").await;
    assert!(!published.is_answered().await, "a stopped server answers nothing");
    let steps =
        [json!({"os-start": null}), json!({"reboot": {"type": "SOFT"}}), json!({"reboot": {"type": "HARD"}})];
    for step in steps {
        let before = process_of(&docker, busy);
        user.act(busy, step.clone()).await.expect(202);
        User::published(&user.reaches(busy, "ACTIVE").await).answers().await;
        let after = process_of(&docker, busy);
        assert_eq!(after.0, before.0, "{step}: the container stays");
        assert_ne!(after.1, before.1, "{step}: its process is a new one");
    }
    user.act(stopped, json!({"os-stop": null})).await.expect(202);
    user.reaches(stopped, "SHUTOFF").await;

    let mut published = Vec::new();
    for id in ids.iter().filter(|id| *id != stopped) {
        published.push((id.clone(), User::published(&user.reaches(id, "ACTIVE").await)));
    }
    let before: Vec<_> = ids.iter().map(|id| process_of(&docker, id)).collect();
    let status = dev.process.terminate(DRAIN);
    assert!(status.success(), "{status}: {}", dev.process.tail(20));
    assert!(dev.process.log().contains("start again to resume"), "{}", dev.process.tail(20));
    for (_, place) in &published {
        assert!(place.is_answered().await, "containers run on without it");
    }

    // Without it this time, so that it removes what it made.
    dev.arguments.retain(|argument| argument != "--keep");
    dev.again();
    let user = dev.ready(2).await;
    user.reaches(stopped, "SHUTOFF").await;
    for (id, place) in &published {
        assert_eq!(&User::published(&user.reaches(id, "ACTIVE").await), place, "its port stays");
        place.answers().await;
    }
    let after: Vec<_> = ids.iter().map(|id| process_of(&docker, id)).collect();
    assert_eq!(after, before, "containers were adopted: neither made anew nor started again");
    user.act(stopped, json!({"os-start": null})).await.expect(202);
    User::published(&user.reaches(stopped, "ACTIVE").await).answers().await;
    let status = dev.process.terminate(DRAIN);
    assert!(status.success(), "{status}: {}", dev.process.tail(20));
    for id in &ids {
        assert!(docker.labelled(&format!("skep.instance={id}")).is_empty(), "a container of {id} is left");
    }
    assert!(!dev.dir.exists(), "it removes what it made");
}
