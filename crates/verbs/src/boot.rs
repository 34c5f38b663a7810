//! Accepting instances.

use std::sync::Arc;

use api_db::idempotency::{self, Answer, Known};
use api_db::limits::{self, Effective};
use api_db::state::{self, Build};
use api_db::{Tx, audit, groups, mappings, quotas};
use model::failpoint::BOOT;
use model::instance::{Intent, Power, Stage, Task};
use model::{
    At, Caller, Context, Extra, Fault, FaultKind, Instance, InstanceId, RequestSpec, TaskId, Timestamp,
};
use rpc::Bell;
use serde_json::json;
use sql::{Error, Work};
use tasks::{NewTask, store};
use uuid::Uuid;

use crate::Verbs;
use crate::once::Key;
use crate::types::Boot;

/// Most instances that one request may ask for.
const MOST: u32 = 1_000;

/// Everything about one new instance that is chosen before the transaction.
struct Promise {
    id: InstanceId,
    task: TaskId,
    audit: Uuid,
    bucket: i64,
    spec: RequestSpec,
}

/// Instances that are ready to be accepted: everything about them is chosen, nothing is stored.
pub struct Prepared {
    promises: Arc<Vec<Promise>>,
    now: Timestamp,
}

impl Prepared {
    /// The instances, as they will be once accepted.
    pub fn instances(&self) -> impl Iterator<Item = Instance> {
        self.promises.iter().map(|p| waiting(p.id, p.spec.clone(), self.now, Task::Scheduling))
    }
}

/// What became of prepared instances.
#[derive(Debug)]
pub enum Accepted {
    /// They are accepted.
    Now,
    /// Nothing was stored, for this is known of the request's key.
    Before(Known),
}

impl Verbs {
    /// Accepts instances: once this returns, each will end ACTIVE or in ERROR, whatever dies.
    ///
    /// # Errors
    /// Bad wishes, an unknown flavor, a quota that would be exceeded; then nothing was accepted. On
    /// [`model::FaultKind::Timeout`] the caller looks again before it repeats.
    pub async fn boot(&self, caller: &Caller, context: &Context, wish: Boot) -> Result<Vec<Instance>, Fault> {
        let prepared = self.prepare(caller, context, wish).await?;
        self.accept(caller, context, &prepared, None).await?;
        Ok(prepared.instances().collect())
    }

    /// Chooses everything about new instances, so that the answer is known before they are accepted.
    ///
    /// # Errors
    /// Bad wishes, an unknown flavor.
    pub async fn prepare(&self, caller: &Caller, context: &Context, wish: Boot) -> Result<Prepared, Fault> {
        wish.container.validate()?;
        if wish.count == 0 || wish.count > MOST {
            return Err(Fault::invalid(format!("between 1 and {MOST} instances can be asked for at once")));
        }
        let inner = &self.inner;
        let (flavor, extra_specs) = self.size(caller, &wish.flavor).await?;
        let extra = Extra { extra_specs, ..wish.extra.clone() };
        let now = inner.env.now();
        let promises = (1..=wish.count)
            .map(|n| Promise {
                id: inner.env.id(),
                task: inner.env.id(),
                audit: inner.env.uuid(),
                bucket: inner.env.below(store::BUCKETS) as i64,
                spec: RequestSpec {
                    name: if wish.count == 1 { wish.name.clone() } else { format!("{}-{n}", wish.name) },
                    project: caller.project.clone(),
                    user: caller.user.clone(),
                    request_id: context.request_id.clone(),
                    region: wish.region.clone(),
                    zone: wish.zone.clone(),
                    image: wish.image.clone(),
                    flavor: flavor.clone(),
                    container: wish.container.clone(),
                    metadata: wish.metadata.clone(),
                    description: wish.description.clone(),
                    extra: extra.clone(),
                    deadline: now.plus(inner.settings.build_deadline),
                },
            })
            .collect();
        Ok(Prepared { promises: Arc::new(promises), now })
    }

    /// Accepts prepared instances, as [`Verbs::boot`] does. With a key, the answer is stored in the same
    /// transaction; where something is known of the key, nothing is accepted.
    ///
    /// # Errors
    /// As [`Verbs::boot`].
    pub async fn accept(
        &self,
        caller: &Caller,
        context: &Context,
        prepared: &Prepared,
        keyed: Option<(&Key, Answer)>,
    ) -> Result<Accepted, Fault> {
        let (inner, promises, now) = (&self.inner, &prepared.promises, prepared.now);
        let expires = now.plus(inner.settings.keep_answers);
        let key = keyed.as_ref().map(|(key, _)| (*key).clone());
        let answer = Arc::new(keyed.map(|(key, answer)| (key.clone(), answer)));
        let (who, stored, limits) =
            (Arc::new((caller.clone(), context.clone())), promises.clone(), inner.settings.quota);
        let write = || {
            let (stored, who, answer) = (stored.clone(), who.clone(), answer.clone());
            inner.db.write(move |tx| -> Work<'_, bool> {
                let (promises, who, answer) = (stored.clone(), who.clone(), answer.clone());
                Box::pin(async move {
                    // First, so that whoever repeats the request waits here for the one that came before.
                    if let Some((key, answer)) = &*answer
                        && !idempotency::answer(tx, &key.0, answer, now, expires).await?
                    {
                        return Ok(false);
                    }
                    promise(tx, &promises, &who, limits, now).await?;
                    Ok(true)
                })
            })
        };
        match inner.env.step(BOOT, write).await {
            Ok(true) => {}
            Ok(false) => {
                let known = match key {
                    Some(key) => self.known(&key).await?,
                    None => None,
                };
                return Ok(Accepted::Before(known.unwrap_or(Known::Held)));
            }
            // Nobody can tell whether it was committed: the ids tell.
            Err(Error::Unknown(_)) if self.is_stored(promises[0].id).await? => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(bus) = &inner.bus {
            bus.ring(Bell::Superconductors);
        }
        metrics::counter!("skep_boots_accepted_total").increment(promises.len() as u64);
        Ok(Accepted::Now)
    }

    async fn is_stored(&self, id: InstanceId) -> Result<bool, Fault> {
        let found = self
            .inner
            .db
            .read(move |tx| -> Work<'_, bool> {
                Box::pin(async move { Ok(mappings::get(tx, id).await?.is_some()) })
            })
            .await;
        Ok(found?)
    }
}

/// Writes the whole promise, or nothing of it.
async fn promise(
    tx: &mut Tx,
    promises: &[Promise],
    who: &(Caller, Context),
    default: quotas::Limits,
    now: Timestamp,
) -> Result<(), Error> {
    let spec = &promises[0].spec;
    let limits = limits::of(tx, &spec.project, default).await?;
    check_metadata(&limits, spec.metadata.len())?;
    if let Some(group) = &spec.extra.group {
        let ids: Vec<InstanceId> = promises.iter().map(|p| p.id).collect();
        if !groups::join(tx, group.id, &ids, &limits).await? {
            let why = format!("Instance group {} could not be found.", group.id);
            return Err(Fault::invalid(why).into());
        }
    }
    for p in promises {
        mappings::create(tx, p.id, &p.spec, now).await?;
        let task = NewTask {
            id: p.task,
            kind: state::BUILD,
            subject: p.id.uuid(),
            state: state::to_json(&Build::Pick { refused: Vec::new(), asked: Vec::new() })?,
            bucket: p.bucket,
            deadline: p.spec.deadline,
            request_id: p.spec.request_id.clone(),
            created: now,
        };
        store::enqueue(tx, &task).await?;
        let detail = json!({"name": p.spec.name, "flavor": p.spec.flavor.id, "image": p.spec.image});
        audit::record(tx, p.audit, now, (&who.0, &who.1), "create", Some(p.id.uuid()), detail).await?;
    }
    // Last, because all boots of a project meet at this row, which is locked until the commit.
    let n = promises.len() as i64;
    let amounts = [n, n * spec.flavor.vcpus, n * spec.flavor.memory_mib];
    quotas::change(tx, &spec.project, amounts, &limits).await
}

/// Refuses more items of metadata than there may be.
pub(crate) fn check_metadata(limits: &Effective, items: usize) -> Result<(), Fault> {
    let allowed = limits.get("metadata_items");
    if allowed >= 0 && items as i64 > allowed {
        // Nova's text (`nova/exception.py`, MetadataLimitExceeded).
        let why = format!("Maximum number of metadata items exceeds {allowed}");
        return Err(Fault::new(FaultKind::OverQuota, why));
    }
    Ok(())
}

/// An instance that no cell's row tells of (yet).
pub(crate) fn waiting(id: InstanceId, spec: RequestSpec, created: Timestamp, task: Task) -> Instance {
    Instance {
        id,
        spec,
        cell: None,
        host: None,
        zone: None,
        at: At::default(),
        intent: Intent::Run,
        stage: Stage::Unplaced,
        task: Some(task),
        power: Power::None,
        phase: model::Phase::Plain,
        observed: Default::default(),
        fault: None,
        created,
        updated: created,
        launched: None,
        terminated: None,
    }
}
