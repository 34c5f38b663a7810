//! Processes that are killed in the middle of work, or stand still and come back.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::estate::{Chance, Engine, Plan};
use tests::{Estate, Signal, eventually, within};

/// How long one kill is waited for: the load of fifty boots takes some ten times as long.
const WITHIN: Duration = Duration::from_millis(1_200);
/// Until all is done after the last kill. The bar is 30 s, in which a dead worker's lease runs out too.
const TERMINAL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_boots_and_deletes_lose_and_leak_nothing() {
    let _alone = crate::alone().await;
    let plan = Plan { superconductors: 2, conductors: 2, hosts: 2, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    let mut chance = Chance::new();
    for kind in ["superconductor", "conductor", "agent"] {
        let alice = estate.user("alice");
        let ids = alice.boot_many(kind, 50).await;
        bounce_some(&mut estate, &mut chance, kind, 6).await;
        within(TERMINAL, async {
            let counts = alice.settle(&ids).await;
            let (active, error) = (count(&counts, "ACTIVE"), count(&counts, "ERROR"));
            assert_eq!(active + error, 50, "{kind}: {counts:?}");
            assert_eq!(estate.at_rest().await, active, "{kind}: a container for each that is ACTIVE");
        })
        .await;
        for id in &ids {
            alice.delete(id).await;
        }
        bounce_some(&mut estate, &mut chance, kind, 3).await;
        within(TERMINAL, estate.clear(&["alice"])).await;
    }
    estate.ready("").await;
    conductors_share_their_cell(&estate).await;
    one_conductor_of_each_cell_dies(&mut estate, &mut chance).await;
}

/// Both conductors of each cell place some of what comes.
async fn conductors_share_their_cell(estate: &Estate) {
    let alice = estate.user("alice");
    eventually(Duration::from_secs(120), "every conductor has placed some", async || {
        let ids = alice.boot_many("shared", 12).await;
        alice.settle(&ids).await;
        let mut idle = Vec::new();
        for name in estate.names("conductor-") {
            let placed = estate.metric(&name, "skep_placed_total").await?;
            if placed == 0.0 {
                idle.push(name);
            }
        }
        if idle.is_empty() { Ok(()) } else { Err(format!("{idle:?} have placed none")) }
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// The other one takes over what it had begun, and nothing waits until it comes back.
async fn one_conductor_of_each_cell_dies(estate: &mut Estate, chance: &mut Chance) {
    let alice = estate.user("alice");
    let mut dead = Vec::new();
    // While they are asked for: what is placed, what is being placed and what is yet to come.
    let deaths = async {
        for cell in 1..=estate.plan.cells {
            chance.moment(WITHIN / 3).await;
            let mut both = estate.names(&format!("conductor-cell{cell}"));
            assert_eq!(both.len(), 2, "{both:?}");
            let name = both.swap_remove(chance.below(2) as usize);
            estate.kill(&name);
            dead.push(name);
        }
    };
    let (ids, ()) = tokio::join!(alice.boot_many("half", 50), deaths);
    within(TERMINAL, async {
        let counts = alice.settle(&ids).await;
        assert_eq!(count(&counts, "ACTIVE"), 50, "{counts:?}");
        assert_eq!(estate.at_rest().await, 50);
    })
    .await;
    estate.clear(&["alice"]).await;
    for name in &dead {
        estate.run(name);
    }
    estate.ready("").await;
}

/// Kills and starts again processes of a kind, at moments that chance picks.
async fn bounce_some(estate: &mut Estate, chance: &mut Chance, kind: &str, times: usize) {
    let names = estate.names(kind);
    for _ in 0..times {
        chance.moment(WITHIN).await;
        let name = &names[chance.below(names.len() as u64) as usize];
        estate.bounce(name);
    }
}

fn count(counts: &std::collections::BTreeMap<String, usize>, status: &str) -> usize {
    counts.get(status).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn superconductors_may_all_die_or_stand_still() {
    let _alone = crate::alone().await;
    let plan = Plan { superconductors: 2, hosts: 1, slots: 400, engine: Engine::Scripted, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    all_die_with_a_hundred_boots_in_flight(&mut estate).await;
    one_stands_still_past_its_lease(&mut estate).await;
    one_stands_still_in_a_transaction(&mut estate).await;
}

/// Nothing is stuck: what they had begun is finished by those that come after.
async fn all_die_with_a_hundred_boots_in_flight(estate: &mut Estate) {
    let alice = estate.user("alice");
    hold_in_flight(estate).await;
    let ids = alice.boot_many("flight", 100).await;
    holder(estate).await;
    for name in estate.names("superconductor") {
        estate.kill(&name);
    }
    estate.signal("conductor", Signal::Cont);
    let counts = alice.statuses().await;
    assert_eq!(counts.len(), 100, "what was accepted is listed, whoever is dead");
    for name in estate.names("superconductor") {
        estate.run(&name);
    }
    within(TERMINAL, async {
        let counts = alice.settle(&ids).await;
        assert_eq!(count(&counts, "ACTIVE"), 100, "{counts:?}");
        estate.at_rest().await;
        pretended(estate, 100).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// It holds tasks and stands still; its lease runs out, and the other finishes them. When it goes on, what
/// it still wants to write is refused: nothing is doubled, nothing counted twice.
async fn one_stands_still_past_its_lease(estate: &mut Estate) {
    let alice = estate.user("alice");
    hold_in_flight(estate).await;
    let ids = alice.boot_many("still", 60).await;
    let name = holder(estate).await;
    estate.process(&name).signal(Signal::Stop);
    estate.signal("conductor", Signal::Cont);
    within(TERMINAL, async {
        let counts = alice.settle(&ids).await;
        assert_eq!(count(&counts, "ACTIVE"), 60, "{counts:?}");
        estate.at_rest().await;
    })
    .await;
    assert_eq!(registered(estate, &name), 0, "it was declared dead");
    for id in &ids[..20] {
        alice.delete(id).await;
    }
    estate.process(&name).signal(Signal::Cont);
    // It may lease these before it learns that it was declared dead.
    let late = alice.boot_many("late", 20).await;
    eventually(Duration::from_secs(60), "it begins anew", async || match registered(estate, &name) {
        1 => Ok(()),
        other => Err(format!("{other} are registered")),
    })
    .await;
    for id in &ids[..20] {
        alice.gone(id).await;
    }
    assert_eq!(count(&alice.settle(&late).await, "ACTIVE"), 20);
    estate.at_rest().await;
    pretended(estate, 60).await;
    estate.ready("superconductor").await;
    estate.clear(&["alice"]).await;
}

/// It stands still in the middle of a transaction, which keeps its rows locked.
async fn one_stands_still_in_a_transaction(estate: &mut Estate) {
    let alice = estate.user("alice");
    estate.kill("superconductor2");
    // What binding reads is locked for a while, so that a transaction which leases has to wait inside.
    let ids = alice.boot_many("wait", 1).await;
    alice.settle(&ids).await;
    let locking = Lock::of(estate.api_database().url(), "cell_load");
    let ids = alice.boot_many("locked", 20).await;
    let count_of = |state: &str| {
        estate.api_database().number(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'skep' AND query LIKE '%cell_load%' AND {state}"
        ))
    };
    eventually(Duration::from_secs(4), "it waits for the lock", async || {
        match count_of("wait_event_type = 'Lock'") {
            0 => Err("it does not wait".into()),
            _ => Ok(()),
        }
    })
    .await;
    estate.process("superconductor1").signal(Signal::Stop);
    drop(locking);
    estate.run("superconductor2");
    let counts = within(TERMINAL, alice.settle(&ids)).await;
    assert_eq!(count(&counts, "ACTIVE"), 20, "{counts:?}");
    estate.process("superconductor1").signal(Signal::Cont);
    estate.ready("superconductor").await;
    estate.at_rest().await;
    estate.clear(&["alice"]).await;
}

/// Lets the conductors stand still, so that whatever superconductors begin stays in flight. Before that every cell
/// has told of its hosts, without which nothing would be begun there.
async fn hold_in_flight(estate: &mut Estate) {
    for cell in 1..=3 {
        eventually(Duration::from_secs(60), "the cell tells of its hosts", async || {
            let told = "SELECT count(*) FROM summary WHERE (body ->> 'hosts')::int > 0";
            if estate.cell_database(cell).number(told) == 1 { Ok(()) } else { Err(format!("cell{cell}")) }
        })
        .await;
    }
    estate.signal("conductor", Signal::Stop);
}

/// How many living workers have this name.
fn registered(estate: &Estate, name: &str) -> i64 {
    estate.api_database().number(&format!("SELECT count(*) FROM worker WHERE name = '{name}'"))
}

/// Waits until tasks are held; returns the name of the superconductor that holds the most.
async fn holder(estate: &Estate) -> String {
    let sql = "SELECT w.name FROM task t JOIN worker w ON t.owner = w.id
        GROUP BY w.name ORDER BY count(*) DESC, w.name LIMIT 1";
    eventually(Duration::from_secs(60), "tasks are held", async || {
        let rows = estate.api_database().query(sql);
        rows.first().map(|row| row[0].clone()).ok_or_else(|| "none is".into())
    })
    .await
}

/// Waits until the agents say that so many containers run.
async fn pretended(estate: &Estate, wanted: usize) {
    eventually(Duration::from_secs(60), &format!("{wanted} containers run"), async || {
        let mut running = 0.0;
        for name in estate.names("agent-") {
            running += estate.metric(&name, "skep_agent_running").await?;
        }
        if running as usize == wanted { Ok(()) } else { Err(running.to_string()) }
    })
    .await;
}

/// A table that is locked until this is dropped, at most for a minute.
struct Lock {
    psql: Child,
    url: String,
}

impl Lock {
    fn of(url: &str, table: &str) -> Self {
        let sql = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)");
        Self { psql: psql(url, &sql), url: url.to_owned() }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A server does not notice that its client is gone before the statement ends.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'BEGIN; LOCK TABLE%'";
        let _ = psql(&self.url, end).wait();
        let _ = self.psql.wait();
    }
}

fn psql(url: &str, sql: &str) -> Child {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-c", sql, url]).stdout(Stdio::null()).stderr(Stdio::null());
    psql.spawn().expect("psql starts")
}
