//! `show`: GET of one server over 64 connections beside a bare server over the same rows, and lists.

use std::sync::Arc;
use std::time::Duration;

use tests::Folder;
use tests::estate::Plan;

use crate::bare;
use crate::boots::all_at_once;
use crate::cloud::{processes, two_cells};
use crate::cost::Meter;
use crate::figures::{all, median_of, percent, show};
use crate::http::{Storm, Target, storm};
use crate::options::Options;
use crate::table::{Table, line};

const CONNECTIONS: usize = 64;
/// Instances that are shown and listed.
const INSTANCES: usize = 1_000;

/// Measures it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let plan = Plan { cells: 1, hosts: 1, ..two_cells() };
    let (estate, target, meter) = processes(plan).await?;
    let boots = all_at_once(&target, 16, options.pick(INSTANCES, 100)).await?;
    let folder = Folder::new("bare");
    let (server, bare) = bare::start(folder.path(), estate.cell_database(1).url()).await?;
    let own = Meter { skep: vec![server.pid()], ..meter.clone() };
    let paths = |before: &str| Arc::new(boots.ids.iter().map(|id| format!("{before}{id}")).collect());
    let length = Duration::from_secs(options.pick(4, 1) as u64);

    line(&format!(
        "one api process, {} rows of one cell, PostgreSQL, {} runs",
        boots.ids.len(),
        options.runs
    ));
    let mut table = Table::new(&[
        "what",
        "connections",
        "answers/s",
        "p50 ms",
        "p99 ms",
        "bytes",
        "CPU us",
        "of the bare",
    ]);
    let mut details = Vec::new();
    for connections in [1, CONNECTIONS] {
        let limit = Side { what: "bare GET", target: &bare, paths: paths("/"), meter: &own };
        let subject = Side { what: "show", target: &target, paths: paths("/v2.1/servers/"), meter: &meter };
        for side in [&limit, &subject] {
            side.once(connections, Duration::from_secs(1)).await?;
        }
        let (mut bares, mut shows) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            bares.push(limit.once(connections, length).await?);
            shows.push(subject.once(connections, length).await?);
        }
        let best = median_of(&bares, |run| run.storm.rate);
        for (side, runs) in [(&limit, &bares), (&subject, &shows)] {
            row(&mut table, side.what, connections, runs, best);
            let rates = all(runs, |run| run.storm.rate);
            details.push(format!("{}, {connections} connections: answers/s {rates}", side.what));
        }
    }
    for path in ["/v2.1/servers?limit=50", "/v2.1/servers/detail?limit=50"] {
        let paths = Arc::new(vec![path.to_owned()]);
        let side = Side { what: path, target: &target, paths, meter: &meter };
        for connections in [1, 16] {
            let mut runs = Vec::new();
            for _ in 0..options.runs {
                runs.push(side.once(connections, length).await?);
            }
            row(&mut table, path, connections, &runs, f64::NAN);
        }
    }
    table.print();
    line("'CPU us': of the server and of the database for one answer.");
    details.iter().for_each(|text| line(text));
    drop(server);
    drop(estate);
    Ok(())
}

struct Side<'a> {
    what: &'a str,
    target: &'a Target,
    paths: Arc<Vec<String>>,
    meter: &'a Meter,
}

struct Run {
    storm: Storm,
    /// Microseconds of CPU for one answer, the database's included.
    each: f64,
}

impl Side<'_> {
    async fn once(&self, connections: usize, length: Duration) -> anyhow::Result<Run> {
        let before = self.meter.read();
        let storm = storm(self.target, &self.paths, connections, length).await?;
        let used = self.meter.read() - before;
        let answers = storm.rate * length.as_secs_f64();
        Ok(Run { storm, each: 1_000.0 * (used.skep + used.database) / answers })
    }
}

fn row(table: &mut Table, what: &str, connections: usize, runs: &[Run], best: f64) {
    let middle = |figure: &dyn Fn(&Run) -> f64| median_of(runs, figure);
    let rate = middle(&|run| run.storm.rate);
    let figures = [
        rate,
        middle(&|run| run.storm.p50),
        middle(&|run| run.storm.p99),
        middle(&|run| run.storm.bytes as f64),
    ];
    let head = [what.to_owned(), connections.to_string()];
    let tail = [show(middle(&|run| run.each)), percent(rate, best)];
    table.row(head.into_iter().chain(figures.map(show)).chain(tail));
}
