//! The line between the API level and a cell's database: a TCP proxy that refuses, swallows, delays, and
//! counts how often the API level waited for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of connections and of what is sent on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is passed on.
    Pass,
    /// Connections end at once, those that were open too.
    Refuse,
    /// It is passed on, each packet so much later.
    Slow(Duration),
}

/// PostgreSQL's `Sync` alone, which asks for nothing (protocol 3.0, "Message Formats").
const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];

/// The line.
pub struct Line {
    /// Host and port to connect to.
    pub address: String,
    mode: watch::Sender<Mode>,
    turns: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Line {
    /// A line to the server of a URL such as `postgres://user@host:port`.
    pub async fn to(url: &str) -> Self {
        let server = url.rsplit_once('@').map_or(url, |(_, address)| address);
        let server = server.split('/').next().expect("host and port").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound").to_string();
        let (mode, modes) = watch::channel(Mode::Pass);
        let turns = Arc::new(AtomicU64::new(0));
        let counted = turns.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server.clone(), modes.clone(), counted.clone()));
            }
        });
        Self { address, mode, turns, task }
    }

    /// Changes what becomes of all connections.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How often a client has sent something that it then waits for.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(client: TcpStream, server: String, modes: watch::Receiver<Mode>, turns: Arc<AtomicU64>) {
    let mut refused = modes.clone();
    let passed = async move {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // Whether the client has sent something since the server last did.
        let asked = Arc::new(AtomicBool::new(false));
        let up = {
            let asked = asked.clone();
            pump(from_client, to_server, modes.clone(), move |sent| {
                if sent != SYNC && !asked.swap(true, Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let down = pump(from_server, to_client, modes, move |_| asked.store(false, Ordering::SeqCst));
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    };
    // Both ends are dropped, and with them closed, when it is refused.
    tokio::select! {
        () = passed => {}
        _ = refused.wait_for(|mode| *mode == Mode::Refuse) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    modes: watch::Receiver<Mode>,
    seen: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen(&buffer[..count]);
        let mode = *modes.borrow();
        if let Mode::Slow(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
