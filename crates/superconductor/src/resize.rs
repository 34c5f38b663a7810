//! Changing sizes: the wish in the cell, and what is counted once it has come to an end there.

use std::sync::Arc;

use api_db::state::Resize;
use api_db::{quotas, resizes, usage};
use cell_db::resizes::{self as wishes, Standing, Wish, Wished};
use model::instance::Action;
use model::{Caller, CellId, Context, Fault, Flavor, InstanceId, Phase, Size};
use router::CellHandle;
use rpc::Bell;
use sql::{Error, Work};
use tasks::{Lease, store};
use uuid::Uuid;

use crate::{Job, Step, Superconductor};

/// Writes the wishes in their cell and rings its conductors. True: the outcome is to be waited for.
pub(crate) async fn wish(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let handle = shared.router.cell(cell)?;
    let mut failed = None;
    for job in jobs {
        let Step::Resize(Resize::Wish { action, size, user, project }) = &job.step else { continue };
        let wish = Wish {
            record: job.task.lease.task.uuid(),
            instance: job.mapping.id,
            epoch: job.mapping.epoch,
            saga_token: job.mapping.saga_token,
            action: *action,
            size: size.clone(),
        };
        let caller = Caller { user: user.clone(), project: project.clone(), roles: Vec::new() };
        let context = Context { request_id: job.task.request_id.clone(), ..Context::default() };
        let (work, now) = (Arc::new((wish, caller, context)), shared.env.now());
        let written = handle.write(move |tx| -> Work<'_, Wished> {
            let work = work.clone();
            Box::pin(async move { wishes::wish(tx, &work.0, (&work.1, &work.2), now).await })
        });
        // One that cannot be written keeps no other from being written.
        if let Err(error) = written.await {
            failed.get_or_insert(error);
        }
    }
    handle.ring(Bell::Conductors);
    failed.map_or(Ok(true), |error| Err(error.into()))
}

/// Those of these jobs that have come to an end in their cell.
pub(crate) async fn ended(
    handle: &CellHandle,
    jobs: &[Arc<Job>],
) -> Result<Vec<(Arc<Job>, Standing)>, Error> {
    let resizes: Vec<&Arc<Job>> = jobs.iter().filter(|job| matches!(job.step, Step::Resize(_))).collect();
    if resizes.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Arc<Vec<(InstanceId, Uuid)>> =
        Arc::new(resizes.iter().map(|job| (job.mapping.id, job.task.lease.task.uuid())).collect());
    let read = handle.read(move |tx| -> Work<'_, Vec<Standing>> {
        let ids = ids.clone();
        Box::pin(async move { wishes::standing(tx, &ids).await })
    });
    let standings = read.await?;
    let job = |standing: &Standing| resizes.iter().find(|job| job.mapping.id == standing.id);
    Ok(standings.into_iter().filter_map(|standing| Some(((*job(&standing)?).clone(), standing))).collect())
}

/// Counts what instances have now, sets their records, and ends the tasks.
pub(crate) async fn sized(shared: &Superconductor, ended: &[(Arc<Job>, Standing)]) -> Result<(), Error> {
    let now = shared.env.now();
    let ended: Arc<Vec<(Arc<Job>, Standing)>> = Arc::new(ended.to_vec());
    let write = shared.db.write(move |tx| -> Work<'_, ()> {
        let ended = ended.clone();
        Box::pin(async move {
            let leases: Vec<Lease> = ended.iter().map(|(job, _)| job.task.lease).collect();
            let held = store::finish(tx, &leases).await?;
            for (job, standing) in ended.iter().filter(|(job, _)| held.contains(&job.task.lease.task)) {
                if let Some(has) = has(job, standing) {
                    quotas::recount(tx, standing.id, counted(has, standing), None).await?;
                    usage::resize(tx, standing.id, has).await?;
                }
                let Step::Resize(Resize::Wish { action, size, .. }) = &job.step else { continue };
                resizes::stands(tx, standing.id, status((*action, size.as_ref()), standing), now).await?;
            }
            Ok(())
        })
    });
    write.await
}

/// What it has now; of one that its cell knows nothing of, what was asked for.
fn has<'a>(job: &'a Job, standing: &'a Standing) -> Option<&'a Flavor> {
    let asked = job.mapping.spec.as_ref().map(|spec| &spec.flavor);
    standing.size.as_ref().map(|size| &size.flavor).or(asked)
}

/// The larger of what it has and what is kept for it.
fn counted(has: &Flavor, standing: &Standing) -> quotas::Counted {
    let kept = standing.other.as_ref().map_or(has, |size| &size.flavor);
    [has.vcpus.max(kept.vcpus), has.memory_mib.max(kept.memory_mib)]
}

/// Nova's word for how a change of a size stands. What has it and can be neither confirmed nor taken back, as after
/// a restore, counts as confirmed.
fn status((action, wanted): (Action, Option<&Size>), standing: &Standing) -> &'static str {
    let flavor = |size: Option<&Size>| size.map(|size| size.flavor.id.clone());
    let has_it = flavor(wanted) == flavor(standing.size.as_ref());
    match (action, standing.phase, standing.went_well) {
        (_, Phase::Resized, _) => "finished",
        (Action::ConfirmResize, _, true) => "confirmed",
        (Action::RevertResize, _, true) => "reverted",
        (Action::Resize, _, true) => {
            if has_it {
                "confirmed"
            } else {
                "reverted"
            }
        }
        _ => "error",
    }
}
