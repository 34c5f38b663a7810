//! The kinds of evil, and what each must have done somewhere.

use model::failpoint;

/// A kind of evil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evil {
    /// A process is killed and comes back.
    Kill,
    /// A process stands still and goes on.
    Freeze,
    /// A database is slow, refuses, and breaks connections before and after commits.
    Sick,
    /// A database stands still.
    Frozen,
    /// A broker loses, doubles, reorders and delays.
    Mail,
    /// A broker's queues are emptied.
    Purge,
    /// A broker takes no messages.
    Block,
    /// An engine hangs or refuses.
    Engine,
    /// An engine's replies are lost.
    Reply,
    /// An engine refuses to make containers.
    Refuse,
    /// Containers end by themselves.
    Exit,
    /// A host boots.
    Boot,
    /// A journal's disk is full.
    Full,
    /// A step fails before or after its commit, or runs twice.
    Step,
    /// A cell is cordoned.
    Cordon,
    /// A process's wall clock is set forth or back.
    Clock,
}

/// Every kind.
pub const ALL: [Evil; 16] = [
    Evil::Kill,
    Evil::Freeze,
    Evil::Sick,
    Evil::Frozen,
    Evil::Mail,
    Evil::Purge,
    Evil::Block,
    Evil::Engine,
    Evil::Reply,
    Evil::Refuse,
    Evil::Exit,
    Evil::Boot,
    Evil::Full,
    Evil::Step,
    Evil::Cordon,
    Evil::Clock,
];

impl Evil {
    /// What it does, as [`super::fired::Fired`] counts it.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Kill => &["a process is killed"],
            Self::Freeze => &["a process stands still"],
            Self::Sick => &[
                "a database refuses",
                "a database stalls",
                "a commit is made and not told",
                "a commit is lost and not told",
            ],
            Self::Frozen => &["a call waits for a frozen database"],
            Self::Mail => {
                &["a message is lost", "a message is doubled", "a message overtakes", "a message is late"]
            }
            Self::Purge => &["a message is purged"],
            Self::Block => &["a publisher is blocked"],
            Self::Engine => &["an engine stands still", "an engine refuses connections"],
            Self::Reply => {
                &["an engine's reply is lost", "an engine says that a start failed, and it did not"]
            }
            Self::Refuse => &["an engine refuses to make a container"],
            Self::Exit => &["a container ends by itself"],
            Self::Boot => &["a host boots"],
            Self::Full => &["a journal cannot be written"],
            // Failpoints are counted by their names.
            Self::Step => &[],
            Self::Cordon => &["a cell is cordoned"],
            Self::Clock => &["a wall clock is set forth", "a wall clock is set back"],
        }
    }
}

/// What clients do that would prove nothing if it never came about.
const CLIENTS: [&str; 6] = [
    "a size is changed",
    "a size is kept",
    "a size is taken back",
    "a change is tried again and promised",
    "a request is told again",
    "two attempts at a time are promised",
];

/// The failpoints of workers. Those of the API are not among them: what has failed there after its commit is told
/// as a failure, which these clients take for a refusal; `steps` has them, with callers that look again.
pub fn points() -> impl Iterator<Item = failpoint::Point> {
    failpoint::ALL.iter().copied().filter(|point| !point.0.starts_with("api."))
}

/// Everything that must have happened in some simulation: what every kind of evil does, every failpoint, and what
/// clients do seldom.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let points = points().map(|point| point.0);
    ALL.into_iter().flat_map(|evil| evil.kinds().iter().copied()).chain(points).chain(CLIENTS)
}
