//! Making an instance's container anew, from another image perhaps; and the operator's word on its state.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_db::images::Image;
use api_db::index::Heard;
use cell_db::{actions, amend, instances};
use model::instance::Action;
use model::{Caller, CellId, Context, Fault, FaultKind, HostId, Instance, InstanceId, RequestSpec};
use rpc::Bell;
use sql::{Error, Work};
use uuid::Uuid;

use crate::act::is_done;
use crate::amend::check_lock;
use crate::boot::check_metadata;
use crate::images::check_fits;
use crate::{Verbs, no_such_instance};

/// What a rebuild changes; what is not named stays as it is.
#[derive(Clone, Debug)]
pub struct Rebuild {
    /// The image.
    pub image: Image,
    /// Its name.
    pub name: Option<String>,
    /// Its metadata, all of it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its description.
    pub description: Option<Option<String>>,
    /// Address that the user says it can be reached at, IPv4.
    pub access_ipv4: Option<String>,
    /// The same for IPv6.
    pub access_ipv6: Option<String>,
    /// Whether the user says `AUTO` of its disk.
    pub disk_auto: Option<bool>,
    /// The name of its key pair, which is one of the caller's, or that it has none.
    pub key_name: Option<Option<String>>,
}

impl Rebuild {
    fn apply(&self, spec: &mut RequestSpec) {
        if let Some(reference) = &self.image.reference {
            spec.image = reference.clone();
        }
        spec.name = self.name.clone().unwrap_or_else(|| spec.name.clone());
        spec.metadata = self.metadata.clone().unwrap_or_else(|| spec.metadata.clone());
        spec.description = self.description.clone().unwrap_or_else(|| spec.description.clone());
        let extra = &mut spec.extra;
        extra.image = self.image.listed();
        extra.access_ipv4 = self.access_ipv4.clone().unwrap_or_else(|| extra.access_ipv4.clone());
        extra.access_ipv6 = self.access_ipv6.clone().unwrap_or_else(|| extra.access_ipv6.clone());
        extra.disk_auto = self.disk_auto.unwrap_or(extra.disk_auto);
        extra.key_name = self.key_name.clone().unwrap_or_else(|| extra.key_name.clone());
        extra.amendments += 1;
    }
}

impl Verbs {
    /// Makes an instance's container anew on its host: once this returns, it will be done or the instance
    /// will say why not. What was in the old container is lost. Gives the instance as it is then. What an earlier
    /// attempt with the same `once` did in the instance's cell is not done again.
    ///
    /// # Errors
    /// As [`Verbs::act`].
    pub async fn rebuild(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        wish: Rebuild,
        once: Option<Uuid>,
    ) -> Result<Box<Instance>, Fault> {
        if let Some(metadata) = &wish.metadata {
            check_metadata(&self.limits_of(id, caller).await?, metadata.len())?;
        }
        let work = Arc::new((caller.clone(), context.clone(), wish));
        let action = Action::Rebuild;
        let mut patience = 5;
        loop {
            let row = self.row(caller, id).await?;
            let cell = self.inner.router.cell(row.cell.unwrap_or(CellId::ZERO))?;
            // What is on no host was never rebuilt.
            if let Some(once) = once.filter(|_| row.host.is_some())
                && is_done(&cell, once).await?
            {
                return Ok(row);
            }
            check_lock(caller, id, &row.spec)?;
            check_fits(&work.2.image, &row.spec.flavor)?;
            action.check(id, (row.stage, row.power, row.phase), row.task)?;
            let (here, now) = (cell.cell.id, self.inner.env.now());
            let record = once.unwrap_or_else(|| self.inner.env.uuid());
            let (work, at) = (work.clone(), row.at);
            let written = cell
                .write(move |tx| -> Work<'_, (Heard, Option<HostId>)> {
                    let work = work.clone();
                    Box::pin(async move {
                        let (caller, context, wish) = &*work;
                        let found = amend::get(tx, here, id).await?;
                        let (mut instance, version) =
                            found.ok_or_else(|| Error::from(no_such_instance(id)))?;
                        if !actions::record(tx, record, id, action, (caller, context), now).await? {
                            return Ok((Heard { instance, version }, None));
                        }
                        if instance.at != at {
                            return Err(Error::Stale);
                        }
                        if instance.host.is_none() {
                            let why = format!("Cannot 'rebuild' instance {id}: it has no host");
                            return Err(Fault::conflict(why).into());
                        }
                        wish.apply(&mut instance.spec);
                        amend::amend(tx, id, version, &instance.spec, now).await?;
                        let host = instances::act(tx, id, at, action, &context.request_id, now).await?;
                        let found = amend::get(tx, here, id).await?;
                        let (instance, version) = found.ok_or(Error::Stale)?;
                        Ok((Heard { instance, version }, host))
                    })
                })
                .await;
            match written {
                Ok((heard, host)) => {
                    if let Some(host) = host {
                        cell.ring(Bell::Host(host));
                    }
                    self.write_through(heard.clone()).await;
                    return Ok(Box::new(heard.instance));
                }
                Err(Error::Stale) if patience > 0 => patience -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says that an instance is in error, or that it is not. An operator's last resort: nothing is done to
    /// its container.
    ///
    /// # Errors
    /// A conflict if it is not on a host; a cell that does not answer is unavailable.
    pub async fn reset_state(
        &self,
        caller: &Caller,
        context: &Context,
        id: InstanceId,
        in_error: bool,
    ) -> Result<(), Fault> {
        let row = self.row(caller, id).await?;
        let (Some(cell), Some(_)) = (row.cell, &row.host) else {
            return Err(Fault::conflict(format!("Instance {id} is on no host: there is no state to set")));
        };
        let cell = self.inner.router.cell(cell)?;
        let (at, now, record) = (row.at, self.inner.env.now(), self.inner.env.uuid());
        let fault =
            in_error.then(|| Fault::new(FaultKind::Internal, "An operator has set the state to ERROR."));
        let who = Arc::new((caller.clone(), context.clone()));
        let written = cell.write(move |tx| -> Work<'_, ()> {
            let (who, fault) = (who.clone(), fault.clone());
            Box::pin(async move {
                amend::reset(tx, id, at, fault.as_ref(), now).await?;
                actions::record_done(tx, record, id, "resetState", (&who.0, &who.1), now).await?;
                Ok(())
            })
        });
        Ok(written.await?)
    }
}
