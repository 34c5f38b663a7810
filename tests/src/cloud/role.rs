//! A role of a cloud in one process, which can be killed in the middle of whatever it does.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// A role that runs on a runtime of its own.
pub struct Role {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
}

impl Role {
    /// Runs `start` and keeps what it began alive.
    pub(super) fn run<T, Fut>(start: impl FnOnce(CancellationToken) -> Fut) -> (Self, T)
    where
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let shutdown = CancellationToken::new();
        let (done, started) = std::sync::mpsc::channel();
        let starting = start(shutdown.clone());
        runtime.spawn(async move {
            let _ = done.send(starting.await);
        });
        let started = started.recv_timeout(Duration::from_secs(60)).expect("the role starts");
        (Self { runtime: Some(runtime), shutdown }, started)
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own, because it waits until what it drops has let go of its files.
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            let _ = ending.join();
        }
    }

    /// The token that asks it to drain.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.end();
    }
}
