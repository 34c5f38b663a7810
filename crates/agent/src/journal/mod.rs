//! The journal: what this host has accepted and done, on disk before anybody is told of it.
//!
//! One task writes it. Under load one commit carries the changes of many instances, so that they share
//! its fsync (group commit). Changes whose loss costs only a repetition are written along with the next
//! durable ones, or a second later.

pub(crate) mod entry;
mod memory;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{Fault, FaultKind, HostId, InstanceId};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use entry::{Marks, Wish};
pub use memory::Memory;

const META: TableDefinition<'_, &str, u128> = TableDefinition::new("meta");
const WISHES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("wishes");
const MARKS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("marks");

/// The host that a journal belongs to.
const HOST: &str = "host";
/// The machine's boot for which a full sync was finished.
const BOOT: &str = "boot";
/// The cell database's incarnation that was synced with in full.
const INCARNATION: &str = "incarnation";

/// How long a change may wait for company that pays for the commit.
const LAZY: Duration = Duration::from_secs(1);
/// How long one commit may take before its caller gives up.
const COMMIT: Duration = Duration::from_secs(10);
/// At most so many changes in one commit.
const BATCH: usize = 4096;
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// One thing to write down.
#[derive(Clone, Debug)]
pub enum Change {
    /// The newest wish of an instance.
    Wish(InstanceId, Wish),
    /// What was done about it.
    Marks(InstanceId, Marks),
    /// A full sync was finished for this boot.
    Boot(Uuid),
    /// A full sync was finished with this incarnation of the cell's database.
    Incarnation(Uuid),
}

/// What a journal held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The boot for which a full sync was finished; none if the journal is new.
    pub boot: Option<Uuid>,
    /// The incarnation that was synced with in full.
    pub incarnation: Option<Uuid>,
    /// By instance.
    pub instances: HashMap<InstanceId, (Wish, Marks)>,
}

struct Batch {
    changes: Vec<Change>,
    done: Option<oneshot::Sender<Result<(), Fault>>>,
    /// Nothing comes after it.
    last: bool,
}

/// A handle of the one writer. It is written and closed when all handles are dropped.
#[derive(Clone, Debug)]
pub struct Journal {
    batches: mpsc::UnboundedSender<Batch>,
    commits: Arc<AtomicU64>,
}

impl Journal {
    /// Opens or makes the journal of `host` at `path` and starts its writer, which needs a tokio
    /// runtime. Refuses another host's journal, and entries of a format that it does not know.
    pub async fn open(path: &Path, host: HostId) -> Result<(Self, Loaded), Fault> {
        let path = path.to_owned();
        let opening = path.clone();
        let (database, loaded) = tokio::task::spawn_blocking(move || load(&opening, host))
            .await
            .map_err(|why| Fault::internal(format!("opening the journal failed: {why}")))??;
        Ok((Self::start(Store::File { path, database: Some(database) }), loaded))
    }

    /// The same over a journal in memory.
    pub fn in_memory(memory: &Memory, host: HostId) -> Result<(Self, Loaded), Fault> {
        let loaded = memory.load(host)?;
        Ok((Self::start(Store::Memory(memory.clone())), loaded))
    }

    fn start(store: Store) -> Self {
        let (batches, inbox) = mpsc::unbounded_channel();
        let commits = Arc::new(AtomicU64::new(0));
        tokio::spawn(write_all(Writer { store, commits: commits.clone() }, inbox));
        Self { batches, commits }
    }

    /// Writes changes in order with what follows them, at the latest a second later.
    pub fn note(&self, changes: Vec<Change>) {
        // A writer that is gone has logged why, and every commit tells of it.
        let _ = self.batches.send(Batch { changes, done: None, last: false });
    }

    /// Writes changes and returns when they are on disk, with all that was noted before. After a fault
    /// they may be or not.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), Fault> {
        self.send(changes, false).await
    }

    /// Writes what was noted and closes the file; whatever comes later is refused.
    pub async fn close(&self) -> Result<(), Fault> {
        self.send(Vec::new(), true).await
    }

    async fn send(&self, changes: Vec<Change>, last: bool) -> Result<(), Fault> {
        let (done, result) = oneshot::channel();
        let ended = || Fault::unavailable("the journal is closed");
        self.batches.send(Batch { changes, done: Some(done), last }).map_err(|_| ended())?;
        match tokio::time::timeout(COMMIT, result).await {
            Ok(result) => result.map_err(|_| ended())?,
            Err(_) => Err(Fault::new(FaultKind::Timeout, "the journal's disk does not answer")),
        }
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

enum Store {
    File {
        path: PathBuf,
        /// Absent after a failed commit: a database that met an I/O error must be opened anew.
        database: Option<Database>,
    },
    Memory(Memory),
}

struct Writer {
    store: Store,
    commits: Arc<AtomicU64>,
}

async fn write_all(mut writer: Writer, mut inbox: mpsc::UnboundedReceiver<Batch>) {
    let mut changes: Vec<Change> = Vec::new();
    let mut open = true;
    let in_memory = matches!(writer.store, Store::Memory(_));
    while open {
        let mut waiting = Vec::new();
        let first = match changes.is_empty() {
            true => inbox.recv().await.map(Some),
            false => match tokio::time::timeout(LAZY, inbox.recv()).await {
                Ok(batch) => batch.map(Some),
                Err(_) => Some(None),
            },
        };
        // A second after the first note there was no company: it is written alone.
        let mut due = matches!(first, Some(None));
        match first {
            None => open = false,
            Some(first) => {
                let mut next = first;
                while let Some(batch) = next {
                    changes.extend(batch.changes);
                    waiting.extend(batch.done);
                    if batch.last {
                        open = false;
                        break;
                    }
                    next = if changes.len() < BATCH { inbox.try_recv().ok() } else { None };
                }
            }
        }
        due |= !open || !waiting.is_empty() || changes.len() >= BATCH;
        if !due || (changes.is_empty() && waiting.is_empty()) {
            continue;
        }
        let batch = std::mem::take(&mut changes);
        let write = move || {
            let result = writer.commit(&batch);
            (writer, batch, result)
        };
        let written = match in_memory {
            true => Ok(write()),
            false => tokio::task::spawn_blocking(write).await,
        };
        let result = match written {
            Ok((back, batch, result)) => {
                writer = back;
                // Whoever waits is told and repeats; what nobody waits for is kept for the next time.
                if result.is_err() && waiting.is_empty() && open {
                    changes = batch;
                    tokio::time::sleep(LAZY).await;
                }
                result
            }
            Err(why) => {
                tracing::error!(%why, "the journal's writer failed");
                return;
            }
        };
        if let Err(fault) = &result {
            tracing::error!(%fault, "the journal could not be written");
        }
        if let (false, Store::File { database, .. }) = (open, &mut writer.store) {
            *database = None;
        }
        for done in waiting {
            let _ = done.send(result.clone());
        }
    }
}

impl Writer {
    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        match &mut self.store {
            Store::Memory(memory) => memory.commit(changes)?,
            Store::File { path, database } => {
                let open = match database.take() {
                    Some(open) => open,
                    None => create(path)?,
                };
                write(&open, changes).map_err(broken)?;
                *database = Some(open);
            }
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("skep_agent_journal_commits_total").increment(1);
        metrics::counter!("skep_agent_journal_changes_total").increment(changes.len() as u64);
        Ok(())
    }
}

/// One transaction with redb's default durability, which is on disk when it returns.
fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let mut wishes = transaction.open_table(WISHES)?;
        let mut marks = transaction.open_table(MARKS)?;
        for change in changes {
            match change {
                Change::Wish(id, wish) => put(&mut wishes, *id, wish)?,
                Change::Marks(id, value) => put(&mut marks, *id, value)?,
                Change::Boot(boot) => drop(meta.insert(BOOT, boot.as_u128())?),
                Change::Incarnation(id) => drop(meta.insert(INCARNATION, id.as_u128())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn put<T: serde::Serialize>(
    table: &mut redb::Table<'_, u128, &'static [u8]>,
    id: InstanceId,
    value: &T,
) -> Result<(), redb::Error> {
    let bytes = entry::encode(value).map_err(|fault| redb::Error::Corrupted(fault.message))?;
    table.insert(id.uuid().as_u128(), bytes.as_slice())?;
    Ok(())
}

fn broken(why: impl std::fmt::Display) -> Fault {
    Fault::unavailable(format!("the journal cannot be used: {why}"))
}

fn create(path: &Path) -> Result<Database, Fault> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(broken)?;
    }
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|why| Fault::unavailable(format!("the journal {} cannot be opened: {why}", path.display())))
}

fn load(path: &Path, host: HostId) -> Result<(Database, Loaded), Fault> {
    let database = create(path)?;
    let mut loaded = Loaded::default();
    let owner = read(&database, &mut loaded)?;
    match owner {
        None => {
            let claim = || -> Result<(), redb::Error> {
                let transaction = database.begin_write()?;
                transaction.open_table(META)?.insert(HOST, host.uuid().as_u128())?;
                transaction.commit()?;
                Ok(())
            };
            claim().map_err(broken)?;
        }
        Some(owner) if owner != host => {
            return Err(Fault::invalid(format!(
                "the journal {} belongs to host {owner}, and this is host {host}: give each host a state \
                 directory of its own",
                path.display()
            )));
        }
        Some(_) => {}
    }
    Ok((database, loaded))
}

fn read(database: &Database, loaded: &mut Loaded) -> Result<Option<HostId>, Fault> {
    let transaction = database.begin_read().map_err(broken)?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(why) => return Err(broken(why)),
    };
    let uuid = |key: &str| -> Result<Option<Uuid>, Fault> {
        Ok(meta.get(key).map_err(broken)?.map(|value| Uuid::from_u128(value.value())))
    };
    loaded.boot = uuid(BOOT)?;
    loaded.incarnation = uuid(INCARNATION)?;
    each(&transaction, WISHES, |id, wish| loaded.instances.entry(id).or_default().0 = wish)?;
    each(&transaction, MARKS, |id, marks| loaded.instances.entry(id).or_default().1 = marks)?;
    Ok(uuid(HOST)?.map(HostId::from))
}

fn each<T: serde::de::DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'static, u128, &'static [u8]>,
    mut take: impl FnMut(InstanceId, T),
) -> Result<(), Fault> {
    let table = match transaction.open_table(table) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(why) => return Err(broken(why)),
    };
    for item in table.iter().map_err(broken)? {
        let (key, value) = item.map_err(broken)?;
        take(InstanceId(Uuid::from_u128(key.value())), entry::decode(value.value())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Env;

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("skep-journal-{}", Env::system().uuid())).join("journal")
    }

    #[tokio::test]
    async fn what_was_committed_or_noted_is_there_again() {
        let (path, env) = (path(), Env::system());
        let (host, a, b, boot): (HostId, InstanceId, InstanceId, Uuid) =
            (env.id(), env.id(), env.id(), env.uuid());
        let (journal, loaded) = Journal::open(&path, host).await.expect("opens");
        assert!(loaded.instances.is_empty() && loaded.boot.is_none());
        let wish = Wish { tombstone: (3, 4), ..Wish::default() };
        journal.commit(vec![Change::Wish(a, wish.clone()), Change::Boot(boot)]).await.expect("commits");
        let marks = Marks { seq: 7, ..Marks::default() };
        journal.note(vec![Change::Marks(b, marks.clone())]);
        journal.close().await.expect("closes");
        assert!(journal.commit(Vec::new()).await.is_err(), "nothing is written any more");
        let (journal, loaded) = Journal::open(&path, host).await.expect("opens again");
        assert_eq!(loaded.boot, Some(boot));
        assert_eq!(loaded.instances[&a], (wish, Marks::default()));
        assert_eq!(loaded.instances[&b], (Wish::default(), marks));
        journal.close().await.expect("closes");
        let fault = Journal::open(&path, env.id()).await.expect_err("is another host's");
        assert!(fault.message.contains("belongs to host"), "{fault}");
    }

    #[tokio::test]
    async fn many_share_a_commit() {
        let (journal, _) = Journal::open(&path(), Env::system().id()).await.expect("opens");
        let one = |_| {
            let change = Change::Wish(Env::system().id(), Wish::default());
            let journal = journal.clone();
            async move { journal.commit(vec![change]).await }
        };
        let results = futures::future::join_all((0..200).map(one)).await;
        assert!(results.iter().all(Result::is_ok));
        assert!(journal.commits() < 50, "200 changes took {} commits", journal.commits());
    }
}
