//! `dev`: how soon `skep dev` is ready, what it takes to do nothing, and how soon the first container runs.

use std::time::Duration;

use model::Env;

use crate::boots::{Wish, active, post};
use crate::cloud::{self, Dev};
use crate::cost::memory;
use crate::figures::{all, median_of, ms, show};
use crate::http::Connection;
use crate::options::Options;
use crate::table::{Table, line};

struct Run {
    ready: f64,
    memory: f64,
    /// Milliseconds of CPU a second while idle.
    idle: f64,
    first: f64,
}

/// Measures it with the scripted engine, and with Docker where that was started.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    line(&format!("the usual three cells and six hosts, SQLite, {} runs", options.runs));
    let docker = cloud::docker();
    let mut kinds = vec![("scripted", vec!["--engine", "scripted"])];
    match &docker {
        Some(url) => kinds.push(("Docker", vec!["--engine", "docker", "--engine-url", url.as_str()])),
        None => line("note: SKEP_TEST_DOCKER is not set, so Docker is left out"),
    }
    let mut table =
        Table::new(&["engine", "ready ms", "idle MB", "idle CPU ms a second", "first ACTIVE ms after ready"]);
    let mut details = Vec::new();
    for (engine, arguments) in kinds {
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(once(options, &arguments).await?);
        }
        let figures = [
            median_of(&runs, |run| run.ready),
            median_of(&runs, |run| run.memory),
            median_of(&runs, |run| run.idle),
            median_of(&runs, |run| run.first),
        ];
        table.row([engine.to_owned()].into_iter().chain(figures.map(show)));
        let (ready, first) = (all(&runs, |run| run.ready), all(&runs, |run| run.first));
        details.push(format!("{engine}: ready ms {ready}; first ACTIVE ms {first}"));
    }
    table.print();
    details.iter().for_each(|text| line(text));
    Ok(())
}

async fn once(options: &Options, arguments: &[&str]) -> anyhow::Result<Run> {
    let env = Env::system();
    // The first container at once, as somebody at a desk would ask for it.
    let dev = Dev::start(arguments).await?;
    let mut client = Connection::new(&dev.target);
    let start = env.monotonic();
    let id = post(&mut client, &Wish::web(), "first").await?;
    active(&mut client, &id, Duration::from_millis(5)).await?;
    let (ready, first) = (dev.ready_ms, ms(env.monotonic() - start));
    dev.end();
    // What it takes to do nothing, with nothing in it.
    let dev = Dev::start(arguments).await?;
    let seconds = options.pick(10, 2) as u64;
    let before = dev.meter().read();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let idle = (dev.meter().read() - before).skep / seconds as f64;
    let memory = memory(dev.process.pid());
    dev.end();
    Ok(Run { ready, memory, idle, first })
}
