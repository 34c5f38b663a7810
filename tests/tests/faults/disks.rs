//! Disks that are full: under SQLite, and under an agent's journal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::estate::{Plan, User, server};
use tests::{Estate, Folder, Process, eventually, skep, within};

use crate::{SHOWS, all_active};

/// Until all is done after there is room again (case 25: 10 s, for a tenth of the instances).
const ROOM: Duration = Duration::from_secs(40);

/// A small disk of its own, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    /// Puts one of so many MiB in place of a folder, with what the folder holds.
    fn over(folder: &Path, mib: u32) -> Self {
        let aside = Folder::new("aside");
        run("cp", &["-a", &format!("{}/.", folder.display()), &aside.path().display().to_string()]);
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", &folder.display().to_string()]);
        let disk = Self(folder.to_owned());
        run("cp", &["-a", &format!("{}/.", aside.path().display()), &folder.display().to_string()]);
        disk
    }

    /// Fills it to its last byte.
    fn fill(&self) {
        let fill = format!("of={}", self.0.join("fill").display());
        // It ends because the disk is full.
        let full = Command::new("dd").args(["if=/dev/zero", &fill, "bs=4096"]).output().expect("dd starts");
        assert!(!full.status.success(), "the disk cannot be filled");
    }

    /// Makes room again.
    fn free(&self) {
        std::fs::remove_file(self.0.join("fill")).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has files open there is killed by its owner soon.
        if let Err(error) = Command::new("umount").arg("-l").arg(&self.0).status() {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().expect("starts");
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The agent takes nothing that it cannot write down, and what it has written down is still there.
#[tokio::test(flavor = "multi_thread")]
async fn an_agents_disk_may_be_full() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 1, ..Plan::default() }).await;
    let alice = estate.user("alice");
    let agent = "agent-cell1-h1";
    estate.kill(agent);
    let disk = Disk::over(&estate.path("cell1-h1"), 16);
    estate.run(agent);
    estate.ready("").await;
    let old = alice.boot_many("old", 4).await;
    all_active(&estate, &old, 4).await;
    disk.fill();
    let ids = alice.boot_many("full", 40).await;
    for id in &old[..2] {
        alice.delete(id).await;
    }
    let before = crate::failures(&estate, agent).await;
    crate::felt(&estate, agent, before).await;
    // Neither does it forget anything when it dies now.
    estate.bounce(agent);
    disk.free();
    within(ROOM, async {
        estate.ready("").await;
        for id in &old[..2] {
            alice.gone(id).await;
        }
        all_active(&estate, &[&old[2..], &ids[..]].concat(), 42).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// A development cloud on SQLite: no promise is given that cannot be stored, reads go on, and with room
/// again everything does.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_under_sqlite_may_be_full() {
    let _alone = crate::alone().await;
    let logs = Folder::new("full");
    let dir = logs.join("cloud");
    std::fs::create_dir_all(&dir).expect("a folder");
    let disk = Disk::over(&dir, 48);
    let mut command = Command::new(skep());
    command.args(["dev", "--listen", "127.0.0.1:0", "--engine", "scripted", "--regions", "1"]);
    command.args(["--cells", "2", "--hosts", "1", "--dir"]).arg(&dir).env_clear();
    let mut process = Process::spawn("dev", logs.path(), command);
    let user = ready(&mut process, &dir).await;
    let old = user.boot_many("old", 6).await;
    let counts = user.settle(&old).await;
    assert_eq!(counts.get("ACTIVE"), Some(&6), "{counts:?}");
    disk.fill();
    let mut accepted = Vec::new();
    let refused = eventually(SHOWS, "a create is refused", async || {
        let reply = user.create(server("full")).await;
        match reply.status.as_u16() {
            202 => {
                accepted.push(tests::estate::id(&reply.body["server"]));
                Err("it was accepted".into())
            }
            503 | 507 => Ok(reply),
            status => panic!("{status}: {}", reply.body),
        }
    })
    .await;
    assert!(refused.body.to_string().contains("message"), "it says why: {}", refused.body);
    for id in &old {
        assert_eq!(user.show(id).await.expect("is shown")["status"], "ACTIVE", "reads go on");
    }
    assert!(process.ended().is_none(), "{}", process.tail(20));
    disk.free();
    let new = eventually(SHOWS, "a create is accepted again", async || {
        let reply = user.create(server("free")).await;
        match reply.status.as_u16() {
            202 => Ok(tests::estate::id(&reply.body["server"])),
            status => Err(format!("{status}: {}", reply.body)),
        }
    })
    .await;
    accepted.push(new);
    let counts = within(ROOM, user.settle(&accepted)).await;
    assert_eq!(counts.get("ACTIVE"), Some(&accepted.len()), "{counts:?}");
    for id in old.iter().chain(&accepted) {
        user.delete(id).await;
    }
    for id in old.iter().chain(&accepted) {
        user.gone(id).await;
    }
    let books = tests::check::Books::open(&format!("sqlite:{}", dir.join("api.db").display())).await;
    eventually(Duration::from_secs(60), "nothing is violated", async || {
        let bad = books.check(None).await.0;
        if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
    })
    .await;
}

async fn ready(process: &mut Process, dir: &Path) -> User {
    eventually(SHOWS, "the cloud is ready", async || match process.ended() {
        Some(status) => panic!("it ended ({status}):\n{}", process.log()),
        None if process.log().contains("Ctrl-C ends it.") => Ok(()),
        None => Err(process.tail(2)),
    })
    .await;
    let text = std::fs::read_to_string(dir.join("skep.env")).expect("is written");
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.trim_start_matches("export ").strip_prefix(name));
        found.unwrap_or_else(|| panic!("it names no {name}")).trim_matches(['=', '\'', '"']).to_owned()
    };
    User::new(&value("SKEP_ENDPOINT"), &value("SKEP_TOKEN"))
}
