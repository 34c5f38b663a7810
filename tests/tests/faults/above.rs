//! The API level is away while a cell goes on.

use std::process::Command;
use std::time::Duration;

use model::Env;
use serde_json::json;
use tests::estate::{Plan, User, server};
use tests::{Estate, Signal, eventually, within};

use crate::SHOWS;

/// How long the API level is away (case 33).
const AWAY: Duration = Duration::from_secs(30);
/// Until a container runs again by its policy (case 33: 5 s).
const RESTARTED: Duration = Duration::from_secs(10);
/// Until all is told after the API level is back.
const TOLD: Duration = Duration::from_secs(30);

/// No API, no superconductor: a container dies and is started again by its host, the cell learns of it, and
/// what was accepted before is finished by the cell; afterwards all of it is told.
#[tokio::test(flavor = "multi_thread")]
async fn cells_go_on_without_the_api_level() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 2, ..Plan::default() }).await;
    let alice = estate.user("alice");
    let mut wish = server("phoenix");
    wish["skep"]["restart"] = json!("always");
    let id = alice.boot(wish).await;
    alice.reaches(&id, "ACTIVE").await;
    let placed = |estate: &Estate| -> i64 {
        (1..=2).map(|n| estate.cell_database(n).number("SELECT count(*) FROM instance")).sum()
    };
    // These have come to their cells, and no further.
    estate.signal("conductor", Signal::Stop);
    let others = alice.boot_many("other", 4).await;
    eventually(SHOWS, "they are in their cells", async || match placed(&estate) {
        5 => Ok(()),
        some => Err(format!("{some} of 5 are")),
    })
    .await;
    let env = Env::system();
    let since = env.monotonic();
    for name in ["api1", "superconductor1"] {
        estate.kill(name);
    }
    estate.signal("conductor", Signal::Cont);
    let process = |container: &str| {
        estate.docker().cli(&["inspect", "--format", "{{.State.Pid}}", container]).trim().to_owned()
    };
    let container = estate.docker().labelled(&format!("skep.instance={id}")).remove(0);
    let pid = process(&container);
    let killed = Command::new("kill").args(["-KILL", &pid]).status();
    assert!(killed.is_ok_and(|status| status.success()), "the container's process is killed");
    eventually(RESTARTED, "the container runs again", async || match process(&container) {
        now if now == pid || now == "0" => Err(format!("its process is {now}")),
        _ => Ok(()),
    })
    .await;
    let settled =
        "SELECT count(*) FROM instance WHERE stage = 'settled' AND power = 'running' AND task IS NULL";
    eventually(SHOWS, "the cells have finished what was accepted", async || {
        match (1..=2).map(|n| estate.cell_database(n).number(settled)).sum::<i64>() {
            5 => Ok(()),
            some => Err(format!("{some} of 5 run")),
        }
    })
    .await;
    // The length of the fault, not a wait for anything.
    tokio::time::sleep(AWAY.saturating_sub(env.monotonic() - since)).await;
    for name in ["api1", "superconductor1"] {
        estate.run(name);
    }
    within(TOLD, async {
        estate.ready("").await;
        let server = alice.restarted(&id, 1, SHOWS).await;
        assert_eq!(server["status"], "ACTIVE");
        User::published(&server).answers().await;
        crate::all_active(&estate, &others, 5).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}
