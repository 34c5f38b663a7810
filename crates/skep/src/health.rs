//! Health, readiness and metrics: one small HTTP service for every role, apart from what users reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Longest that one request may take, from its first byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most connections at a time; probes and scrapers are few.
const CONNECTIONS: usize = 64;

/// Whether a role is ready, and if not, why.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The process's metrics, as counted by all crates.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts to count, once for the process.
    pub fn start() -> Result<Self, Failure> {
        let handle = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|why| Failure::new(format!("cannot start metrics: {why}")))?;
        Ok(Self(handle))
    }

    /// Empties the buffers of histograms that nobody scrapes. Runs until it is dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.0.run_upkeep();
        }
    }
}

/// The service, bound and not yet serving.
pub struct Health {
    listener: TcpListener,
    metrics: Metrics,
    ready: Ready,
}

impl Health {
    /// Binds `listen`; port 0 takes any.
    pub async fn bind(listen: SocketAddr, metrics: Metrics, ready: Ready) -> Result<Self, Failure> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|why| Failure::new(format!("health.listen: cannot listen on {listen}: {why}")))?;
        Ok(Self { listener, metrics, ready })
    }

    /// Serves until `stop`; from `draining` on it is not ready any more.
    pub async fn serve(self, draining: CancellationToken, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(why) => {
                        tracing::warn!(%why, "health: cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = room.clone().try_acquire_owned() else { continue };
            let (metrics, ready, draining) = (self.metrics.clone(), self.ready.clone(), draining.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let _ = tokio::time::timeout(DEADLINE, connection(stream, metrics, ready, draining)).await;
            });
        }
    }
}

async fn connection(stream: TcpStream, metrics: Metrics, ready: Ready, draining: CancellationToken) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (metrics, ready, draining) = (metrics.clone(), ready.clone(), draining.clone());
        async move { answer(&request, &metrics, &ready, &draining).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(why) = served {
        tracing::debug!(%why, "health: connection broke");
    }
}

async fn answer(
    request: &Request<Incoming>,
    metrics: &Metrics,
    ready: &Ready,
    draining: &CancellationToken,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match readiness(ready, draining).await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics.0.render()),
        (_, "/healthz" | "/readyz" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::new(Bytes::from(text)))
}

async fn readiness(ready: &Ready, draining: &CancellationToken) -> Result<(), String> {
    if draining.is_cancelled() {
        return Err("draining".to_owned());
    }
    match tokio::time::timeout(DEADLINE / 2, ready()).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {:?}", DEADLINE / 2)),
    }
}
