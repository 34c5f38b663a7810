//! `overload`: goodput at once, twice and three times the load that a cloud can carry. The cloud (`skep dev`, scripted
//! engine) and the generator have one core each.
//!
//! Requests are due at fixed moments whatever became of those before, as from users who know nothing of each
//! other. Good is what is answered with 2xx within a second of the moment at which it was due.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use model::Env;
use tokio::task::JoinSet;

use crate::boots::{Wish, active, post};
use crate::cloud::Dev;
use crate::figures::{all, median_of, ms, percent, percentile, show};
use crate::http::Connection;
use crate::options::Options;
use crate::table::{Table, line};

/// Clients at a time; one that waits for an answer sends nothing else. What finds none free is not sent.
const CLIENTS: usize = 1024;
/// Clients of the closed loop that finds what can be carried.
const CLOSED: usize = 64;
const CLOSED_LOOP: &str = "closed loop";
/// What is late by so much is no good to anybody.
const LATE: Duration = Duration::from_secs(1);
/// What could not be sent within so long of its moment is not sent at all: a queue of users in the generator would
/// make late what the cloud answers in time.
const UNSENT: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Clone, Debug)]
enum Ask {
    /// A create.
    Create,
    /// One of these.
    Show(Arc<Vec<String>>),
}

/// What came of a run.
#[derive(Default)]
struct Run {
    /// Requests due a second.
    due: f64,
    /// Requests sent a second.
    sent: f64,
    /// Good answers a second.
    good: f64,
    /// Latencies of good ones in milliseconds.
    p99: f64,
    /// Answers with 503, a second.
    shed: f64,
    /// The slowest hundredth of those, from the sending on.
    shed_p99: f64,
    /// Anything else: other answers, or late ones.
    other: f64,
}

/// Measures both kinds of requests. Every run has a cloud of its own, so that none finds what others have left.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    pin(std::process::id(), "1")?;
    let mut table = Table::new(&[
        "what",
        "load",
        "due/s",
        "sent/s",
        "good/s",
        "of the peak",
        "of the closed loop",
        "good p99 ms",
        "503/s",
        "503 p99 ms",
        "late or failed/s",
    ]);
    let mut details = Vec::new();
    for what in ["create", "show"] {
        let mut runs: [Vec<Run>; 4] = Default::default();
        for _ in 0..options.runs {
            let mut carried = 0.0;
            for (times, runs) in runs.iter_mut().enumerate() {
                let rate = (times > 0).then_some(carried * times as f64);
                let run = once(what, rate, options).await?;
                if times == 0 {
                    carried = run.good.max(1.0);
                }
                runs.push(run);
            }
        }
        // Many connections cost something by themselves: the peak is that of as many clients.
        let best = runs[1..].iter().map(|runs| median_of(runs, |run| run.good)).fold(0.0, f64::max);
        let closed = median_of(&runs[0], |run| run.good);
        for (runs, load) in runs.iter().zip([CLOSED_LOOP, "once", "twice", "three times"]) {
            let middle = |figure: fn(&Run) -> f64| median_of(runs, figure);
            let good = middle(|run| run.good);
            table.row([
                what.to_owned(),
                load.to_owned(),
                show(middle(|run| run.due)),
                show(middle(|run| run.sent)),
                show(good),
                if load == CLOSED_LOOP { "-".to_owned() } else { percent(good, best) },
                percent(good, closed),
                show(middle(|run| run.p99)),
                show(middle(|run| run.shed)),
                show(middle(|run| run.shed_p99)),
                show(middle(|run| run.other)),
            ]);
            details.push(format!("{what}, {load}: good/s {}", all(runs, |run| run.good)));
        }
    }
    table.print();
    details.iter().for_each(|text| line(text));
    pin(std::process::id(), "0-1023")
}

/// One run at `rate` requests a second, or in a closed loop.
async fn once(what: &str, rate: Option<f64>, options: &Options) -> anyhow::Result<Run> {
    let dev = Dev::start(&["--engine", "scripted", "--regions", "1", "--cells", "2", "--hosts", "2"]).await?;
    pin(dev.process.pid(), "0")?;
    let connection = &mut Connection::new(&dev.target);
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(post(connection, &Wish::small(), &format!("first{n}")).await?);
    }
    for id in &ids {
        active(connection, id, Duration::from_millis(10)).await?;
    }
    let ask = match what {
        "create" => Ask::Create,
        _ => Ask::Show(Arc::new(ids.iter().map(|id| format!("/v2.1/servers/{id}")).collect())),
    };
    let length = Duration::from_secs(options.pick(12, 1) as u64);
    let (env, next) = (Env::system(), Arc::new(AtomicUsize::new(0)));
    let (start, mut clients) = (env.monotonic(), JoinSet::new());
    for _ in 0..if rate.is_some() { CLIENTS } else { CLOSED } {
        let client = Client {
            env: env.clone(),
            ask: ask.clone(),
            next: next.clone(),
            connection: Connection::new(&dev.target),
            start,
            rate,
            length,
        };
        clients.spawn(client.run());
    }
    let mut seen = Seen::default();
    while let Some(done) = clients.join_next().await {
        seen.add(done?);
    }
    let seconds = length.as_secs_f64();
    Ok(Run {
        due: (seen.good.len() + seen.shed.len() + seen.other + seen.unsent) as f64 / seconds,
        sent: (seen.good.len() + seen.shed.len() + seen.other) as f64 / seconds,
        good: seen.good.len() as f64 / seconds,
        p99: percentile(&seen.good, 0.99),
        shed: seen.shed.len() as f64 / seconds,
        shed_p99: percentile(&seen.shed, 0.99),
        other: seen.other as f64 / seconds,
    })
}

struct Client {
    env: Env,
    ask: Ask,
    next: Arc<AtomicUsize>,
    connection: Connection,
    start: Duration,
    rate: Option<f64>,
    length: Duration,
}

#[derive(Default)]
struct Seen {
    good: Vec<f64>,
    shed: Vec<f64>,
    other: usize,
    unsent: usize,
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.good.extend(more.good);
        self.shed.extend(more.shed);
        self.other += more.other;
        self.unsent += more.unsent;
    }
}

impl Client {
    async fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let now = self.env.monotonic();
            let due =
                self.rate.map_or(now, |rate| self.start + Duration::from_secs_f64(number as f64 / rate));
            if due >= self.start + self.length {
                return seen;
            }
            if now > due + UNSENT {
                // All clients wait for answers.
                seen.unsent += 1;
                continue;
            }
            tokio::time::sleep(due.saturating_sub(now)).await;
            let (method, path, body) = match &self.ask {
                Ask::Create => ("POST", "/v2.1/servers", create(number)),
                Ask::Show(paths) => ("GET", paths[number % paths.len()].as_str(), String::new()),
            };
            let sent = self.env.monotonic();
            let answer = self.connection.send(method, path, &body).await;
            let now = self.env.monotonic();
            match answer {
                Ok((status, _)) if status / 100 == 2 => match now.saturating_sub(due) {
                    took if took <= LATE => seen.good.push(ms(took)),
                    _ => seen.other += 1,
                },
                Ok((503, _)) => seen.shed.push(ms(now - sent)),
                _ => seen.other += 1,
            }
        }
    }
}

fn create(number: usize) -> String {
    format!(
        r#"{{"server":{{"name":"o{number}","imageRef":"skep/web:1","flavorRef":"1","networks":"none"}}}}"#
    )
}

/// Keeps all threads of a process on these cores.
pub fn pin(pid: u32, cores: &str) -> anyhow::Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-apc", cores, &pid.to_string()]).stdout(Stdio::null());
    match command.status().context("taskset (util-linux) is needed")? {
        status if status.success() => Ok(()),
        status => bail!("taskset: {status}"),
    }
}
