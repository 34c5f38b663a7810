//! Files that are read again while the role runs: when they have changed, and on SIGHUP.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often files are looked at.
pub const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, size, and when it was changed, in
/// nanoseconds. A link that is turned to another file counts.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Files that belong together, and what is done when one of them has changed.
pub struct Watch {
    what: &'static str,
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
    reload: Box<dyn FnMut() -> Result<(), String> + Send>,
}

impl Watch {
    /// A watch over `files`, which are `what` to the user, as they are now: they are to be read after this.
    pub fn new(what: &'static str, files: Vec<PathBuf>) -> Self {
        let seen = stamps(&files);
        Self { what, files, seen, reload: Box::new(|| Ok(())) }
    }

    /// What reads the files again and puts them to use. If it fails, it has changed nothing.
    pub fn on_change(mut self, reload: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        self.reload = Box::new(reload);
        self
    }

    /// Watches until `stop`. A change that cannot be used is complained of once.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = asked => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = stamps(&self.files);
            if !asked && now == self.seen {
                continue;
            }
            self.seen = now;
            let what = self.what;
            match (self.reload)() {
                Ok(()) => tracing::info!(what, "read again"),
                Err(why) => tracing::error!(what, why, "not read again; the old stays in force"),
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        let changed = data.ctime().wrapping_mul(1_000_000_000).wrapping_add(data.ctime_nsec());
        let written = data.mtime().wrapping_mul(1_000_000_000).wrapping_add(data.mtime_nsec());
        Some((data.dev(), data.ino(), data.size(), changed, written))
    };
    files.iter().map(stamp).collect()
}
