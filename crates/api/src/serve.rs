//! The accept loop: bounded connections, bounded waits, bounded drain; plain or under TLS.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::edge::seam::Peer;
use crate::shares::{Share, Shares};
use crate::tls::Tls;

/// Longest head of a request, in bytes; also what a connection buffers at most. Beyond it, 431.
const HEAD: usize = 16 * 1024;
/// How many connections beyond the cap are told so at a time; the rest are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long telling them may take.
const TURN_AWAY_WITHIN: Duration = Duration::from_secs(1);
/// Pause after a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
Retry-After: 1\r\nConnection: close\r\nContent-Length: 80\r\n\r\n\
{\"serviceUnavailable\":{\"code\":503,\"message\":\"Too many connections; try again.\"}}";

/// Serves `app` on `listener` until `shutdown`, then lets requests finish for at most `drain`.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken, drain: Duration) {
    let free = Arc::new(Semaphore::new(app.settings().max_connections));
    let shares = Shares::of(app.settings().max_connections);
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // An IPv4 address is the same whether or not the listener speaks IPv6, too.
        let address = peer.ip().to_canonical();
        if let Some(share) = shares.take(address)
            && let Ok(permit) = Arc::clone(&free).try_acquire_owned()
        {
            let ends = (shutdown.clone(), abort.clone());
            connections.spawn(accepted(stream, peer.ip(), app.clone(), ends, (permit, share)));
        } else {
            metrics::counter!("skep_api_connections_refused").increment(1);
            // Under TLS a word would cost a handshake, which is dearer than what it refuses.
            if app.settings().tls.is_none()
                && let Ok(permit) = Arc::clone(&turned_away).try_acquire_owned()
            {
                connections.spawn(turn_away(stream, permit));
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "connections are still open after the drain time: closing them"
        );
        abort.cancel();
        connections.wait().await;
    }
}

/// Asks for a drain, and for an end at once.
type Ends = (CancellationToken, CancellationToken);

/// What a connection holds while it is open.
type Held = (OwnedSemaphorePermit, Share);

/// A connection, from its handshake if there is one.
async fn accepted(stream: TcpStream, peer: IpAddr, app: App, ends: Ends, _held: Held) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = app.settings().tls.as_ref().map(Tls::acceptor) else {
        return connection(stream, peer, app, ends).await;
    };
    let handshake = timeout(app.settings().handshake_timeout, tls.accept(stream));
    match ends.0.clone().run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => connection(stream, peer, app, ends).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "no TLS handshake"),
        Some(Err(_)) => tracing::debug!("no TLS handshake in time"),
        None => {}
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite, peer: IpAddr, app: App, (shutdown, abort): Ends) {
    let header_timeout = app.settings().header_timeout;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(app.settings().write_timeout));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let app = app.clone();
        request.extensions_mut().insert(Peer(peer));
        async move { Ok::<_, Infallible>(app.handle(request.map(Body::new)).await) }
    });
    let mut http = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
    );
    let done = tokio::select! {
        done = http.as_mut() => done,
        () = shutdown.cancelled() => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                done = http.as_mut() => done,
                () = abort.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Says 503, then reads what the client still sends, so that the answer is not lost in a reset.
async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut waste = [0; 4096];
        while stream.read(&mut waste).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = timeout(TURN_AWAY_WITHIN, told).await {
        tracing::debug!(%error, "a connection beyond the cap ended early");
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
