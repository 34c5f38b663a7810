//! A TCP proxy before the broker that cuts, refuses and freezes connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes everything on.
    Pass,
    /// It ends every connection at once.
    Refuse,
    /// It accepts, and passes nothing on.
    Freeze,
}

pub struct Proxy {
    pub address: SocketAddr,
    mode: Arc<watch::Sender<(Mode, u64)>>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new((Mode::Pass, 0)));
        let modes = mode.clone();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(client, broker.clone(), modes.subscribe()));
            }
        });
        Self { address, mode, accepted, task }
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Ends every connection; new ones are treated by `mode`.
    pub fn cut(&self, mode: Mode) {
        self.mode.send_modify(|(now, cuts)| {
            *now = mode;
            *cuts += 1;
        });
    }

    /// Changes what happens to connections without ending them.
    pub fn set(&self, mode: Mode) {
        self.mode.send_modify(|(now, _)| *now = mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut(Mode::Refuse);
    }
}

async fn connection(client: TcpStream, broker: String, mut mode: watch::Receiver<(Mode, u64)>) {
    let (first, cuts) = *mode.borrow_and_update();
    if first == Mode::Refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(broker).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, mode.clone()) => {}
        () = copy(from_server, to_client, mode.clone()) => {}
        _ = mode.wait_for(|(_, now)| *now != cuts) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<(Mode, u64)>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(length) = from.read(&mut buffer).await else { return };
        let _ =
            tokio::time::timeout(Duration::from_secs(60), mode.wait_for(|(mode, _)| *mode != Mode::Freeze))
                .await;
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
