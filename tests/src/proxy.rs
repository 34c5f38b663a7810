//! A proxy that does to a connection what networks and servers do: before PostgreSQL, RabbitMQ or an engine,
//! over TCP or a unix socket, and its faults change while connections are open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::Env;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// What is read at a time, which is what `delay` calls a packet.
const PACKET: usize = 16 * 1024;

/// What happens to connections. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// New connections are ended at once.
    pub refuse: bool,
    /// Every packet of either direction is so much later.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// What clients send stays on its way until this is over.
    pub stall_up: bool,
    /// What the server sends stays on its way until this is over.
    pub stall_down: bool,
    /// A connection is cut when the server has sent so many bytes through it.
    pub cut_after: Option<u64>,
    /// When a client has sent this, the server gets it, and what it answers is lost with the connection.
    pub lose_answer_to: Option<&'static [u8]>,
    /// How many connections the two above cut, at most; 0 is any number.
    pub cuts: u64,
    /// Each packet that a client sends waits for a [`Proxy::step`].
    pub stepwise: bool,
}

/// A proxy before one server; its connections end with it.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    faults: watch::Sender<Faults>,
    /// Counts the resets; whoever sees another number ends.
    resets: watch::Sender<u64>,
    cut: AtomicU64,
    steps: Semaphore,
    /// Packets that servers have sent.
    answers: watch::Sender<u64>,
    env: Env,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Lets the peer see a reset instead of an orderly end, where there is such a thing.
    fn break_off(&self) {}
}

impl Stream for TcpStream {
    fn break_off(&self) {
        // If it fails, the peer sees an end instead.
        let _ = self.set_zero_linger();
    }
}

impl Stream for UnixStream {}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, before the server at `host:port`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn tcp(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("a proxy cannot listen: {error}"));
        let address = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        let server = server.to_owned();
        Self::start(address, move |shared| async move {
            while let Ok((client, _)) = listener.accept().await {
                let _ = client.set_nodelay(true);
                let server = TcpStream::connect(server.clone());
                tokio::spawn(connection(client, server, shared.clone()));
            }
        })
    }

    /// Before the TCP server of a URL such as `postgres://user@host:port/name`.
    ///
    /// # Panics
    /// If the URL has no host and port, or it cannot listen.
    pub async fn before(url: &str) -> Self {
        let (start, end) = authority(url);
        Self::tcp(&url[start..end]).await
    }

    /// Listens on the unix socket `at`, before the server on the unix socket `server`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn unix(at: &Path, server: &Path) -> Self {
        let listener = UnixListener::bind(at);
        let listener = listener.unwrap_or_else(|error| panic!("a proxy cannot listen: {error}"));
        let server: PathBuf = server.to_owned();
        Self::start(at.display().to_string(), move |shared| async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(server.clone());
                tokio::spawn(connection(client, server, shared.clone()));
            }
        })
    }

    fn start<Fut>(address: String, accept: impl FnOnce(Arc<Shared>) -> Fut) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            faults: watch::Sender::new(Faults::default()),
            resets: watch::Sender::new(0),
            cut: AtomicU64::new(0),
            steps: Semaphore::new(0),
            answers: watch::Sender::new(0),
            env: Env::system(),
        });
        let task = tokio::spawn(accept(shared.clone()));
        Self { address, shared, task }
    }

    /// Where it listens: host and port, or a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A URL of the server, by way of this proxy.
    ///
    /// # Panics
    /// If the URL has no host and port.
    pub fn url(&self, url: &str) -> String {
        let (start, end) = authority(url);
        format!("{}{}{}", &url[..start], self.address, &url[end..])
    }

    /// Changes what happens to all connections, those that are open too.
    pub fn set(&self, faults: Faults) {
        self.shared.cut.store(0, Ordering::SeqCst);
        self.shared.steps.forget_permits(usize::MAX);
        self.shared.faults.send_replace(faults);
    }

    /// Nothing happens to connections any more.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Resets every connection that is open.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Lets the next packet of a client pass. Says whether the server answered within `limit`: if not, it
    /// waits for something, or no client has anything to say.
    pub async fn step(&self, limit: Duration) -> bool {
        let mut answers = self.shared.answers.subscribe();
        let before = *answers.borrow_and_update();
        self.shared.steps.add_permits(1);
        matches!(tokio::time::timeout(limit, answers.wait_for(|now| *now > before)).await, Ok(Ok(_)))
    }

    /// How many connections were cut since faults were set.
    pub fn cuts(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.reset();
    }
}

/// Where host and port stand in a URL.
fn authority(url: &str) -> (usize, usize) {
    let scheme = url.find("://").map(|at| at + 3).unwrap_or_else(|| panic!("{url} is no URL"));
    let end = url[scheme..].find('/').map_or(url.len(), |at| scheme + at);
    let start = url[scheme..end].rfind('@').map_or(scheme, |at| scheme + at + 1);
    (start, end)
}

impl Shared {
    /// Uses up one cut, if there is one left.
    fn may_cut(&self, faults: &Faults) -> bool {
        let left = |cut| (faults.cuts == 0 || cut < faults.cuts).then_some(cut + 1);
        self.cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
    }
}

/// One connection of a client, from its acceptance to its end.
async fn connection<C: Stream, S: Stream>(
    client: C,
    server: impl Future<Output = io::Result<S>>,
    shared: Arc<Shared>,
) {
    let mut resets = shared.resets.subscribe();
    let before = *resets.borrow_and_update();
    if shared.faults.borrow().refuse {
        client.break_off();
        return;
    }
    let Ok(server) = server.await else {
        client.break_off();
        return;
    };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let doom = Doom::default();
    let cut = tokio::select! {
        cut = up(&mut from_client, &mut to_server, &shared, &doom) => cut,
        cut = down(&mut from_server, &mut to_client, &shared, &doom) => cut,
        _ = resets.wait_for(|now| *now != before) => true,
    };
    if cut {
        from_client.unsplit(to_client).break_off();
    }
}

/// Set when the next answer is to be lost.
type Doom = AtomicBool;

/// Waits out what keeps a packet on its way.
async fn on_its_way(shared: &Shared, stalls: impl Fn(&Faults) -> bool) {
    let mut faults = shared.faults.subscribe();
    let Faults { delay, jitter, .. } = *faults.borrow_and_update();
    if !delay.is_zero() || !jitter.is_zero() {
        let more = Duration::from_micros(shared.env.below(jitter.as_micros() as u64 + 1));
        tokio::time::sleep(delay + more).await;
    }
    let _ = faults.wait_for(|now| !stalls(now)).await;
}

/// Waits for a step, or until nobody has to wait for one.
async fn its_turn(shared: &Shared) {
    let mut faults = shared.faults.subscribe();
    tokio::select! {
        biased;
        _ = faults.wait_for(|now| !now.stepwise) => {}
        step = shared.steps.acquire() => if let Ok(step) = step {
            step.forget();
        },
    }
}

/// Passes on what the client sends, until one of the two ends; that is no cut.
async fn up<C: Stream, S: Stream>(
    from: &mut ReadHalf<C>,
    to: &mut WriteHalf<S>,
    shared: &Shared,
    doom: &Doom,
) -> bool {
    let mut packet = vec![0; PACKET];
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let Ok(length) = from.read(&mut packet).await else { return false };
        on_its_way(shared, |faults| faults.stall_up).await;
        its_turn(shared).await;
        let faults = *shared.faults.borrow();
        if let Some(pattern) = faults.lose_answer_to {
            seen.extend_from_slice(&packet[..length]);
            if seen.windows(pattern.len()).any(|part| part == pattern) && shared.may_cut(&faults) {
                doom.store(true, Ordering::SeqCst);
            }
            // What may be the beginning of it stays.
            let keep = seen.len().min(pattern.len() - 1);
            seen.drain(..seen.len() - keep);
        }
        if length == 0 || to.write_all(&packet[..length]).await.is_err() {
            return false;
        }
    }
}

/// Passes on what the server sends, until one of the two ends or the connection is to be cut. Says which.
async fn down<C: Stream, S: Stream>(
    from: &mut ReadHalf<S>,
    to: &mut WriteHalf<C>,
    shared: &Shared,
    doom: &Doom,
) -> bool {
    let mut packet = vec![0; PACKET];
    let mut passed = 0;
    loop {
        let Ok(length) = from.read(&mut packet).await else { return false };
        shared.answers.send_modify(|answers| *answers += 1);
        if doom.load(Ordering::SeqCst) {
            return true; // The answer is there, so what was asked for is done; nobody hears of it.
        }
        on_its_way(shared, |faults| faults.stall_down).await;
        passed += length as u64;
        let faults = *shared.faults.borrow();
        if faults.cut_after.is_some_and(|limit| passed >= limit) && shared.may_cut(&faults) {
            return true;
        }
        if length == 0 || to.write_all(&packet[..length]).await.is_err() {
            return false;
        }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod proxy_tests;
