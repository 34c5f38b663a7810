//! Server groups.

use api_db::groups::{self, ServerGroup};
use api_db::limits;
use model::extra::Policy;
use model::{Caller, Fault};
use sql::Work;
use uuid::Uuid;

use crate::Verbs;

fn missing(id: Uuid) -> Fault {
    // Nova's text (`nova/exception.py`, InstanceGroupNotFound).
    Fault::not_found(format!("Instance group {id} could not be found."))
}

impl Verbs {
    /// Makes a server group of the caller's project. `max_per_host` is 0 if it was not said. Attempts with the same
    /// `once` make one group.
    ///
    /// # Errors
    /// Over quota.
    pub async fn create_group(
        &self,
        caller: &Caller,
        name: String,
        policy: Policy,
        max_per_host: i64,
        once: Option<Uuid>,
    ) -> Result<ServerGroup, Fault> {
        let group = ServerGroup {
            id: once.unwrap_or_else(|| self.inner.env.uuid()),
            project: caller.project.clone(),
            user: caller.user.clone(),
            name,
            policy,
            max_per_host,
            created: self.inner.env.now(),
            members: Vec::new(),
        };
        let quota = self.inner.settings.quota;
        let write = self.inner.db.write(move |tx| -> Work<'_, ServerGroup> {
            let group = group.clone();
            Box::pin(async move {
                if let Some(before) = groups::get(tx, group.id).await? {
                    return Ok(before);
                }
                let limits = limits::of(tx, &group.project, quota).await?;
                groups::create(tx, &group, &limits).await?;
                Ok(group)
            })
        });
        Ok(write.await?)
    }

    /// Groups of the caller's project, or for an administrator of all, in the order in which they were made.
    pub async fn groups(
        &self,
        caller: &Caller,
        all: bool,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<ServerGroup>, Fault> {
        let project = (!all).then(|| caller.project.clone());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<ServerGroup>> {
            let project = project.clone();
            Box::pin(async move { groups::list(tx, project.as_deref(), offset, limit).await })
        });
        Ok(read.await?)
    }

    /// One group that the caller may see.
    pub async fn group(&self, caller: &Caller, id: Uuid) -> Result<ServerGroup, Fault> {
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<ServerGroup>> {
            Box::pin(async move { groups::get(tx, id).await })
        });
        match read.await? {
            Some(group) if caller.is_admin() || group.project == caller.project => Ok(group),
            _ => Err(missing(id)),
        }
    }

    /// Removes a group; its members run on.
    pub async fn delete_group(&self, caller: &Caller, id: Uuid) -> Result<(), Fault> {
        self.group(caller, id).await?;
        let write = self
            .inner
            .db
            .write(move |tx| -> Work<'_, bool> { Box::pin(async move { groups::delete(tx, id).await }) });
        if write.await? { Ok(()) } else { Err(missing(id)) }
    }

    /// The group that an instance belongs to, if it still exists.
    pub async fn group_of(&self, instance: model::InstanceId) -> Result<Option<Uuid>, Fault> {
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Uuid>> {
            Box::pin(async move { groups::of(tx, instance).await })
        });
        Ok(read.await?)
    }
}
