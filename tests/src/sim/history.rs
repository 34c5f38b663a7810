//! What clients asked for and what they were told, and what is a lie at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Fault, FaultKind, InstanceId};

use super::fired::Fired;
use super::sizes::Sizes;
use super::trace::Trace;

/// What a client was told of something that it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was promised.
    Yes,
    /// It was refused: it must not happen.
    No,
    /// Nobody can tell: it may have happened.
    Perhaps,
}

impl Word {
    /// What a fault says.
    pub fn of(fault: &Fault) -> Self {
        match fault.kind {
            FaultKind::Unavailable | FaultKind::Timeout | FaultKind::Stale => Self::Perhaps,
            _ => Self::No,
        }
    }
}

/// A request for instances.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name, which no other has; also its key, if it has one.
    pub base: String,
    /// The names of its instances.
    pub names: Vec<String>,
    /// Their flavor.
    pub flavor: String,
    /// Their image.
    pub image: String,
    /// Whether it has a key.
    pub keyed: bool,
}

/// One instance as its client knows it.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name, which no other has.
    pub name: String,
    /// Whose it is.
    pub client: usize,
    /// Its id, once it was told.
    pub id: Option<InstanceId>,
    /// What was said to the creation.
    pub create: Word,
    /// What was said to its deletion, if it was asked for.
    pub delete: Option<Word>,
    /// Whether it should run, if what was said leaves no doubt.
    pub run: Option<bool>,
    /// Actions that were promised, and those that may have been.
    pub actions: (u32, u32),
    /// Those of them about sizes, of which the API level has records too.
    pub resizes: (u32, u32),
    /// What its size may be.
    pub sizes: Sizes,
    /// Whether it was seen to be gone.
    pub gone: bool,
}

#[derive(Default)]
struct Inner {
    lives: BTreeMap<String, Life>,
    owed: BTreeMap<String, (usize, Asked)>,
    lies: Vec<String>,
    gone: BTreeSet<InstanceId>,
    calls: u64,
    quiet: bool,
    serial: u64,
}

/// The history of one simulation.
pub struct History {
    inner: Mutex<Inner>,
    trace: Arc<Trace>,
    fired: Arc<Fired>,
}

impl History {
    /// An empty history.
    pub fn new(trace: Arc<Trace>, fired: Arc<Fired>) -> Self {
        Self { inner: Mutex::default(), trace, fired }
    }

    /// Counts something that clients do seldom.
    pub fn count(&self, kind: &'static str) {
        self.fired.once(kind);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a client did something.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        self.lock().calls += 1;
        self.trace.add(what);
    }

    /// Writes down something that must not be.
    pub fn lie(&self, what: String) {
        self.trace.add(format_args!("VIOLATION {what}"));
        self.lock().lies.push(what);
    }

    /// Whether there is anything that must not be.
    pub fn has_lies(&self) -> bool {
        !self.lock().lies.is_empty()
    }

    /// What must not be and was.
    pub fn lies(&self) -> Vec<String> {
        self.lock().lies.clone()
    }

    /// How many calls clients have made.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Tells clients to ask for nothing more.
    pub fn be_quiet(&self) {
        self.lock().quiet = true;
    }

    /// Whether clients ask for nothing more.
    pub fn is_quiet(&self) -> bool {
        self.lock().quiet
    }

    /// A new name.
    pub fn name(&self, client: usize) -> String {
        let mut inner = self.lock();
        inner.serial += 1;
        format!("c{client}-{}", inner.serial)
    }

    /// Begins the lives of a request, of which nothing is known yet.
    pub fn begin(&self, client: usize, asked: &Asked) {
        let mut inner = self.lock();
        if asked.keyed {
            inner.owed.insert(asked.base.clone(), (client, asked.clone()));
        }
        for name in &asked.names {
            let life = Life {
                name: name.clone(),
                client,
                id: None,
                create: Word::Perhaps,
                delete: None,
                run: None,
                actions: (0, 0),
                resizes: (0, 0),
                sizes: Sizes::new(&asked.flavor),
                gone: false,
            };
            inner.lives.insert(name.clone(), life);
        }
    }

    /// A request with a key of which a client does not know yet what came of it.
    pub fn owed(&self, client: usize) -> Option<Asked> {
        self.lock().owed.values().find(|(whose, _)| *whose == client).map(|(_, asked)| asked.clone())
    }

    /// It is known now what came of a request.
    pub fn settled(&self, base: &str) {
        self.lock().owed.remove(base);
    }

    /// Changes what is known of a life.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Life)) {
        let mut inner = self.lock();
        let mut gone = None;
        if let Some(life) = inner.lives.get_mut(name) {
            change(life);
            gone = life.id.filter(|_| life.gone);
        }
        inner.gone.extend(gone);
    }

    /// What was seen to be gone.
    pub fn gone(&self) -> BTreeSet<InstanceId> {
        self.lock().gone.clone()
    }

    /// What is known of a life.
    pub fn life(&self, name: &str) -> Option<Life> {
        self.lock().lives.get(name).cloned()
    }

    /// All lives, by name.
    pub fn lives(&self) -> Vec<Life> {
        self.lock().lives.values().cloned().collect()
    }

    /// The promised lives of a client that nobody asked to delete.
    pub fn standing(&self, client: usize) -> Vec<Life> {
        let standing =
            |life: &&Life| life.client == client && life.create == Word::Yes && life.delete.is_none();
        self.lock().lives.values().filter(standing).cloned().collect()
    }
}
