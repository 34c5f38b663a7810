//! Changing an instance where it lives, and reading its console.

use std::sync::Arc;

use cell_db::{actions, instances};
use model::failpoint::ACT;
use model::instance::{Action, Stage};
use model::{Caller, CellId, Context, Fault, FaultKind, HostId, InstanceId};
use router::CellHandle;
use rpc::contract::ConsoleTail;
use rpc::{Address, Bell};
use sql::{Error, Work};
use uuid::Uuid;

use crate::amend::check_lock;
use crate::show::Found;
use crate::{Verbs, no_such_instance};

impl Verbs {
    /// Starts, stops or reboots an instance: once this returns, it will be done or the instance will say
    /// why not.
    ///
    /// # Errors
    /// What the instance's state forbids is a conflict; a cell that does not answer is unavailable, and
    /// then nothing is half done.
    pub async fn act(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        action: Action,
    ) -> Result<(), Fault> {
        self.act_once(caller, context, id, action, None).await
    }

    /// The same; what an earlier attempt with the same `once` did in the instance's cell is not done again.
    ///
    /// # Errors
    /// As [`Verbs::act`].
    pub async fn act_once(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        action: Action,
        once: Option<Uuid>,
    ) -> Result<(), Fault> {
        let who = Arc::new((caller.clone(), context.clone()));
        let mut patience = 5;
        loop {
            let row = match self.find(caller, id).await? {
                Found::Row(row) => row,
                Found::Waiting(row) => {
                    // Refused like what is being built, which it is.
                    return action.check(id, (row.stage, row.power, row.phase), row.task);
                }
                Found::Dark(unseen) => return Err(unseen.why.into()),
            };
            let cell = self.inner.router.cell(row.cell.unwrap_or(CellId::ZERO))?;
            if let Some(once) = once
                && is_done(&cell, once).await?
            {
                return Ok(());
            }
            check_lock(caller, id, &row.spec)?;
            action.check(id, (row.stage, row.power, row.phase), row.task)?;
            if row.host.is_none() {
                let word = action.word();
                return Err(Fault::conflict(format!("Cannot '{word}' instance {id}: it has no host")));
            }
            let (at, now) = (row.at, self.inner.env.now());
            let record = once.unwrap_or_else(|| self.inner.env.uuid());
            let write = || {
                let by = who.clone();
                cell.write(move |tx| -> Work<'_, Option<HostId>> {
                    let by = by.clone();
                    Box::pin(async move {
                        if !actions::record(tx, record, id, action, (&by.0, &by.1), now).await? {
                            return Ok(None);
                        }
                        instances::act(tx, id, at, action, &by.1.request_id, now).await
                    })
                })
            };
            match self.inner.env.step(ACT, write).await {
                Ok(host) => {
                    if let Some(host) = host {
                        cell.ring(Bell::Host(host));
                    }
                    return Ok(());
                }
                // Somebody else changed it between our read and our write: look again.
                Err(Error::Stale) if patience > 0 => patience -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The end of an instance's log, at most 64 KiB.
    ///
    /// # Errors
    /// A conflict while it has no host; unavailable if the host does not answer.
    pub async fn console(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        lines: Option<u32>,
    ) -> Result<String, Fault> {
        let row = self.row(caller, id).await?;
        let (Some((host, _)), Some(cell)) = (row.host, row.cell) else {
            return match row.stage {
                Stage::Tombstone => Err(no_such_instance(id)),
                // Nova's text (`nova/exception.py`, InstanceNotReady).
                _ => Err(Fault::conflict(format!("Instance {id} is not ready"))),
            };
        };
        let cell = self.inner.router.cell(cell)?;
        let call = ConsoleTail { instance: id, lines };
        match cell.bus()?.call(Address::Host(host), context, &call).await {
            Ok(tail) => Ok(tail.text),
            Err(fault) if fault.kind == FaultKind::NotFound => {
                Err(Fault::conflict(format!("Instance {id} is not ready")))
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Whether an earlier attempt with the same `once` did in the cell what it was to do.
pub(crate) async fn is_done(cell: &CellHandle, once: Uuid) -> Result<bool, Error> {
    let done = cell
        .read(move |tx| -> Work<'_, bool> { Box::pin(async move { actions::is_recorded(tx, once).await }) });
    done.await
}
