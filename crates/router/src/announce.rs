//! Telling the API database which mappings this process works with, so that operators see when a change has
//! reached every process.

use std::time::Duration;

use api_db::processes::{self, Has, Process};
use sql::Work;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::registry::Router;

/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_millis(100);
/// How often a process tells that it lives, although nothing has changed, and tries again to tell what it could
/// not.
const BEAT: Duration = Duration::from_secs(3);

impl Router {
    /// Tells what this process has, at once on every change and every 3 s, until the token is cancelled; then
    /// that it has ended.
    pub fn announce(&self, kind: &'static str, name: String, shutdown: CancellationToken) -> JoinHandle<()> {
        let router = self.clone();
        tokio::spawn(async move {
            let (env, db) = (router.env().clone(), router.db().clone());
            let id = env.uuid();
            let mut told: Option<(Vec<Has>, Duration)> = None;
            while !shutdown.is_cancelled() {
                let (has, now) = (router.has(), env.monotonic());
                let mut pause = LOOK;
                let due =
                    told.as_ref().is_none_or(|(last, at)| *last != has || now.saturating_sub(*at) >= BEAT);
                if due {
                    let version = env!("CARGO_PKG_VERSION").to_owned();
                    let process =
                        Process { id, kind: kind.to_owned(), name: name.clone(), version, seen: env.now() };
                    let row = has.clone();
                    let written = db.write(move |tx| -> Work<'_, ()> {
                        let (process, has) = (process.clone(), row.clone());
                        Box::pin(async move { processes::tell(tx, &process, &has).await })
                    });
                    match written.await {
                        Ok(()) => told = Some((has, now)),
                        Err(error) => {
                            tracing::debug!(%error, "cannot tell which mappings are in use");
                            pause = BEAT;
                        }
                    }
                }
                shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            let retired = db.write(move |tx| -> Work<'_, ()> {
                Box::pin(async move { processes::retire(tx, id).await })
            });
            if let Err(error) = retired.await {
                tracing::debug!(%error, "the end of this process could not be told");
            }
        })
    }
}
