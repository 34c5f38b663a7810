//! Changing what is kept of an instance beside its container: name, description, metadata, tags, lock.
//!
//! The cell's row is the truth of a bound instance: it is changed first, by compare-and-swap. The API level's
//! copy follows before the answer, and if this process dies in between the feed brings it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api_db::index::{self, Heard};
use api_db::limits::{self, Effective};
use api_db::mappings;
use cell_db::{actions, amend};
use model::extra::Lock;
use model::instance::Task;
use model::{Caller, CellId, Context, Fault, FaultKind, Instance, InstanceId, RequestSpec, Stage};
use sql::{Error, Work};

use crate::boot::check_metadata;
use crate::show::Found;
use crate::{Verbs, no_such_instance};

/// How long a change waits for an instance that was just accepted to be in its cell, and how often it looks.
const PLACED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// Most tags that an instance may have (Nova's).
pub const MOST_TAGS: usize = 50;

/// Nova's rule for opening a lock of the other side.
pub const UNLOCK_ANYONES: &str = "os_compute_api:os-lock-server:unlock:unlock_override";

/// What to change of an instance; what is not named stays as it is.
#[derive(Clone, Debug)]
pub enum Amendment {
    /// What `PUT /servers/{id}` changes.
    Describe {
        /// Its name.
        name: Option<String>,
        /// Its description.
        description: Option<Option<String>>,
        /// Its host name.
        hostname: Option<String>,
        /// The IPv4 address that the user says it can be reached at.
        access_ipv4: Option<String>,
        /// The same for IPv6.
        access_ipv6: Option<String>,
        /// Whether the user says `AUTO` of its disk.
        disk_auto: Option<bool>,
    },
    /// Metadata: these items are put, and if so asked all others removed.
    Metadata {
        /// The items.
        items: BTreeMap<String, String>,
        /// Whether all others go.
        replace: bool,
    },
    /// One item of metadata goes.
    RemoveMetadata(String),
    /// All tags are these.
    Tags(BTreeSet<String>),
    /// One more tag.
    AddTag(String),
    /// One tag goes.
    RemoveTag(String),
    /// It is locked.
    Lock(Option<String>),
    /// It is not locked any more.
    Unlock {
        /// Whether the caller may also open a lock of the other side: an administrator's, or the owner's.
        anyones: bool,
    },
}

impl Amendment {
    /// Nova's word, where it records an action.
    fn action(&self) -> Option<&'static str> {
        match self {
            Self::Lock(_) => Some("lock"),
            Self::Unlock { .. } => Some("unlock"),
            _ => None,
        }
    }

    /// Whether nothing is left to do: a lock that is there stays whose it is, for all but administrators of other
    /// projects (`nova/compute/api.py`, `lock`).
    fn is_moot(&self, caller: &Caller, spec: &RequestSpec) -> bool {
        matches!(self, Self::Lock(_)) && spec.extra.locked.is_some() && caller.project == spec.project
    }

    /// Refuses what Nova refuses.
    fn check(&self, caller: &Caller, instance: &Instance) -> Result<(), Fault> {
        let word = match self {
            Self::Metadata { .. } => "update metadata",
            Self::RemoveMetadata(_) => "delete metadata",
            Self::Tags(_) | Self::AddTag(_) | Self::RemoveTag(_) => "update tags",
            Self::Describe { .. } | Self::Lock(_) | Self::Unlock { .. } => return Ok(()),
        };
        if matches!(self, Self::Metadata { .. } | Self::RemoveMetadata(_)) {
            check_lock(caller, instance.id, &instance.spec)?;
        }
        let vm_state = instance.vm_state();
        if !matches!(vm_state, "active" | "paused" | "suspended" | "stopped") {
            return Err(Fault::conflict(format!(
                "Cannot '{word}' instance {} while it is in vm_state {vm_state}",
                instance.id
            )));
        }
        Ok(())
    }

    fn apply(&self, caller: &Caller, spec: &mut RequestSpec, limits: &Effective) -> Result<(), Fault> {
        match self.clone() {
            Self::Describe { name, description, hostname, access_ipv4, access_ipv6, disk_auto } => {
                spec.name = name.unwrap_or_else(|| spec.name.clone());
                spec.description = description.unwrap_or_else(|| spec.description.clone());
                spec.extra.hostname = hostname.or_else(|| spec.extra.hostname.clone());
                spec.extra.access_ipv4 = access_ipv4.unwrap_or_else(|| spec.extra.access_ipv4.clone());
                spec.extra.access_ipv6 = access_ipv6.unwrap_or_else(|| spec.extra.access_ipv6.clone());
                spec.extra.disk_auto = disk_auto.unwrap_or(spec.extra.disk_auto);
            }
            Self::Metadata { items, replace } => {
                if replace {
                    spec.metadata.clear();
                }
                spec.metadata.extend(items);
                check_metadata(limits, spec.metadata.len())?;
            }
            Self::RemoveMetadata(key) => {
                if spec.metadata.remove(&key).is_none() {
                    return Err(Fault::not_found("Metadata item was not found"));
                }
            }
            Self::Tags(tags) => spec.extra.tags = tags,
            Self::AddTag(tag) => {
                spec.extra.tags.insert(tag);
                if spec.extra.tags.len() > MOST_TAGS {
                    return Err(Fault::invalid(format!(
                        "The number of tags exceeded the per-server limit {MOST_TAGS}"
                    )));
                }
            }
            Self::RemoveTag(tag) => {
                if !spec.extra.tags.remove(&tag) {
                    return Err(Fault::not_found(format!("Instance tag '{tag}' was not found")));
                }
            }
            Self::Lock(reason) => {
                let by_admin = caller.is_admin() && caller.project != spec.project;
                spec.extra.locked = Some(Lock { by_admin, reason });
            }
            Self::Unlock { anyones } => {
                let is_owner = caller.project == spec.project;
                if spec.extra.locked.as_ref().is_some_and(|lock| lock.by_admin == is_owner) && !anyones {
                    return Err(Fault::new(
                        FaultKind::Forbidden,
                        format!("Policy doesn't allow {UNLOCK_ANYONES} to be performed."),
                    ));
                }
                spec.extra.locked = None;
            }
        }
        spec.extra.amendments += 1;
        Ok(())
    }
}

/// Refuses, with Nova's text, what a lock forbids; administrators pass.
pub(crate) fn check_lock(caller: &Caller, id: InstanceId, spec: &RequestSpec) -> Result<(), Fault> {
    match spec.extra.locked.is_some() && !caller.is_admin() {
        true => Err(Fault::conflict(format!("Instance {id} is locked"))),
        false => Ok(()),
    }
}

impl Verbs {
    /// Changes what is kept of an instance, and gives it as it is then.
    ///
    /// # Errors
    /// What its state forbids is a conflict; a cell that does not answer is unavailable, and then nothing
    /// was changed.
    pub async fn amend(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        amendment: Amendment,
    ) -> Result<Box<Instance>, Fault> {
        let limits = match amendment {
            Amendment::Metadata { .. } => self.limits_of(id, caller).await?,
            _ => self.default_quota(limits::CLASS).await?,
        };
        let work = Arc::new((caller.clone(), context.clone(), amendment, limits));
        let mut patience = 5;
        let start = self.inner.env.monotonic();
        loop {
            let row = match self.find(caller, id).await? {
                Found::Row(row) => row,
                // Nova changes what is still to be placed as well; here its cell has to have it first. That is
                // waited for if it was only just asked for.
                Found::Waiting(it)
                    if it.task != Some(Task::Deleting)
                        && self.inner.env.now().since(it.created) < PLACED
                        && self.inner.env.monotonic().saturating_sub(start) < PLACED =>
                {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Found::Waiting(_) => {
                    let why = format!("Instance {id} is about to be placed; try again when it was");
                    return Err(Fault::conflict(why));
                }
                Found::Dark(unseen) => return Err(unseen.why.into()),
            };
            let cell = self.inner.router.cell(row.cell.unwrap_or(CellId::ZERO))?;
            let (here, now, record) = (cell.cell.id, self.inner.env.now(), self.inner.env.uuid());
            let work = work.clone();
            let written = cell
                .write(move |tx| -> Work<'_, Heard> {
                    let work = work.clone();
                    Box::pin(async move {
                        let (caller, context, amendment, limits) = &*work;
                        let found = amend::get(tx, here, id).await?;
                        let found = found.filter(|(row, _)| row.stage != Stage::Tombstone);
                        let (mut instance, version) =
                            found.ok_or_else(|| Error::from(no_such_instance(id)))?;
                        if amendment.is_moot(caller, &instance.spec) {
                            return Ok(Heard { instance, version });
                        }
                        amendment.check(caller, &instance)?;
                        amendment.apply(caller, &mut instance.spec, limits)?;
                        let version = amend::amend(tx, id, version, &instance.spec, now).await?;
                        if let Some(word) = amendment.action() {
                            actions::record_done(tx, record, id, word, (caller, context), now).await?;
                        }
                        instance.updated = now;
                        Ok(Heard { instance, version })
                    })
                })
                .await;
            match written {
                Ok(heard) => {
                    self.write_through(heard.clone()).await;
                    return Ok(Box::new(heard.instance));
                }
                Err(Error::Stale) if patience > 0 => patience -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The limits of the project that an instance belongs to.
    pub(crate) async fn limits_of(&self, id: InstanceId, caller: &Caller) -> Result<Effective, Fault> {
        let project = self.mapping(caller, id).await?.project;
        Ok(self.quota(&project).await?.limits)
    }

    /// Brings the API level's copy up to what a cell has just committed. What fails here, the feed brings.
    pub(crate) async fn write_through(&self, heard: Heard) {
        let heard = Arc::new(vec![heard]);
        let written = self.inner.db.write(move |tx| -> Work<'_, ()> {
            let heard = heard.clone();
            Box::pin(async move {
                index::apply(tx, &heard).await?;
                mappings::amend(tx, &heard).await
            })
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "the index hears of a change later");
        }
    }
}
