//! Engines: what runs containers. One trait, so that nothing else knows which engine it is.

mod bounded;
pub mod docker;
pub mod scripted;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::image::ImageRef;
use model::sync::PortBinding;
use model::{At, Fault, HostId, InstanceId, Power, RequestSpec};

pub(crate) use bounded::Bounded;

/// The end of a log that [`Engine::tail`] returns at most, in bytes.
pub const TAIL_MAX: usize = 64 * 1024;

/// What an engine's call resolves to.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Fault>>;

/// A container's name, the same for the same instance, epoch and placement, so that a create which
/// was lost halfway is adopted and not doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The instance.
    pub instance: InstanceId,
    /// The binding to a cell.
    pub epoch: i64,
    /// The choice of a host.
    pub placement: i64,
}

impl Name {
    /// The name of what `at` asks for.
    pub fn new(instance: InstanceId, at: At) -> Self {
        Self { instance, epoch: at.epoch, placement: at.placement }
    }

    /// Epoch and placement, as they are compared.
    pub fn place(&self) -> (i64, i64) {
        (self.epoch, self.placement)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skep-{}-{}-{}", self.instance, self.epoch, self.placement)
    }
}

impl FromStr for Name {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parse = || {
            let rest = text.strip_prefix("skep-")?;
            let (rest, placement) = rest.rsplit_once('-')?;
            let (instance, epoch) = rest.rsplit_once('-')?;
            let (instance, epoch) = (instance.parse().ok()?, epoch.parse().ok()?);
            Some(Self { instance, epoch, placement: placement.parse().ok()? })
        };
        parse().ok_or_else(|| Fault::invalid(format!("'{text}' is not a container name of ours")))
    }
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// The instance.
    pub instance: InstanceId,
    /// Epoch, placement and generation of the wish.
    pub at: At,
    /// The host that asks.
    pub host: HostId,
    /// The name of its cell.
    pub cell: String,
    /// What was asked for.
    pub spec: Arc<RequestSpec>,
}

impl Order {
    /// The container's name.
    pub fn name(&self) -> Name {
        Name::new(self.instance, self.at)
    }

    /// Our labels; they do not change in a container's life.
    pub fn labels(&self) -> [(&'static str, String); 8] {
        [
            ("skep.instance", self.instance.to_string()),
            ("skep.epoch", self.at.epoch.to_string()),
            ("skep.placement", self.at.placement.to_string()),
            ("skep.generation", self.at.generation.to_string()),
            ("skep.project", self.spec.project.clone()),
            ("skep.cell", self.cell.clone()),
            ("skep.host", self.host.to_string()),
            ("skep.spec-hash", self.spec.hash()),
        ]
    }
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The container is new.
    New,
    /// A container of that name and with these labels was there already, in whatever state.
    Adopted,
    /// The image is not on the host: pull it and order again.
    NoImage,
}

/// Where a container comes from, by its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Whose it is.
    pub project: String,
    /// The cell that it was made for.
    pub cell: String,
    /// The hash of what was asked for.
    pub spec_hash: String,
}

/// A container as an engine tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Name,
    /// The generation that it was created for, from its label.
    pub generation: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// The engine's id.
    pub id: String,
    /// What it does.
    pub power: Power,
    /// Whether it was ever started, as far as the engine tells; [`Engine::list`] may not know.
    pub has_run: bool,
    /// Exit code of the last run that ended; [`Engine::list`] may not know.
    pub exit_code: Option<i64>,
    /// Address on the project's bridge; empty if there is none, and in [`Engine::list`].
    pub address: String,
    /// MAC address on the project's bridge; empty if there is none, and in [`Engine::list`].
    pub mac: String,
    /// Published ports; empty in [`Engine::list`].
    pub ports: Vec<PortBinding>,
}

/// A container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which.
    pub name: Name,
    /// Its exit code.
    pub code: i64,
}

/// A container engine. Faults carry the engine's own words: kind `Engine` for what it refuses for
/// good, `Unavailable` or `Timeout` for what may pass.
pub trait Engine: Send + Sync + 'static {
    /// Runs a container for `host` and removes it: an engine is ready when one ran, not when it
    /// answers a ping.
    fn probe(&self, host: HostId) -> Answer<'_, ()>;

    /// Makes a container, not yet started. A container of the same name is adopted if its labels
    /// match, and refused otherwise.
    fn create<'a>(&'a self, order: &'a Order) -> Answer<'a, Created>;

    /// Brings an image to the host.
    fn pull<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, ()>;

    /// Starts a container; one that runs is left alone. `NotFound` if there is none.
    fn start(&self, name: Name) -> Answer<'_, ()>;

    /// Sends TERM, and KILL after `grace`; returns when it has ended. `Ok` if there is none.
    fn stop(&self, name: Name, grace: Duration) -> Answer<'_, ()>;

    /// Sends KILL; returns when it has ended. `Ok` if there is none.
    fn kill(&self, name: Name) -> Answer<'_, ()>;

    /// Freezes what a container runs; one that is frozen is left alone. `NotFound` if there is none,
    /// `Conflict` if it does not run.
    fn freeze(&self, name: Name) -> Answer<'_, ()>;

    /// Thaws a container; one that is not frozen is left alone. `NotFound` if there is none.
    fn thaw(&self, name: Name) -> Answer<'_, ()>;

    /// Kills and removes a container. `Ok` means that the engine was seen without it.
    fn remove(&self, name: Name) -> Answer<'_, ()>;

    /// Tells all of a container, or `None` if there is none.
    fn inspect(&self, name: Name) -> Answer<'_, Option<Container>>;

    /// Tells what it knows cheaply of all containers with the label of `host`.
    fn list(&self, host: HostId) -> Answer<'_, Vec<Container>>;

    /// The last `lines` of a container's log, all if `None`, at most [`TAIL_MAX`] bytes of UTF-8.
    /// `NotFound` if there is no container.
    fn tail(&self, name: Name, lines: Option<u32>) -> Answer<'_, String>;

    /// Exits of containers with the label of `host`, from now on. The stream ends, with a fault or
    /// without, when it breaks; exits may be lost then, and [`Engine::list`] has to find them.
    fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, Fault>>;
}

/// The last `max` bytes of a text, from the first whole character on, invalid bytes replaced.
pub(crate) fn last_bytes(bytes: &[u8], max: usize) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if text.len() > max {
        let cut = (text.len() - max..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.drain(..cut);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let name = Name { instance: model::Env::system().id(), epoch: 3, placement: 12 };
        assert_eq!(name.to_string().parse(), Ok(name));
        for bad in ["skep-x-1-2", "other", "skep-", "skep-00000000-0000-0000-0000-000000000000-1"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tails_are_cut_at_characters() {
        assert_eq!(last_bytes("aéé".as_bytes(), 3), "é");
        assert_eq!(last_bytes(b"ab\xff", 64), "ab\u{fffd}");
    }
}
