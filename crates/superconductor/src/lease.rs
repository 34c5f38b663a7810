//! Leasing: tasks, their subjects' fencing counters and the bindings that follow, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_db::cells::{self, Reserved};
use api_db::mappings::{self, Bind, Home, Mapping};
use api_db::state::{self, Asked, BUILD, Build, DELETE, RESIZE, Refusal};
use api_db::{Tx, restored};
use model::bug::{Bug, planted};
use model::extra::Policy;
use model::failpoint::LEASE;
use model::{CellId, CellState, Env, Fault, FaultKind, InstanceId, Timestamp, WorkerId};
use rpc::Ringing;
use scheduler::cells::{Candidate, Refused};
use serde_json::Value;
use sql::{Error, Work, args};
use tasks::{Lease, Leased, store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::unbind::Sent;
use crate::{Job, Step, Superconductor, ask, summaries, work};

const KINDS: [&str; 4] = [BUILD, DELETE, RESIZE, ""];

/// What is asked for within so long of a round is left to the next one together. A round costs the same for one
/// task as for many, and a caller who comes alone finds nothing to wait for.
const GATHER: Duration = Duration::from_millis(15);

/// How many cells may fail a build by their engines before the user is told.
const ENGINE_FAILURES: usize = 2;

/// What a transaction needs to know.
struct Terms {
    worker: WorkerId,
    candidates: Vec<Candidate>,
    /// The versions of the candidates' summaries.
    known: Vec<Asked>,
    from: i64,
    limit: i64,
    cap: i64,
    now: Timestamp,
    later: Vec<Duration>,
}

/// Leases whenever the bell rings, something inside asks for it, or half a second has passed.
pub(crate) async fn run(shared: Arc<Superconductor>, mut bell: Option<Ringing>, shutdown: CancellationToken) {
    loop {
        let rung = async {
            match &mut bell {
                Some(bell) => bell.rung().await,
                None => futures::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = rung => {}
            () = shared.look.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(500)), if !planted(Bug::DoorbellOnly) => {}
        }
        let mut leased = 0;
        while !shutdown.is_cancelled() && shared.room() > 0 {
            match round(&shared).await {
                Ok((count, more)) => {
                    leased += count;
                    if !more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "leasing failed; it will be tried again");
                    break;
                }
            }
        }
        if leased > 0 {
            let _ = shutdown.run_until_cancelled(tokio::time::sleep(GATHER)).await;
        }
    }
}

/// Leases one batch and sends it on its way: how many, and whether there may be more.
async fn round(shared: &Arc<Superconductor>) -> Result<(usize, bool), Error> {
    let env: &Env = &shared.env;
    let limit = shared.settings.batch.min(shared.room() as i64);
    shared.summaries.refresh(env, &shared.router).await;
    let (candidates, known) = shared.summaries.candidates(&shared.router, shared.settings.cell_cap);
    let terms = Arc::new(Terms {
        worker: shared.worker(),
        candidates,
        known,
        from: env.below(store::BUCKETS) as i64,
        limit,
        cap: shared.settings.cell_cap,
        now: env.now(),
        later: (0..10).map(|attempt| store::backoff(env, attempt)).collect(),
    });
    let write = || {
        let terms = terms.clone();
        shared.db.write(move |tx| -> Work<'_, (usize, Vec<Job>)> {
            let terms = terms.clone();
            Box::pin(async move { lease(tx, &terms).await })
        })
    };
    let (count, jobs) = match env.step_of(LEASE, write, |(count, _)| *count > 0).await {
        Ok(leased) => leased,
        Err(error) => {
            // It may be that tasks are ours and we do not know which: we give up the name they are under.
            let unknown = !matches!(error, Error::Down(_) | Error::Contended(_));
            if unknown && !planted(Bug::UnknownLeaseKept) {
                shared.renew.notify_one();
            }
            return Err(error);
        }
    };
    shared.hold(jobs.len());
    work::dispatch(shared, jobs);
    Ok((count, count as i64 == limit))
}

/// Leases tasks, bumps their subjects' counters and binds what has to be bound.
async fn lease(tx: &mut Tx, terms: &Terms) -> Result<(usize, Vec<Job>), Error> {
    if restored::held_since(tx).await?.is_some() {
        return Ok((0, Vec::new()));
    }
    let leased = store::lease(tx, terms.worker, KINDS, terms.from, terms.limit, terms.now).await?;
    if leased.is_empty() {
        return Ok((0, Vec::new()));
    }
    // Under a name that was declared dead they would belong to nobody, for ever. This beat also turns down
    // whoever is about to declare it dead.
    const ALIVE: &str = "UPDATE worker SET beat = beat + 1 WHERE id = $1";
    if tx.exec(ALIVE, args![terms.worker]).await? == 0 {
        return Err(Fault::conflict("this worker was declared dead").into());
    }
    let count = leased.len();
    let ids: Vec<InstanceId> = leased.iter().map(|task| InstanceId(task.subject)).collect();
    let mappings = mappings::lease(tx, &ids).await?;
    let mut by_id: HashMap<InstanceId, Mapping> = mappings.into_iter().map(|m| (m.id, m)).collect();
    let (mut jobs, mut picks): (Vec<Job>, Vec<Pick>) = (Vec::new(), Vec::new());
    for task in leased {
        let Some(mapping) = by_id.remove(&InstanceId(task.subject)) else {
            store::park(tx, task.lease, "the instance has no mapping").await?;
            continue;
        };
        let step = match task.kind.as_str() {
            DELETE => Step::Gone,
            RESIZE => match (state::from_json(task.lease.task, task.state.clone()), mapping.cell) {
                (Ok(state), Some(_)) => Step::Resize(state),
                (state, _) => {
                    let why = state.err().map_or("it is in no cell".into(), |error| error.to_string());
                    tracing::error!(why, "task is set aside");
                    store::park(tx, task.lease, &why).await?;
                    continue;
                }
            },
            _ => match state::from_json(task.lease.task, task.state.clone()) {
                Ok(Build::Pick { refused, asked }) => {
                    picks.push(Pick { task, mapping, refused, asked });
                    continue;
                }
                Ok(Build::Bound { refused, .. }) => Step::Insert { refused },
                Ok(Build::Bury { fault }) => Step::Bury(fault),
                Err(error) => {
                    // A state that this release cannot read is an operator's matter, not everybody's.
                    tracing::error!(%error, "task is set aside");
                    store::park(tx, task.lease, &error.to_string()).await?;
                    continue;
                }
            },
        };
        jobs.push(Job { task, mapping, step, sent: Sent::default() });
    }
    jobs.extend(bind(tx, terms, picks).await?);
    Ok((count, jobs))
}

/// A build that needs a cell.
struct Pick {
    task: Leased,
    mapping: Mapping,
    refused: Vec<Refusal>,
    asked: Vec<Asked>,
}

/// Picks cells and binds to them, or to cell0; what has to wait is given back.
async fn bind(tx: &mut Tx, terms: &Terms, picks: Vec<Pick>) -> Result<Vec<Job>, Error> {
    if picks.is_empty() {
        return Ok(Vec::new());
    }
    let under_test = terms.candidates.iter().any(|cell| cell.projects.is_some());
    let projects = if under_test { cells::projects(tx).await? } else { Vec::new() };
    let unsettled = cells::unsettled(tx).await?;
    let mut snapshot = summaries::snapshot(&terms.candidates, &unsettled, &projects);
    let mut wait: Vec<(Lease, Timestamp, String)> = Vec::new();
    let mut chosen: BTreeMap<CellId, Vec<(Pick, Step)>> = BTreeMap::new();
    let mut homes: BTreeMap<Uuid, Home> = BTreeMap::new();
    let mut jobs = Vec::new();
    for pick in picks {
        let home = home(tx, &pick, &mut homes).await?;
        let beside = beside(tx, &pick).await?;
        let verdict = match (give_up(&pick, terms.now), &pick.mapping.spec) {
            (Some(fault), _) => Err(Ok(fault)),
            (None, None) => Err(Ok(Fault::internal("its request spec is gone"))),
            (None, Some(spec)) => {
                let mut not: Vec<CellId> = pick.refused.iter().map(|refusal| refusal.cell).collect();
                let undecided = home.is_some_and(|home| !home.made && not.contains(&home.cell));
                if let Some(home) = home {
                    let others = terms.candidates.iter().map(|candidate| candidate.id);
                    not.extend(others.filter(|cell| *cell != home.cell));
                }
                if let Some(beside) = beside {
                    let others = terms.candidates.iter().map(|candidate| candidate.id);
                    not.extend(others.filter(|cell| !beside.contains(cell)));
                }
                let since = ask::since(&terms.known, &pick.asked);
                match snapshot.select_destinations(pick.mapping.id, spec, &since, &not) {
                    // If that cell refuses the others too, they go elsewhere together.
                    _ if undecided => Err(Err("its cell has yet to take others of its server group".into())),
                    Ok(cell) => Ok(cell),
                    Err(Refused::Ask(why)) => {
                        let Pick { task, mapping, refused, asked } = pick;
                        let step = Step::Ask { refused, asked, why: why.to_string() };
                        jobs.push(Job { task, mapping, step, sent: Sent::default() });
                        continue;
                    }
                    Err(Refused::Wait(why)) => Err(Err(why.to_string())),
                    Err(Refused::Never(why)) => Err(Ok(no_valid_host(&pick.refused, &why.to_string()))),
                }
            }
        };
        match verdict {
            Ok(cell) => {
                snapshot.update_resource_stats(cell);
                if let Some(group) = one_host(&pick) {
                    homes.entry(group).or_insert(Home { cell, made: false });
                }
                let step = Step::Insert { refused: pick.refused.clone() };
                chosen.entry(cell).or_default().push((pick, step));
            }
            Err(Ok(fault)) => chosen.entry(CellId::ZERO).or_default().push((pick, Step::Bury(fault))),
            Err(Err(why)) => {
                let steps = terms.later.len() as i64 - 1;
                let later =
                    terms.later[pick.task.lease.attempt.clamp(0, steps) as usize].min(Duration::from_secs(1));
                wait.push((pick.task.lease, terms.now.plus(later), why));
            }
        }
    }
    for (cell, mut picks) in chosen {
        if cell != CellId::ZERO {
            let mut back = |picks: &mut dyn Iterator<Item = (Pick, Step)>, why: &str| {
                let again = terms.now.plus(terms.later[0]);
                wait.extend(picks.map(|(pick, _)| (pick.task.lease, again, why.to_owned())));
            };
            // The counter decides, and the state as it is now, not the snapshot: several superconductors may have
            // read the same, and an operator may have been at work.
            while !picks.is_empty() {
                match cells::reserve(tx, cell, picks.len() as i64, terms.cap).await? {
                    Reserved::Taken(state) => {
                        let other = not_under_test(tx, cell, state, &mut picks).await?;
                        back(&mut other.into_iter(), "the cell tests with other projects");
                        break;
                    }
                    Reserved::AtCap => {
                        let half = picks.len() / 2;
                        back(&mut picks.drain(half..), "the cell is at its cap of unsettled bindings");
                    }
                    Reserved::Closed => back(&mut picks.drain(..), "the cell takes no new instances"),
                }
            }
        }
        jobs.extend(bind_to(tx, cell, picks).await?);
    }
    store::release(tx, wait).await?;
    Ok(jobs)
}

/// Takes out of what was counted for a cell what it does not take because it is under test.
async fn not_under_test(
    tx: &mut Tx,
    cell: CellId,
    state: CellState,
    picks: &mut Vec<(Pick, Step)>,
) -> Result<Vec<(Pick, Step)>, Error> {
    if state != CellState::Testing {
        return Ok(Vec::new());
    }
    let projects = cells::projects(tx).await?;
    let taken = |pick: &Pick| projects.iter().any(|(id, p)| *id == cell && *p == pick.mapping.project);
    let (here, other): (Vec<_>, Vec<_>) = picks.drain(..).partition(|(pick, _)| taken(pick));
    *picks = here;
    if !other.is_empty() {
        cells::settle(tx, cell, other.len() as i64).await?;
    }
    Ok(other)
}

/// The server group of a build that asks for one host for all its members.
fn one_host(pick: &Pick) -> Option<Uuid> {
    let group = pick.mapping.spec.as_ref()?.extra.group?;
    (group.policy == Policy::Affinity).then_some(group.id)
}

/// The cell that a build must lie in because its server group does, if it must.
async fn home(tx: &mut Tx, pick: &Pick, homes: &mut BTreeMap<Uuid, Home>) -> Result<Option<Home>, Error> {
    let Some(group) = one_host(pick) else { return Ok(None) };
    if let Some(home) = homes.get(&group) {
        return Ok(Some(*home));
    }
    let home = mappings::home_of_group(tx, group, pick.mapping.id).await?;
    homes.extend(home.map(|home| (group, home)));
    Ok(home)
}

/// The cells of the instances that a build must lie beside, if it must lie beside any.
async fn beside(tx: &mut Tx, pick: &Pick) -> Result<Option<BTreeSet<CellId>>, Error> {
    let Some(spec) = pick.mapping.spec.as_ref().filter(|spec| !spec.extra.same_host.is_empty()) else {
        return Ok(None);
    };
    mappings::cells_of(tx, &spec.project, &spec.extra.same_host).await.map(Some)
}

async fn bind_to(tx: &mut Tx, cell: CellId, picks: Vec<(Pick, Step)>) -> Result<Vec<Job>, Error> {
    let bind = |pick: &Pick| Bind {
        id: pick.mapping.id,
        cell,
        saga_token: pick.mapping.saga_token,
        epoch: pick.mapping.epoch,
    };
    let binds: Vec<Bind> = picks.iter().map(|(pick, _)| bind(pick)).collect();
    let bound: BTreeSet<InstanceId> = mappings::bind(tx, &binds).await?.into_iter().collect();
    let lost = binds.len() - bound.len();
    if lost > 0 && cell != CellId::ZERO {
        cells::settle(tx, cell, lost as i64).await?;
    }
    let (mut states, mut jobs): (Vec<(Lease, Value)>, Vec<Job>) = (Vec::new(), Vec::new());
    for (pick, step) in picks {
        let Pick { task, mut mapping, refused, .. } = pick;
        if !bound.contains(&mapping.id) {
            continue;
        }
        mapping.cell = Some(cell);
        mapping.epoch += 1;
        let state = match &step {
            Step::Bury(fault) => Build::Bury { fault: fault.clone() },
            _ => Build::Bound { cell, refused },
        };
        states.push((task.lease, state::to_json(&state)?));
        jobs.push(Job { task, mapping, step, sent: Sent::untried() });
    }
    store::advance(tx, states).await?;
    Ok(jobs)
}

/// Whether no further cell is asked, and what the user is told.
fn give_up(pick: &Pick, now: Timestamp) -> Option<Fault> {
    let failed = || pick.refused.iter().filter(|refusal| refusal.fault.kind == FaultKind::Engine);
    if failed().count() >= ENGINE_FAILURES {
        return failed().next_back().map(|refusal| refusal.fault.clone());
    }
    (now > pick.task.deadline).then(|| match pick.refused.last() {
        Some(refusal) => refusal.fault.clone(),
        None => Fault::new(FaultKind::Timeout, "no cell could take it in time"),
    })
}

/// The whole explanation. What an engine said is worth more to the user than what cells have free.
fn no_valid_host(refused: &[Refusal], why: &str) -> Fault {
    if let Some(refusal) = refused.iter().rev().find(|refusal| refusal.fault.kind == FaultKind::Engine) {
        return refusal.fault.clone();
    }
    let last = refused.last().map(|refusal| format!("; {}", refusal.fault.message)).unwrap_or_default();
    Fault::new(FaultKind::NoValidHost, format!("No valid host was found: {why}{last}"))
}
