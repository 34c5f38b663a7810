//! `boot`: boots to ACTIVE beside durable commits on the same database, and what they cost.

use std::time::Duration;

use crate::boots::{Boots, all_at_once, clear, one_after_another};
use crate::cloud::{self, Dev};
use crate::commits::Commits;
use crate::cost::{Cpu, Meter};
use crate::figures::{all, median_of, show};
use crate::http::Target;
use crate::options::Options;
use crate::table::{Table, line};

/// How long bare commits are counted in each run.
const COMMITS: Duration = Duration::from_secs(2);

/// Measures both kinds of cloud.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    if options.on != "dev" {
        let (estate, target, meter) = cloud::processes(cloud::two_cells()).await?;
        let database = tests::postgres().database("bare");
        let commits = Commits::postgres(database.url(), most(options)).await?;
        let place = "separate processes, PostgreSQL + RabbitMQ, 2 cells x 2 hosts";
        Bench { options, place, target, meter, commits }.run().await?;
        drop(estate);
    }
    if options.on != "processes" {
        let dev =
            Dev::start(&["--engine", "scripted", "--regions", "1", "--cells", "2", "--hosts", "2"]).await?;
        let commits = Commits::sqlite(&dev.folder.join("bare.db")).await?;
        let place = "skep dev, SQLite + in-process bus, 2 cells x 2 hosts";
        let (target, meter) = (dev.target.clone(), dev.meter());
        Bench { options, place, target, meter, commits }.run().await?;
        dev.end();
    }
    Ok(())
}

fn most(options: &Options) -> usize {
    options.clients.iter().copied().max().unwrap_or(1)
}

struct Bench<'a> {
    options: &'a Options,
    place: &'a str,
    target: Target,
    meter: Meter,
    commits: Commits,
}

/// One run: the limit, then the subject.
struct Run {
    commits: f64,
    boots: Boots,
    gone: f64,
    /// Milliseconds of CPU for one create and delete.
    each: Cpu,
}

impl Bench<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        line(&format!("\n{}, {} runs", self.place, self.options.runs));
        let room = cloud::room(&self.target).await?;
        if room < self.options.count {
            line(&format!("note: only {room} instances fit, so runs are that short"));
        }
        self.idle().await;
        let mut table = Table::new(&[
            "clients",
            "boots",
            "how",
            "boots/s",
            "p50 ms",
            "p95 ms",
            "commits/s",
            "commits a boot",
            "deletes/s",
            "skep ms",
            "database ms",
            "broker ms",
        ]);
        let mut details = Vec::new();
        for &clients in &self.options.clients {
            for burst in [false, true] {
                let usual = if clients == 1 { self.options.count / 10 } else { self.options.count };
                let count = usual.min(room * 9 / 10).max(1);
                // One unmeasured run fills caches and opens connections.
                self.once(clients, count.min(50), burst).await?;
                let mut runs = Vec::new();
                for _ in 0..self.options.runs {
                    runs.push(self.once(clients, count, burst).await?);
                }
                let how = if burst { "back to back" } else { "one each" };
                let middle = |figure: &dyn Fn(&Run) -> f64| median_of(&runs, figure);
                let (rate, commits) = (middle(&|run| run.boots.rate), middle(&|run| run.commits));
                table.row(
                    [clients.to_string(), count.to_string(), how.to_owned(), show(rate)].into_iter().chain(
                        [
                            middle(&|run| run.boots.p50),
                            middle(&|run| run.boots.p95),
                            commits,
                            middle(&|run| run.commits / run.boots.rate),
                            middle(&|run| run.gone),
                            middle(&|run| run.each.skep),
                            middle(&|run| run.each.database),
                            middle(&|run| run.each.broker),
                        ]
                        .map(show),
                    ),
                );
                let (rates, bare) = (all(&runs, |run| run.boots.rate), all(&runs, |run| run.commits));
                details.push(format!("{clients} clients, {how}: boots/s {rates}; commits/s {bare}"));
            }
        }
        table.print();
        line("'commits a boot': bare durable commits that this database does in the time of one boot.");
        line("ms: CPU of all processes for one create and delete, the looks at them included.");
        details.iter().for_each(|text| line(text));
        Ok(())
    }

    async fn once(&self, clients: usize, count: usize, burst: bool) -> anyhow::Result<Run> {
        let commits = self.commits.rate(clients, COMMITS).await?;
        let before = self.meter.read();
        let boots = match burst {
            true => all_at_once(&self.target, clients, count).await?,
            false => one_after_another(&self.target, clients, count).await?,
        };
        let gone = clear(&self.target, clients, boots.ids.clone()).await?;
        let used = self.meter.read() - before;
        let per = |used: f64| used / count as f64;
        let each = Cpu { skep: per(used.skep), database: per(used.database), broker: per(used.broker) };
        Ok(Run { commits, boots, gone, each })
    }

    /// What it costs to do nothing.
    async fn idle(&self) {
        let seconds = if self.options.quick { 2 } else { 10 };
        let before = self.meter.read();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let used = self.meter.read() - before;
        let per = |used: f64| show(used / seconds as f64);
        line(&format!(
            "idle: {} ms of CPU a second in skep, {} in the database, {} in the broker",
            per(used.skep),
            per(used.database),
            per(used.broker)
        ));
    }
}
