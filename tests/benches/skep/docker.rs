//! `docker`: boots with real containers beside the engine's own create and start of the same container.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::Env;
use serde_json::Value;
use tests::estate::{Engine as Kind, Plan};
use tokio::task::JoinSet;

use crate::boots::{Wish, active, delete, gone, image, post};
use crate::cloud::processes;
use crate::engine::Engine;
use crate::figures::{all, median, ms, percent, percentile, show};
use crate::http::{Connection, Target};
use crate::options::Options;
use crate::table::{Table, line};

/// How often one instance is looked at.
const LOOK: Duration = Duration::from_millis(3);
/// When parallel clients look for the first time at what they boot, and at what they delete: sooner than either is
/// done, so that looks take nothing from the cores that cannot show anything.
const UP: Duration = Duration::from_millis(300);
const AWAY: Duration = Duration::from_millis(100);
/// How many boots at a time in the second part.
const PARALLEL: usize = 4;

/// Measures it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let plan = Plan { cells: 1, hosts: 1, slots: 100, engine: Kind::Docker, ..Plan::default() };
    let (estate, target, _) = processes(plan).await?;
    let url = estate.docker().url().to_owned();
    let mut engine = Engine::connect(&url).await?;
    let mut client = Connection::new(&target);
    let first = post(&mut client, &Wish::web(), "first").await?;
    active(&mut client, &first, LOOK).await?;
    let recipe = Arc::new(engine.recipe(&format!("skep.instance={first}")).await?);
    line("separate processes, PostgreSQL + RabbitMQ, 1 cell x 1 host, Docker");
    singly(options, &mut client, &mut engine, &recipe).await?;
    together(options, &target, &url, &recipe).await?;
    delete(&mut client, &first).await?;
    gone(&mut client, &first, LOOK).await?;
    drop(estate);
    Ok(())
}

async fn singly(
    options: &Options,
    client: &mut Connection,
    engine: &mut Engine,
    recipe: &Value,
) -> anyhow::Result<()> {
    let env = Env::system();
    let client_sends = Wish::of_client(&image(client, "skep/web:1").await?);
    let (mut bare, mut boots, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..options.pick(30, 4) {
        let start = env.monotonic();
        let id = engine.run(recipe).await?;
        bare.push(ms(env.monotonic() - start));
        engine.remove(&id).await?;
        for (wish, times) in [(&Wish::web(), &mut boots), (&client_sends, &mut sent)] {
            let start = env.monotonic();
            let id = post(client, wish, &format!("single{n}")).await?;
            active(client, &id, LOOK).await?;
            times.push(ms(env.monotonic() - start));
            delete(client, &id).await?;
            gone(client, &id, LOOK).await?;
        }
    }
    let mut table = Table::new(&["one at a time", "n", "p50 ms", "p95 ms", "p50 more ms"]);
    let more = |times: &[f64]| show(median(times) - median(&bare));
    for (what, times, more) in [
        ("engine's create + start", &bare, "-".to_owned()),
        ("boot to ACTIVE", &boots, more(&boots)),
        ("as the client sends it", &sent, more(&sent)),
    ] {
        let figures = [percentile(times, 0.5), percentile(times, 0.95)].map(show);
        table.row([what.to_owned(), times.len().to_string()].into_iter().chain(figures).chain([more]));
    }
    table.print();
    Ok(())
}

async fn together(options: &Options, target: &Target, url: &str, recipe: &Arc<Value>) -> anyhow::Result<()> {
    let count = options.pick(40, 8);
    let (mut bare, mut skep) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        bare.push(bare_cycles(url, recipe, count).await?);
        skep.push(cycles(target, count, options.pause).await?);
    }
    let mut table = Table::new(&["4 in parallel", "cycles/s", "of the bare"]);
    for (what, rates) in [("engine's create + start + remove", &bare), ("boot + delete, until gone", &skep)] {
        table.row([what.to_owned(), show(median(rates)), percent(median(rates), median(&bare))]);
    }
    table.print();
    line(&format!("cycles/s: bare {}; skep {}", all(&bare, |rate| *rate), all(&skep, |rate| *rate)));
    Ok(())
}

async fn bare_cycles(url: &str, recipe: &Arc<Value>, count: usize) -> anyhow::Result<f64> {
    let env = Env::system();
    let (start, mut all, next) = (env.monotonic(), JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..PARALLEL {
        let (recipe, next, mut engine) = (recipe.clone(), next.clone(), Engine::connect(url).await?);
        all.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let id = engine.run(&recipe).await?;
                engine.remove(&id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(count as f64 / (env.monotonic() - start).as_secs_f64())
}

async fn cycles(target: &Target, count: usize, pause: usize) -> anyhow::Result<f64> {
    let env = Env::system();
    let (start, mut all, next) = (env.monotonic(), JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for client in 0..PARALLEL {
        let (next, mut connection) = (next.clone(), Connection::new(target));
        all.spawn(async move {
            let look = Duration::from_millis(pause as u64);
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let id = post(&mut connection, &Wish::web(), &format!("parallel{client}")).await?;
                tokio::time::sleep(UP).await;
                active(&mut connection, &id, look).await?;
                delete(&mut connection, &id).await?;
                tokio::time::sleep(AWAY).await;
                gone(&mut connection, &id, look).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(count as f64 / (env.monotonic() - start).as_secs_f64())
}
