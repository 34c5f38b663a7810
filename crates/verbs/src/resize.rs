//! Changing an instance's size on its host, confirming that, and taking it back.

use std::sync::Arc;
use std::time::Duration;

use api_db::limits;
use api_db::mappings::{self, State};
use api_db::quotas::{self, Counted, Limits};
use api_db::resizes::{self, Among, Record};
use api_db::state::{self, BUILD, Resize};
use api_db::{Tx, audit, cells};
use cell_db::resizes::{self as wishes, Wish, Wished};
use model::instance::{Action, Stage, Task};
use model::{Caller, CellId, Context, Fault, Instance, InstanceId, Size, TaskId, Timestamp};
use rpc::Bell;
use serde_json::json;
use sql::{Error, Work};
use tasks::{NewTask, store};
use uuid::Uuid;

use crate::act::is_done;
use crate::amend::check_lock;
use crate::{Verbs, no_such_instance};

/// How long an operator should wait before looking why one has not ended. It is never given up.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How often, and how far apart, a change that has ended in its cell is waited for to end at the API level.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that is chosen before the transaction.
struct Order {
    task: TaskId,
    audit: Uuid,
    bucket: i64,
    action: Action,
    size: Option<Size>,
    row: Instance,
    caller: Caller,
    context: Context,
    default: Limits,
    now: Timestamp,
}

/// What became of an order.
enum Accepted {
    /// It is accepted, now or by an earlier attempt; with the fencing counter that it has.
    Yes(i64),
    /// Another task works on the instance.
    Busy,
}

impl Verbs {
    /// Changes an instance's size on its host: once this returns, it has the new size and waits for a confirmation,
    /// or it stays as it was and its actions say why. What was in its container is lost. `size` is a flavor's id, and
    /// whether the user says `AUTO` of its disk, if that is said. What an earlier attempt with the same `once` asked for
    /// is not asked for again.
    ///
    /// # Errors
    /// As [`Verbs::act`]; invalid if there is no such flavor or it has that one already, over quota if its project
    /// may not have so much.
    pub async fn resize(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        size: (&str, Option<bool>),
        once: Option<Uuid>,
    ) -> Result<(), Fault> {
        self.change_size(caller, context, id, Action::Resize, Some(size), once).await
    }

    /// Keeps the size that an instance was given, or gives it back the one that it had: `action` is
    /// [`Action::ConfirmResize`] or [`Action::RevertResize`].
    ///
    /// # Errors
    /// As [`Verbs::act`].
    pub async fn decide_resize(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        action: Action,
        once: Option<Uuid>,
    ) -> Result<(), Fault> {
        self.change_size(caller, context, id, action, None, once).await
    }

    async fn change_size(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        action: Action,
        size: Option<(&str, Option<bool>)>,
        once: Option<Uuid>,
    ) -> Result<(), Fault> {
        let (env, record) = (&self.inner.env, once.unwrap_or_else(|| self.inner.env.uuid()));
        let mut tries = TRIES;
        loop {
            let row = self.row(caller, id).await?;
            let cell = self.inner.router.cell(row.cell.unwrap_or(CellId::ZERO))?;
            if once.is_some() && is_done(&cell, record).await? {
                return Ok(());
            }
            check_lock(caller, id, &row.spec)?;
            action.check(id, (row.stage, row.power, row.phase), row.task)?;
            if row.host.is_none() {
                let word = action.word();
                return Err(Fault::conflict(format!("Cannot '{word}' instance {id}: it has no host")));
            }
            let size = match size {
                Some(size) => Some(self.another_size(caller, &row, size).await?),
                None => None,
            };
            let order = Arc::new(Order {
                task: TaskId(record),
                audit: env.uuid(),
                bucket: env.below(store::BUCKETS) as i64,
                action,
                size,
                row: *row,
                caller: caller.clone(),
                context: context.clone(),
                default: self.inner.settings.quota,
                now: env.now(),
            });
            match self.accept_resize(&order).await {
                Ok(Accepted::Yes(saga_token)) => return self.wish_at_once(&order, saga_token).await,
                Ok(Accepted::Busy) | Err(Error::Stale) if tries > 0 => {}
                Ok(Accepted::Busy) => {
                    let why =
                        format!("Cannot '{}' instance {id}: another action is under way", action.word());
                    return Err(Fault::conflict(why));
                }
                Err(error) => return Err(error.into()),
            }
            tries -= 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The size of a flavor, unless the instance has it or cannot have it.
    async fn another_size(
        &self,
        caller: &Caller,
        row: &Instance,
        (flavor, disk_auto): (&str, Option<bool>),
    ) -> Result<Size, Fault> {
        let (flavor, extra_specs) = self.size(caller, flavor).await?;
        let has = &row.spec.flavor;
        // Nova's texts (`nova/exception.py`, CannotResizeToSameFlavor and CannotResizeDisk).
        if flavor.id == has.id {
            return Err(Fault::invalid("When resizing, instances must change flavor!"));
        }
        if flavor.disk_gib == 0 && has.disk_gib != 0 {
            let why =
                "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.";
            return Err(Fault::invalid(why));
        }
        Ok(Size { flavor, extra_specs, disk_auto })
    }

    async fn accept_resize(&self, order: &Arc<Order>) -> Result<Accepted, Error> {
        let write = || {
            let order = order.clone();
            self.inner.db.write(move |tx| -> Work<'_, Accepted> {
                let order = order.clone();
                Box::pin(async move { accept(tx, &order).await })
            })
        };
        let accepted = match write().await {
            // Whether it was committed or not, the second time finds out by the task's id.
            Err(Error::Unknown(_)) => write().await?,
            done => done?,
        };
        if let (Accepted::Yes(_), Some(bus)) = (&accepted, &self.inner.bus) {
            bus.ring(Bell::Superconductors);
        }
        Ok(accepted)
    }

    /// Writes the wish now, so that whoever looks next sees it under way. If that cannot be, the task does it.
    async fn wish_at_once(&self, order: &Arc<Order>, saga_token: i64) -> Result<(), Fault> {
        let (order, now) = (order.clone(), order.now);
        let Some(cell) = order.row.cell else { return Ok(()) };
        let cell = self.inner.router.cell(cell)?;
        let written = cell
            .write(move |tx| -> Work<'_, Wished> {
                let order = order.clone();
                Box::pin(async move {
                    let wish = Wish {
                        record: order.task.uuid(),
                        instance: order.row.id,
                        epoch: order.row.at.epoch,
                        saga_token,
                        action: order.action,
                        size: order.size.clone(),
                    };
                    wishes::wish(tx, &wish, (&order.caller, &order.context), now).await
                })
            })
            .await;
        match written {
            Ok(Wished::Refused(fault)) => Err(fault),
            Ok(_) => {
                cell.ring(Bell::Conductors);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "the wish is left to its task");
                Ok(())
            }
        }
    }

    /// Records of changed sizes, newest first, at most `limit`, after the one with the id `marker`.
    ///
    /// # Errors
    /// Invalid if there is no such marker.
    pub async fn resizes(
        &self,
        among: &Among,
        marker: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Record>, Fault> {
        let (among, limit) = (Arc::new(among.clone()), limit as i64);
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Vec<Record>>> {
            let among = among.clone();
            Box::pin(async move {
                let after = match marker {
                    None => None,
                    Some(id) => match resizes::get(tx, id).await? {
                        None => return Ok(None),
                        found => found,
                    },
                };
                Ok(Some(resizes::page(tx, &among, after.as_ref(), limit).await?))
            })
        });
        let found = read.await?;
        found.ok_or_else(|| {
            Fault::invalid(format!("Marker {} could not be found.", marker.unwrap_or_default()))
        })
    }
}

/// Accepts an order: task, what is counted, record and audit, in one transaction.
async fn accept(tx: &mut Tx, order: &Order) -> Result<Accepted, Error> {
    let (row, now) = (&order.row, order.now);
    let id = row.id;
    let mapping = mappings::hold(tx, &[id]).await?.pop();
    let mapping = mapping.filter(|mapping| mapping.state != State::Deleted);
    let mapping = mapping.ok_or_else(|| Error::from(no_such_instance(id)))?;
    if mapping.state == State::Deleting {
        // It is still there, as far as anybody can see, although its cell may not have heard of it yet.
        let (word, task) = (order.action.word(), Task::Deleting.as_str());
        let why = format!("Cannot '{word}' instance {id} while it is in task_state {task}");
        return Err(Fault::conflict(why).into());
    }
    if mapping.epoch != row.at.epoch || mapping.cell != row.cell {
        return Err(Error::Stale);
    }
    let mut saga_token = mapping.saga_token;
    // An earlier attempt may have come to its end since the row was read.
    if resizes::get(tx, order.task.uuid()).await?.is_some() {
        return Ok(Accepted::Yes(saga_token));
    }
    match store::live(tx, id.uuid()).await? {
        None => {}
        Some((task, _)) if task == order.task => return Ok(Accepted::Yes(saga_token)),
        // It was built, as its row says: only the bookkeeping is left, and that is done here.
        Some((_, kind)) if kind == BUILD && row.stage == Stage::Settled => {
            if let Some((kind, old)) = store::supersede(tx, id.uuid()).await?
                && let Some(cell) = state::unsettled_in(&kind, &old)
            {
                cells::settle(tx, cell, 1).await?;
            }
            saga_token = mappings::lease(tx, &[id]).await?.first().map_or(saga_token, |m| m.saga_token);
        }
        Some(_) => return Ok(Accepted::Busy),
    }
    let state = Resize::Wish {
        action: order.action,
        size: order.size.clone(),
        user: order.caller.user.clone(),
        project: order.caller.project.clone(),
    };
    let task = NewTask {
        id: order.task,
        kind: state::RESIZE,
        subject: id.uuid(),
        state: state::to_json(&state)?,
        bucket: order.bucket,
        deadline: now.plus(PATIENCE),
        request_id: order.context.request_id.clone(),
        created: now,
    };
    store::enqueue(tx, &task).await?;
    let word = order.action.word();
    let detail = json!({"flavor": order.size.as_ref().map(|size| &size.flavor.id)});
    audit::record(tx, order.audit, now, (&order.caller, &order.context), word, Some(id.uuid()), detail)
        .await?;
    let Some(size) = &order.size else {
        let stands = if order.action == Action::ConfirmResize { "confirming" } else { "reverting" };
        resizes::stands(tx, id, stands, now).await?;
        return Ok(Accepted::Yes(saga_token));
    };
    let record = Record {
        id: order.task.uuid(),
        instance: id,
        project: row.spec.project.clone(),
        user: order.caller.user.clone(),
        host: row.host.as_ref().map(|(_, name)| name.clone()).unwrap_or_default(),
        old_flavor: row.spec.flavor.id.clone(),
        new_flavor: size.flavor.id.clone(),
        status: "migrating".into(),
        created: now,
        updated: now,
    };
    resizes::begin(tx, &record).await?;
    // Last, because all of a project meet at its row of the quota, which is held until the commit.
    let limits = limits::of(tx, &row.spec.project, order.default).await?;
    let (has, wants) = (&row.spec.flavor, &size.flavor);
    let both: Counted = [has.vcpus.max(wants.vcpus), has.memory_mib.max(wants.memory_mib)];
    quotas::recount(tx, id, both, Some(&limits)).await?;
    Ok(Accepted::Yes(saga_token))
}
