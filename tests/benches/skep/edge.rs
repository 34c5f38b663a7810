//! `edge`: the latency of clients while others hold connections and send slowly, or nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::boots::all_at_once;
use crate::cloud::Dev;
use crate::cost::memory;
use crate::figures::{all, median_of, show};
use crate::http::{Storm, Target, storm};
use crate::options::Options;
use crate::overload::pin;
use crate::table::{Table, line};

/// Clients that behave.
const CLIENTS: usize = 16;
/// Time between two bytes of those that send slowly.
const DRIP: Duration = Duration::from_secs(1);

/// How somebody holds a connection.
#[derive(Clone, Copy, Debug)]
enum Bad {
    /// Sends nothing.
    Idle,
    /// Sends its head byte by byte.
    Head,
    /// Sends its body byte by byte.
    Body,
}

/// Measures it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let dev = Dev::start(&["--engine", "scripted", "--regions", "1", "--cells", "2", "--hosts", "2"]).await?;
    pin(dev.process.pid(), "0")?;
    pin(std::process::id(), "1")?;
    let boots = all_at_once(&dev.target, 4, 20).await?;
    let paths = Arc::new(boots.ids.iter().map(|id| format!("/v2.1/servers/{id}")).collect::<Vec<_>>());
    let length = Duration::from_secs(options.pick(4, 1) as u64);
    storm(&dev.target, &paths, CLIENTS, length).await?;
    let rest = memory(dev.process.pid());
    let mut table = Table::new(&[
        "beside",
        "connections",
        "p50 ms",
        "p99 ms",
        "p99 alone",
        "times",
        "answers/s",
        "alone/s",
        "MB more",
    ]);
    let mut details = Vec::new();
    for (at, (what, bad, count)) in [
        ("idle", Bad::Idle, options.pick(10_000, 1_000)),
        ("slow heads", Bad::Head, options.pick(2_000, 200)),
        ("slow bodies", Bad::Body, options.pick(2_000, 200)),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut alone, mut beside, mut grown) = (Vec::new(), Vec::new(), 0.0_f64);
        for run in 0..options.runs {
            alone.push(storm(&dev.target, &paths, CLIENTS, length).await?);
            let crowd = Crowd::gather(&dev.target, bad, count, 1 + at * options.runs + run).await?;
            beside.push(storm(&dev.target, &paths, CLIENTS, length).await?);
            grown = grown.max(memory(dev.process.pid()) - rest);
            crowd.leave().await;
        }
        let middle = |runs: &[Storm], figure: fn(&Storm) -> f64| median_of(runs, figure);
        let (own, before) = (middle(&beside, |run| run.p99), middle(&alone, |run| run.p99));
        let figures = [
            middle(&beside, |run| run.p50),
            own,
            before,
            own / before,
            middle(&beside, |run| run.rate),
            middle(&alone, |run| run.rate),
            grown,
        ];
        table.row([what.to_owned(), count.to_string()].into_iter().chain(figures.map(show)));
        let (own, before) = (all(&beside, |run| run.p99), all(&alone, |run| run.p99));
        details.push(format!("{what}: p99 ms {own}; alone {before}"));
    }
    table.print();
    details.iter().for_each(|text| line(text));
    pin(std::process::id(), "0-1023")?;
    dev.end();
    Ok(())
}

/// Connections that are held.
struct Crowd {
    held: JoinSet<()>,
    idle: Vec<TcpStream>,
}

impl Crowd {
    /// Connects so many, from an address of the machine's own that no other run uses.
    async fn gather(target: &Target, bad: Bad, count: usize, run: usize) -> anyhow::Result<Self> {
        let to: SocketAddr = target.address.parse().context("an address")?;
        let from: SocketAddr = format!("127.0.1.{}:0", run % 250 + 1).parse().context("an address")?;
        let mut crowd = Self { held: JoinSet::new(), idle: Vec::with_capacity(count) };
        let head = format!(
            "POST /v2.1/servers HTTP/1.1\r\nHost: x\r\n{}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
            target.headers
        );
        for at in 0..count {
            let socket = TcpSocket::new_v4()?;
            socket.bind(from)?;
            let stream = socket.connect(to).await;
            let mut stream = match stream {
                Ok(stream) => stream,
                Err(why) => bail!("connection {at}: {why} (ulimit -n?)"),
            };
            let drip = match bad {
                Bad::Idle => {
                    crowd.idle.push(stream);
                    continue;
                }
                Bad::Head => head.clone(),
                Bad::Body => {
                    stream.write_all(head.as_bytes()).await?;
                    "x".repeat(1_000)
                }
            };
            crowd.held.spawn(async move {
                for byte in drip.bytes() {
                    tokio::time::sleep(DRIP).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(crowd)
    }

    async fn leave(mut self) {
        self.held.shutdown().await;
    }
}
