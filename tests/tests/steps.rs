//! The step matrix: every step of every durable task and loop fails before and after its commit, runs
//! twice, dies before and after its commit, and is repeated by a zombie whose lease has long been taken.
//! The steps are those that the code lists; each case must have fired, and ends by the checker.

#[path = "steps/promised.rs"]
mod promised;

use std::time::Duration;

use agent::engine::scripted::Verb;
use futures::StreamExt;
use model::failpoint::{self, Mode, Point};
use model::instance::Action;
use model::{Fault, FaultKind, InstanceId};
use tests::cloud::{Cloud, Plan, caller, context, wish};
use tests::eventually;
use verbs::{Boot, Seen};

/// Longest that anything may take to its outcome after a worker was killed: far more than it should on a machine that is
/// not busy with four cases at a time.
const OUTCOME: Duration = Duration::from_secs(30);

/// What each case is run over: instances that boot, some of them refused by a cell first, one that fits
/// nowhere, one that is deleted while it is built, one that is deleted while it runs, three of other sizes, and three
/// that are stopped, started and rebooted.
struct Work {
    active: Vec<InstanceId>,
    stopped: Vec<InstanceId>,
    /// To be confirmed.
    resized: Vec<InstanceId>,
    error: InstanceId,
    deleted: Vec<InstanceId>,
}

async fn boot(cloud: &Cloud, wish: Boot) -> InstanceId {
    cloud.verbs.boot(&caller(), &context(), wish).await.expect("is accepted")[0].id
}

/// What runs already when a case begins.
#[derive(Clone, Copy)]
struct Running {
    deleted: InstanceId,
    /// Gets another size.
    grown: InstanceId,
    /// Has another size, and keeps it.
    kept: InstanceId,
    /// Has another size, and gets back what it had.
    taken_back: InstanceId,
    stopped: InstanceId,
    /// Is stopped, and will be started.
    started: InstanceId,
    rebooted: InstanceId,
}

async fn resize(cloud: &Cloud, id: InstanceId) {
    cloud.verbs.resize(&caller(), &context(), id, ("2", None), None).await.expect("is accepted");
}

async fn act(cloud: &Cloud, id: InstanceId, action: Action) {
    cloud.verbs.act(&caller(), &context(), id, action).await.expect("is accepted");
}

async fn is_in(cloud: &Cloud, id: InstanceId, cell: usize) -> bool {
    match cloud.verbs.show(&caller(), id).await {
        Ok(Seen::Fresh(instance)) => instance.cell == Some(cloud.cells[cell].cell.id),
        other => panic!("{other:?}"),
    }
}

/// A cloud in which some instances run already, and one cell refuses whatever comes to it from now on.
async fn start() -> (Cloud, Running) {
    let plan = Plan { cells: 2, hosts: 1, lease: Duration::from_millis(1_500), ..Plan::default() };
    let cloud = Cloud::start(plan).await;
    let mut before = Work {
        active: vec![boot(&cloud, wish("runs")).await],
        stopped: vec![],
        resized: vec![],
        error: boot(&cloud, Boot { flavor: "5".into(), ..wish("huge") }).await,
        deleted: vec![],
    };
    let deleted = before.active[0];
    settled(&cloud, "before the case", &before).await;
    // Those of other sizes are made anew, so they lie in the cell that goes on making containers.
    let (mut there, mut elsewhere) = (Vec::new(), Vec::new());
    while there.len() < 6 {
        assert!(elsewhere.len() < 60, "nothing comes to the second cell");
        let mut new = Vec::new();
        for n in 0..8 {
            new.push(boot(&cloud, wish(&format!("s{n}"))).await);
        }
        before.active.extend(&new);
        settled(&cloud, "before the case", &before).await;
        for id in new {
            if there.len() < 6 && is_in(&cloud, id, 1).await { there.push(id) } else { elsewhere.push(id) }
        }
    }
    for id in elsewhere {
        cloud.verbs.delete(&caller(), &context(), id).await.expect("is accepted");
        before.active.retain(|active| *active != id);
    }
    let running = Running {
        deleted,
        grown: there[0],
        kept: there[1],
        taken_back: there[2],
        stopped: there[3],
        started: there[4],
        rebooted: there[5],
    };
    act(&cloud, running.started, Action::Stop).await;
    before.active.retain(|active| *active != running.started);
    before.stopped.push(running.started);
    for id in [running.kept, running.taken_back] {
        resize(&cloud, id).await;
        before.active.retain(|active| *active != id);
        before.resized.push(id);
    }
    settled(&cloud, "before the case", &before).await;
    cloud.cells[0].hosts[0].1.fail(Verb::Create, Fault::new(FaultKind::Engine, "not here"), 1_000);
    (cloud, running)
}

async fn work(cloud: &Cloud, running: Running) -> Work {
    let boot = async |wish| boot(cloud, wish).await;
    let mut active = vec![running.kept, running.taken_back, running.started, running.rebooted];
    // So many that it would be a wonder if none of them came to the cell that refuses.
    for n in 0..12 {
        active.push(boot(wish(&format!("a{n}"))).await);
    }
    let error = boot(Boot { flavor: "5".into(), ..wish("huge") }).await;
    let deleted = boot(wish("gone")).await;
    for id in [deleted, running.deleted] {
        cloud.verbs.delete(&caller(), &context(), id).await.expect("is accepted");
    }
    act(cloud, running.stopped, Action::Stop).await;
    act(cloud, running.started, Action::Start).await;
    act(cloud, running.rebooted, Action::Reboot { hard: true }).await;
    resize(cloud, running.grown).await;
    for (id, action) in [(running.kept, Action::ConfirmResize), (running.taken_back, Action::RevertResize)] {
        cloud.verbs.decide_resize(&caller(), &context(), id, action, None).await.expect("is accepted");
    }
    let (stopped, resized) = (vec![running.stopped], vec![running.grown]);
    Work { active, stopped, resized, error, deleted: vec![deleted, running.deleted] }
}

async fn settled(cloud: &Cloud, case: &str, work: &Work) {
    let status = async |id| match cloud.verbs.show(&caller(), id).await {
        Ok(Seen::Fresh(instance)) => instance.status().to_owned(),
        Ok(Seen::Dark(_)) => "dark".into(),
        Err(fault) if fault.kind == FaultKind::NotFound => "gone".into(),
        Err(fault) => fault.message,
    };
    eventually(
        Duration::from_secs(45),
        &format!("{case}: all have their outcome and nothing is violated"),
        async || {
            let mut wrong = Vec::new();
            for id in &work.active {
                wrong.extend(Some(status(*id).await).filter(|status| status != "ACTIVE"));
            }
            for id in &work.stopped {
                wrong.extend(Some(status(*id).await).filter(|status| status != "SHUTOFF"));
            }
            for id in &work.resized {
                wrong.extend(Some(status(*id).await).filter(|status| status != "VERIFY_RESIZE"));
            }
            wrong.extend(Some(status(work.error).await).filter(|status| status != "ERROR"));
            for id in &work.deleted {
                wrong.extend(Some(status(*id).await).filter(|status| status != "gone"));
            }
            wrong.extend(cloud.check().await.0);
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
        },
    )
    .await;
    assert_eq!(
        cloud.engines().values().map(Vec::len).sum::<usize>(),
        work.active.len() + work.stopped.len() + work.resized.len(),
        "{case}"
    );
}

async fn fired(cloud: &Cloud, point: Point) {
    eventually(Duration::from_secs(60), &format!("{point} fires"), async || {
        if cloud.failpoints.fired(point) > 0 { Ok(()) } else { Err("it has not".into()) }
    })
    .await;
}

/// Whether a point lies in what an API process does while it is asked.
fn is_api(point: Point) -> bool {
    point.0.starts_with("api.")
}

/// The points of workers.
fn steps() -> impl Iterator<Item = &'static Point> {
    failpoint::ALL.iter().filter(|point| !is_api(**point))
}

/// Whether a case means anything: a lease that ran twice would be two leases, and a beat has no effect
/// but its own.
fn applies(point: Point, mode: Mode) -> bool {
    !(point == failpoint::LEASE && mode == Mode::Twice) && point != failpoint::BEAT
}

async fn fails_or_repeats(point: Point, mode: Mode) {
    let (cloud, running) = start().await;
    cloud.failpoints.arm(point, mode, 2);
    let work = work(&cloud, running).await;
    fired(&cloud, point).await;
    settled(&cloud, &format!("{point} {mode:?}"), &work).await;
}

/// The worker stands still at the step and is then killed; another one takes over. How long it took from then on until
/// all was as it has to be.
async fn dies(point: Point, mode: Mode) -> Duration {
    let (mut cloud, running) = start().await;
    cloud.failpoints.arm(point, mode, 1);
    let work = work(&cloud, running).await;
    fired(&cloud, point).await;
    let killed = cloud.env.monotonic();
    match point.0.split('.').next() {
        Some("superconductor") => {
            cloud.superconductors.remove(0).kill();
            cloud.add_superconductor();
        }
        _ => {
            for cell in 0..2 {
                for role in std::mem::take(&mut cloud.conductors[cell]) {
                    role.kill();
                }
                cloud.add_conductor(cell);
            }
        }
    }
    cloud.failpoints.release();
    settled(&cloud, &format!("{point} dies at {mode:?}"), &work).await;
    cloud.env.monotonic() - killed
}

/// The worker stands still at the step, and its beat if it has one, until another has finished everything, and all that
/// it may have in its hands is gone; then it goes on where it was.
async fn zombie(point: Point, mode: Mode) {
    let (mut cloud, running) = start().await;
    let is_above = point.0.starts_with("superconductor");
    if is_above {
        cloud.failpoints.arm(failpoint::BEAT, Mode::HoldBefore, 1);
        fired(&cloud, failpoint::BEAT).await;
    }
    cloud.failpoints.arm(point, mode, 1);
    let work = work(&cloud, running).await;
    fired(&cloud, point).await;
    if is_above {
        cloud.add_superconductor();
    } else {
        (0..2).for_each(|cell| cloud.add_conductor(cell));
    }
    settled(&cloud, &format!("{point} before the zombie of {mode:?}"), &work).await;
    for id in work.active.iter().chain(&work.stopped).chain(&work.resized) {
        cloud.verbs.delete(&caller(), &context(), *id).await.expect("is accepted");
    }
    let rest = Work { active: vec![], stopped: vec![], resized: vec![], ..work };
    settled(&cloud, &format!("{point} before the zombie of {mode:?}, deleted"), &rest).await;
    assert_eq!(cloud.failpoints.went_on(point), 0, "{point}: it still stands there");
    cloud.failpoints.release();
    eventually(Duration::from_secs(30), &format!("{point}: the zombie of {mode:?} goes on"), async || {
        if cloud.failpoints.went_on(point) > 0 { Ok(()) } else { Err("it stands still".into()) }
    })
    .await;
    // Where it was after a commit, it has yet to send off what it took; another boot shows that it still works.
    let last = boot(&cloud, wish("last")).await;
    let rest = Work { active: vec![last], ..rest };
    settled(&cloud, &format!("{point} after the zombie of {mode:?}"), &rest).await;
}

/// Runs cases, four at a time.
async fn in_fours<Fut: Future>(cases: Vec<Fut>) -> Vec<Fut::Output> {
    futures::stream::iter(cases).buffer_unordered(4).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail_or_run_twice() {
    let mut cases = Vec::new();
    for point in steps() {
        for mode in [Mode::FailBefore, Mode::FailAfter, Mode::Twice] {
            if applies(*point, mode) {
                cases.push(fails_or_repeats(*point, mode));
            }
        }
    }
    in_fours(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_may_die_at_every_step() {
    let mut cases = Vec::new();
    for point in steps().filter(|point| **point != failpoint::BEAT) {
        for mode in [Mode::HoldBefore, Mode::HoldAfter] {
            cases.push(dies(*point, mode));
        }
    }
    let mut took = in_fours(cases).await;
    took.sort();
    let (middle, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("from the kill until all have their outcome: {middle:?} in the middle, {longest:?} at most");
    assert!(longest <= OUTCOME, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_may_repeat_every_step() {
    let mut cases = Vec::new();
    for point in steps().filter(|point| **point != failpoint::BEAT) {
        for mode in [Mode::HoldBefore, Mode::HoldAfter] {
            cases.push(zombie(*point, mode));
        }
    }
    in_fours(cases).await;
}

/// Every failpoint of workers fires under ordinary work (those of the API do where their cases are), so that none of them stands where nothing
/// passes; and each one is passed by production code.
#[tokio::test(flavor = "multi_thread")]
async fn every_failpoint_fires() {
    let (cloud, running) = start().await;
    for point in steps() {
        cloud.failpoints.arm(*point, Mode::FailBefore, 1);
    }
    let work = work(&cloud, running).await;
    for point in steps() {
        fired(&cloud, *point).await;
    }
    settled(&cloud, "after each point fired once", &work).await;
}

/// This build has them, and no crate asks for them: a release build of `skep` has none.
#[test]
fn failpoints_are_asked_for_by_tests_alone() {
    const { assert!(failpoint::COMPILED) }
    let crates = tests::root().join("crates");
    let mut seen = 0;
    for folder in std::fs::read_dir(crates).expect("reads") {
        let path = folder.expect("reads").path().join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).expect("reads");
        seen += 1;
        let defines = path.ends_with("model/Cargo.toml");
        assert!(defines || !manifest.contains("failpoints"), "{} asks for failpoints", path.display());
    }
    assert!(seen > 10);
}
