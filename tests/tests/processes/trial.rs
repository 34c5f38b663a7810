//! The script that an operator tries a cloud of separate processes with.

use std::process::Command;
use std::time::Duration;

use model::Env;
use tests::estate::{User, server};
use tests::{Process, Signal, eventually, free_port, root, skep, unique};

/// The longest that it may take to take everything down.
const DRAIN: Duration = Duration::from_secs(60);

/// The script, which takes down what it started only if it is asked to end.
struct Script(Process);

impl Drop for Script {
    fn drop(&mut self) {
        self.0.signal(Signal::Term);
        let env = Env::system();
        let start = env.monotonic();
        while self.0.ended().is_none() && env.monotonic() - start < DRAIN {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_to_try_comes_up_and_leaves_nothing() {
    let _alone = crate::alone().await;
    let logs = tests::Folder::new("try-log");
    let dir = std::env::temp_dir().join(unique("try"));
    let mut command = Command::new(root().join("deploy/try.sh"));
    command.arg(&dir).arg(free_port().to_string()).env("SKEP", skep());
    let mut script = Script(Process::spawn("try", logs.path(), command));
    let script = &mut script.0;
    eventually(Duration::from_secs(90), "the cloud is ready", async || match script.ended() {
        Some(status) => panic!("it ended ({status}):\n{}", script.log()),
        None if script.log().contains("Ctrl-C ends it.") => Ok(()),
        None => Err(script.tail(1)),
    })
    .await;
    let told = script.log();
    let word = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("it tells no {name}: {told}")).trim().to_owned()
    };
    let user = User::new(&word("endpoint"), &word("token"));
    let ids = user.boot_many("try", 4).await;
    for id in &ids {
        User::published(&user.reaches(id, "ACTIVE").await).answers().await;
    }
    let status = user.get("/admin/v1/status").await.expect("is told");
    assert_eq!(status["totals"]["hosts_ready"], 4, "{status}");
    // A conductor that is killed is told of, and the other cell takes what comes.
    let pid = std::fs::read_to_string(dir.join("cell1.pid")).expect("is there");
    let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    eventually(Duration::from_secs(60), "it is told of", async || {
        if script.log().contains("cell1 has ended") { Ok(()) } else { Err(script.tail(1)) }
    })
    .await;
    assert_eq!(user.create(server("later")).await.status.as_u16(), 202);
    let status = script.terminate(DRAIN);
    assert_eq!(status.code(), Some(143), "{}", script.log());
    assert!(!dir.exists(), "{} is left", dir.display());
}
