//! `lists`: lists of 100,000 rows in 1 to 64 cells beside the bare queries for the same rows, deep pages,
//! whole walks, and what a frozen cell costs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use model::Env;
use sqlx::{Connection as _, PgConnection};
use tests::{Part, Services};
use uuid::Uuid;

use crate::figures::{all, median_of, ms, percentile, show};
use crate::http::{Connection, Storm, storm};
use crate::options::Options;
use crate::rows::Stock;
use crate::table::{Table, line};

/// What a page of a plain list costs where the index alone is asked.
const PLAIN: &str = "/v2.1/servers?limit=50";
/// What a page with current facts costs.
const DETAIL: &str = "/v2.1/servers/detail?limit=50";

/// Measures all of it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let rows = options.rows;
    line(&format!("one api process, {rows} rows of one project, PostgreSQL, {} runs", options.runs));
    let mut table =
        Table::new(&["cells", "what", "p50 ms", "p99 ms", "bare p50 ms", "of the bare", "answers/s"]);
    let mut details = Vec::new();
    for &cells in &options.cells {
        let stock = Stock::fill(rows, cells, None).await?;
        let mut bare = Bare::open(&stock).await?;
        for (path, with_cells) in [(PLAIN, false), (DETAIL, true)] {
            let length = Duration::from_millis(options.pick(3_000, 700) as u64);
            get(&stock, path, Duration::from_millis(500)).await?;
            bare.p50(with_cells, Duration::from_millis(200)).await?;
            let (mut lists, mut bares) = (Vec::new(), Vec::new());
            for _ in 0..options.runs {
                bares.push(bare.p50(with_cells, length / 3).await?);
                lists.push(get(&stock, path, length).await?);
            }
            let p50 = median_of(&lists, |run| run.p50);
            let limit = median_of(&bares, |p50| *p50);
            let p99 = median_of(&lists, |run| run.p99);
            let rate = median_of(&lists, |run| run.rate);
            table.row(
                [cells.to_string(), path.to_owned()]
                    .into_iter()
                    .chain([p50, p99, limit].map(show))
                    .chain([format!("{:.2}x", p50 / limit), show(rate)]),
            );
            let (ours, theirs) = (all(&lists, |run| run.p50), all(&bares, |p50| *p50));
            details.push(format!("{cells} cells, {path}: p50 ms {ours}; bare {theirs}"));
        }
        if cells == options.cells[0] {
            pages(options, &stock).await?;
            walks(options, &stock).await?;
        }
    }
    table.print();
    details.iter().for_each(|text| line(text));
    frozen(options).await
}

async fn get(stock: &Stock, path: &str, length: Duration) -> anyhow::Result<Storm> {
    storm(&stock.target, &Arc::new(vec![path.to_owned()]), 1, length).await
}

/// The queries that a list needs, on connections of its own: the page of the index, and from each cell the
/// rows that it owns, all cells at once.
struct Bare {
    api: PgConnection,
    cells: Vec<(Uuid, PgConnection)>,
}

const INDEX: &str = "SELECT i.instance, i.name, i.created_at, i.status, m.cell FROM instance_index i
    JOIN instance_mapping m ON m.id = i.instance
    WHERE i.project = 'bench' AND NOT i.deleted AND (i.created_at, i.instance) < ($1, $2)
    ORDER BY i.created_at DESC, i.instance DESC LIMIT 50";
const FACTS: &str = "SELECT i.id, i.epoch, i.placement, i.generation, i.spec, i.intent, i.stage, i.task,
    i.power, i.host, h.name, h.zone, i.observed, i.fault, i.created_at, i.updated_at, i.launched_at
    FROM instance i LEFT JOIN host h ON h.id = i.host WHERE i.id = ANY($1)";

impl Bare {
    async fn open(stock: &Stock) -> anyhow::Result<Self> {
        let mut cells = Vec::new();
        for (id, database) in &stock.cells {
            cells.push((id.uuid(), PgConnection::connect(database.url()).await?));
        }
        Ok(Self { api: PgConnection::connect(stock.api.url()).await?, cells })
    }

    async fn p50(&mut self, with_cells: bool, length: Duration) -> anyhow::Result<f64> {
        let env = Env::system();
        let (start, mut times) = (env.monotonic(), Vec::new());
        while env.monotonic() - start < length || times.len() < 20 {
            let begun = env.monotonic();
            self.once(with_cells).await?;
            times.push(ms(env.monotonic() - begun));
        }
        Ok(percentile(&times, 0.5))
    }

    async fn once(&mut self, with_cells: bool) -> anyhow::Result<()> {
        type Entry = (Uuid, String, i64, Option<String>, Option<Uuid>);
        let page: Vec<Entry> =
            sqlx::query_as(INDEX).bind(i64::MAX).bind(Uuid::max()).fetch_all(&mut self.api).await?;
        if !with_cells {
            return Ok(());
        }
        let asked = self.cells.iter_mut().map(|(cell, connection)| {
            let ids: Vec<Uuid> =
                page.iter().filter(|entry| entry.4 == Some(*cell)).map(|entry| entry.0).collect();
            async move {
                if ids.is_empty() {
                    return Ok(0);
                }
                sqlx::query(FACTS).bind(ids).fetch_all(connection).await.map(|rows| rows.len())
            }
        });
        let found: usize = try_join_all(asked).await?.into_iter().sum();
        if found != page.len() { bail!("{found} of {} rows were found", page.len()) } else { Ok(()) }
    }
}

/// Deep pages against early ones.
async fn pages(options: &Options, stock: &Stock) -> anyhow::Result<()> {
    let mut connection = Connection::new(&stock.target);
    let (mut marker, mut markers) = (None, Vec::new());
    for _ in 1..options.rows.div_ceil(1_000) {
        marker = next(&mut connection, "/v2.1/servers", 1_000, marker.as_deref()).await?.1;
        markers.extend(marker.clone());
    }
    let (first, last) = (markers.first().context("too few rows")?, markers.last().context("too few rows")?);
    let length = Duration::from_millis(options.pick(2_000, 500) as u64);
    let mut table = Table::new(&["pages of 100", "early p50 ms", "last p50 ms", "last of early"]);
    for path in ["/v2.1/servers", "/v2.1/servers/detail"] {
        let page = |marker: &str| format!("{path}?limit=100&marker={marker}");
        let (mut early, mut deep) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            early.push(get(stock, &page(first), length).await?.p50);
            deep.push(get(stock, &page(last), length).await?.p50);
        }
        let (early, deep) = (median_of(&early, |p50| *p50), median_of(&deep, |p50| *p50));
        table.row([path.to_owned(), show(early), show(deep), format!("{:.2}x", deep / early)]);
    }
    table.print();
    Ok(())
}

/// One page: the ids on it, and the next marker.
async fn next(
    connection: &mut Connection,
    path: &str,
    limit: usize,
    marker: Option<&str>,
) -> anyhow::Result<(Vec<u8>, Option<String>)> {
    let marker = marker.map(|marker| format!("&marker={marker}")).unwrap_or_default();
    let path = format!("{path}?limit={limit}{marker}");
    let (200, body) = connection.send("GET", &path, "").await? else { bail!("{path} is not answered") };
    // The link stands at the end, so the body need not be read to walk on.
    let tail = String::from_utf8_lossy(&body[body.len().saturating_sub(600)..]).into_owned();
    let next = tail.rsplit_once("marker=").and_then(|(_, rest)| rest.get(..36)).map(str::to_owned);
    Ok((body.to_vec(), next))
}

/// Whole walks: of 10,000 rows for time, of everything with writes going on for truth.
async fn walks(options: &Options, stock: &Stock) -> anyhow::Result<()> {
    let env = Env::system();
    let mut connection = Connection::new(&stock.target);
    let mut took = Vec::new();
    for _ in 0..options.runs {
        let (start, mut marker) = (env.monotonic(), None);
        for _ in 0..10 {
            marker = next(&mut connection, "/v2.1/servers/detail", 1_000, marker.as_deref()).await?.1;
        }
        took.push(ms(env.monotonic() - start));
    }
    let median = median_of(&took, |took| *took);
    line(&format!(
        "walk of 10,000 in detail by pages of 1,000, ms: {} ({})",
        show(median),
        all(&took, |t| *t)
    ));
    let writing = write_on(stock);
    let (mut seen, mut twice, mut marker) = (HashSet::new(), 0, None);
    loop {
        let (body, after) = next(&mut connection, "/v2.1/servers/detail", 1_000, marker.as_deref()).await?;
        let page: serde_json::Value = serde_json::from_slice(&body)?;
        for server in page["servers"].as_array().context("no servers")? {
            let id = server["id"].as_str().context("no id")?;
            twice += usize::from(!seen.insert(id.to_owned()));
        }
        match after {
            Some(after) => marker = Some(after),
            None => break,
        }
    }
    let written = writing.end().await;
    let there = stock.api.query("SELECT instance FROM instance_index WHERE name LIKE 'web-%'");
    let missing = there.iter().filter(|row| !seen.contains(&row[0])).count();
    line(&format!(
        "walk of all {} by pages of 1,000 with {written} creates and deletes going on: {twice} twice, {missing} missing",
        there.len()
    ));
    Ok(())
}

/// Creates and deletes going on.
struct Writing {
    stop: Arc<std::sync::atomic::AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

fn write_on(stock: &Stock) -> Writing {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut connection, ends) = (Connection::new(&stock.target), stop.clone());
    let task = tokio::spawn(async move {
        let mut count = 0;
        while !ends.load(std::sync::atomic::Ordering::Relaxed) {
            let wish = crate::boots::Wish::small();
            let Ok(id) = crate::boots::post(&mut connection, &wish, "meanwhile").await else { break };
            if crate::boots::delete(&mut connection, &id).await.is_err() {
                break;
            }
            count += 2;
        }
        count
    });
    Writing { stop, task }
}

impl Writing {
    async fn end(self) -> usize {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

/// What one frozen cell of eight costs everybody.
async fn frozen(options: &Options) -> anyhow::Result<()> {
    let services = Services::private(&[Part::Postgres]);
    let stock = Stock::fill(options.rows.min(20_000), 8, Some(&services.postgres())).await?;
    let length = Duration::from_secs(options.pick(6, 2) as u64);
    let of = |cell: usize| -> Arc<Vec<String>> {
        let rows = stock.cells[cell].1.query("SELECT id FROM instance LIMIT 200");
        Arc::new(rows.iter().map(|row| format!("/v2.1/servers/{}", row[0])).collect())
    };
    let (inside, outside) = (of(0), of(1));
    let load = async |target| {
        let others = storm(target, &outside, 4, length);
        let own = storm(target, &inside, 8, length);
        tokio::try_join!(others, own)
    };
    get(&stock, DETAIL, Duration::from_secs(1)).await?;
    let lists = get(&stock, DETAIL, length).await?;
    let (shows, _) = load(&stock.target).await?;
    services.freeze(Part::Postgres);
    let env = Env::system();
    let mut connection = Connection::new(&stock.target);
    let mut first = Vec::new();
    for _ in 0..5 {
        let start = env.monotonic();
        connection.get(DETAIL).await?;
        first.push(ms(env.monotonic() - start));
    }
    let dark = get(&stock, DETAIL, length).await?;
    let (dark_shows, _) = load(&stock.target).await?;
    services.thaw(Part::Postgres);
    let mut table = Table::new(&["one of eight cells frozen", "healthy p50", "p99", "frozen p50", "p99 ms"]);
    let mut row = |what: &str, before: &Storm, after: &Storm| {
        let figures = [before.p50, before.p99, after.p50, after.p99].map(show);
        table.row([what.to_owned()].into_iter().chain(figures));
    };
    row(DETAIL, &lists, &dark);
    row("show in another cell, under load on both", &shows, &dark_shows);
    table.print();
    line(&format!("the first five lists after the freeze, ms: {}", all(&first, |took| *took)));
    drop(stock);
    Ok(())
}
