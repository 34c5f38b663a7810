//! An instance's way through a cell's database, on both engines, with everything that may go wrong.

use model::flavor::Resources;
use model::host::Host;
use model::instance::{Action, Power, Stage};
use model::sync::{Observation, Observed, Outcome};
use model::testing::spec;
use model::{At, CellId, Env, Fault, FaultKind, HostId, Instance, InstanceId, Intent, Timestamp};
use sql::testing::fresh;
use sql::{Error, Settings, Work};

use cell_db::claims::{self, Claim, Claimed, Waiting};
use cell_db::instances::{self, New};
use cell_db::{Db, hosts, pulls, reports};

const CELL: CellId = CellId::ZERO;

fn new(id: InstanceId, epoch: i64, saga_token: i64) -> New {
    New { id, epoch, saga_token, spec: spec(), asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) }
}

struct House {
    engine: &'static str,
    db: Db,
    env: Env,
}

async fn houses() -> Vec<House> {
    let env = Env::system();
    let mut out = Vec::new();
    for fresh in fresh().await {
        let db = Db::open(&Settings { connections: 16, ..Settings::new(&fresh.url) }).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        out.push(House { engine: fresh.engine, db, env: env.clone() });
    }
    out
}

macro_rules! write {
    ($house:expr, |$tx:ident| $body:expr) => { write!($house, [], |$tx| $body) };
    ($house:expr, [$($own:ident),*], |$tx:ident| $body:expr) => {
        $house
            .db
            .write(move |$tx| -> Work<'_, _> {
                $(let $own = $own.clone();)*
                Box::pin(async move { $body })
            })
            .await
    };
}

impl House {
    async fn host(&self, slots: i64) -> HostId {
        let id: HostId = self.env.id();
        let session = self.env.uuid();
        write!(self, |tx| {
            let host = hosts::Registration {
                id,
                name: "h".into(),
                zone: "z".into(),
                engine: "e".into(),
                address: "127.0.0.1".into(),
                capacity: Resources { vcpus_milli: 1_000 * slots, memory_mib: 64 * slots, slots },
                boot: session,
                session,
                version: "0".into(),
                healthy: true,
            };
            hosts::register(tx, &host, Timestamp(1)).await
        })
        .expect("registers");
        id
    }

    async fn insert(&self, id: InstanceId, epoch: i64, token: i64) {
        write!(self, |tx| instances::insert(tx, &[new(id, epoch, token)], Timestamp(10)).await)
            .expect("inserts");
    }

    async fn want_gone(&self, id: InstanceId, epoch: i64, token: i64) -> Vec<HostId> {
        write!(self, |tx| instances::want_gone(tx, &[new(id, epoch, token)], Timestamp(20)).await)
            .expect("wants gone")
    }

    async fn waiting(&self) -> Vec<Waiting> {
        write!(self, |tx| claims::waiting(tx, 3, 100).await).expect("reads")
    }

    async fn claim(&self, instance: Waiting, host: HostId) -> Claimed {
        write!(self, [instance], |tx| {
            let claim = Claim { instance, host, engine: "e".into() };
            claims::claim(tx, &[claim], Timestamp(30)).await
        })
        .expect("claims")
    }

    async fn report(&self, host: HostId, seen: Observation) -> reports::Applied {
        write!(self, [seen], |tx| reports::apply(tx, host, std::slice::from_ref(&seen), Timestamp(40)).await)
            .expect("applies")
    }

    /// The host is asked to remove what it failed to make, and does.
    async fn leave(&self, host: HostId, id: InstanceId, seq: i64) -> reports::Applied {
        assert_eq!(self.get(id).await.stage, Stage::Leaving);
        let wanted = write!(self, |tx| pulls::wanted(tx, host, false, None, 10).await).expect("pulls");
        assert_eq!((wanted.len(), wanted[0].intent), (1, Intent::Gone));
        self.report(host, seen(id, wanted[0].at, seq, Outcome::Gone, Power::None)).await
    }

    async fn get(&self, id: InstanceId) -> Instance {
        write!(self, |tx| instances::get(tx, CELL, id).await).expect("reads").expect("is there")
    }

    async fn hosts(&self) -> Vec<Host> {
        write!(self, |tx| hosts::all(tx).await).expect("reads")
    }

    async fn placed(&self, host: HostId) -> (InstanceId, At) {
        let id: InstanceId = self.env.id();
        self.insert(id, 1, 1).await;
        let waiting = self.waiting().await.into_iter().find(|w| w.id == id).expect("waits");
        assert_eq!(self.claim(waiting, host).await.won, [(id, host)]);
        (id, self.get(id).await.at)
    }
}

fn seen(instance: InstanceId, at: At, seq: i64, outcome: Outcome, power: Power) -> Observation {
    let observed = Observed { container: "c".into(), ..Default::default() };
    Observation {
        instance,
        at,
        seq,
        outcome,
        restart_seq: 0,
        power,
        observed,
        fault: None,
        request_id: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_stops_and_goes() {
    for house in houses().await {
        let host = house.host(2).await;
        let (id, at) = house.placed(host).await;
        assert_eq!((at.epoch, at.placement, at.generation), (1, 1, 1), "{}", house.engine);
        assert_eq!(house.get(id).await.status(), "BUILD");
        assert_eq!(house.hosts().await[0].used.slots, 1);

        let wanted = write!(house, |tx| pulls::wanted(tx, host, false, None, 10).await).expect("pulls");
        assert_eq!((wanted.len(), wanted[0].at), (1, at));
        assert!(house.report(host, seen(id, at, 1, Outcome::Done, Power::Running)).await.settled);
        assert_eq!(house.get(id).await.status(), "ACTIVE");
        let wanted = write!(house, |tx| pulls::wanted(tx, host, false, None, 10).await).expect("pulls");
        assert!(wanted.is_empty(), "acknowledged");

        let ring = write!(house, |tx| instances::act(tx, id, at, Action::Stop, "req-2", Timestamp(50)).await)
            .expect("stops");
        assert_eq!(ring, Some(host));
        let stale =
            write!(house, |tx| instances::act(tx, id, at, Action::Stop, "req-2", Timestamp(50)).await);
        assert!(matches!(stale, Err(Error::Stale)));
        let now = house.get(id).await;
        assert_eq!(now.task.map(|t| t.as_str()), Some("powering-off"));
        // A late observation of the older wish does not end the newer one.
        house.report(host, seen(id, at, 2, Outcome::Done, Power::Running)).await;
        assert!(house.get(id).await.task.is_some());
        house.report(host, seen(id, now.at, 3, Outcome::Done, Power::Stopped)).await;
        assert_eq!(house.get(id).await.status(), "SHUTOFF");
        // An older observation is not applied.
        house.report(host, seen(id, now.at, 1, Outcome::Changed, Power::Running)).await;
        assert_eq!(house.get(id).await.status(), "SHUTOFF");

        assert_eq!(house.want_gone(id, 1, 2).await, [host]);
        let gone = house.get(id).await;
        assert_eq!(gone.stage, Stage::Settled, "not final before it was observed");
        assert_eq!(house.hosts().await[0].used.slots, 1);
        house.report(host, seen(id, gone.at, 4, Outcome::Gone, Power::None)).await;
        assert_eq!(house.get(id).await.stage, Stage::Tombstone);
        assert_eq!(house.hosts().await[0].used, Resources::default());
        // Repeats change nothing.
        house.want_gone(id, 1, 3).await;
        house.report(host, seen(id, gone.at, 5, Outcome::Gone, Power::None)).await;
        assert_eq!(house.hosts().await[0].used, Resources::default());
        let back = house.report(host, seen(id, gone.at, 6, Outcome::Changed, Power::Running)).await;
        assert_eq!(back.superseded.len(), 1, "a copy that comes back must go");
        // A row that was lost by a restore and buried since knows of no placement; its host's copy goes all the same.
        let above = At { placement: gone.at.placement + 3, ..gone.at };
        let back = house.report(host, seen(id, above, 7, Outcome::Changed, Power::Running)).await;
        assert_eq!(back.superseded.iter().map(|(_, at)| at.placement).collect::<Vec<_>>(), [above.placement]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fencing_counter_refuses_zombies() {
    for house in houses().await {
        // A delete overtakes the insertion of the binding that it deletes.
        let id: InstanceId = house.env.id();
        assert!(house.want_gone(id, 1, 5).await.is_empty());
        house.insert(id, 1, 4).await;
        assert_eq!(house.get(id).await.stage, Stage::Tombstone, "{}: same epoch", house.engine);
        house.insert(id, 2, 4).await;
        assert_eq!(house.get(id).await.stage, Stage::Tombstone, "{}: older counter", house.engine);
        house.insert(id, 2, 6).await;
        assert_eq!(house.get(id).await.stage, Stage::Unplaced, "a newer binding under a newer counter");

        // A zombie's delete of an older epoch does not touch a newer binding.
        house.want_gone(id, 1, 7).await;
        assert_eq!(house.get(id).await.stage, Stage::Unplaced);
        house.want_gone(id, 2, 5).await;
        assert_eq!(house.get(id).await.stage, Stage::Unplaced, "older counter");
        house.want_gone(id, 2, 7).await;
        assert_eq!(house.get(id).await.stage, Stage::Tombstone);
        // A tombstone of a later binding covers that one too.
        house.want_gone(id, 3, 8).await;
        assert_eq!((house.get(id).await.at.epoch, house.get(id).await.stage), (3, Stage::Tombstone));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_never_exceed_the_host() {
    for house in houses().await {
        let host = house.host(40).await;
        for _ in 0..64 {
            let id: InstanceId = house.env.id();
            house.insert(id, 1, 1).await;
        }
        let waiting = house.waiting().await;
        assert_eq!(waiting.len(), 64);
        // Each instance is claimed by two conductors at the same time.
        let house = std::sync::Arc::new(house);
        let racing = waiting.iter().chain(&waiting).cloned().map(|w| {
            let house = house.clone();
            tokio::spawn(async move { house.claim(w, host).await.won.len() })
        });
        let mut won = 0;
        for one in futures::future::join_all(racing).await {
            won += one.expect("runs");
        }
        assert_eq!(won, 40, "{}", house.engine);
        assert_eq!(house.hosts().await[0].used.slots, 40);
        let allocated: Option<(i64,)> = house
            .db
            .read(|tx| -> Work<'_, _> {
                Box::pin(async move { tx.opt("SELECT COUNT(*) FROM allocation", vec![]).await })
            })
            .await
            .expect("counts");
        assert_eq!(allocated, Some((40,)));
        assert_eq!(house.waiting().await.len(), 24, "the others still wait");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engines_failure_is_retried_and_then_refused() {
    for house in houses().await {
        let (one, two) = (house.host(2).await, house.host(2).await);
        let (id, at) = house.placed(one).await;
        let mut failed = seen(id, at, 1, Outcome::Failed, Power::None);
        failed.fault = Some(Fault::new(FaultKind::Engine, "no such image"));
        assert!(
            !house.report(one, failed.clone()).await.unplaced,
            "a failure is no evidence that nothing runs"
        );
        assert_eq!(house.hosts().await.iter().map(|h| h.used.slots).sum::<i64>(), 1);
        let told = house.leave(one, id, 2).await;
        assert!(told.unplaced, "{}", house.engine);
        let waiting = house.waiting().await.into_iter().find(|w| w.id == id).expect("waits again");
        assert_eq!(waiting.avoid, [one]);
        assert!(house.hosts().await.iter().all(|h| h.used == Resources::default()), "{}", house.engine);
        house.claim(waiting, two).await;
        failed.at = house.get(id).await.at;
        assert_eq!(failed.at.placement, 2);
        house.report(two, failed).await;
        house.leave(two, id, 2).await;
        let row = house.get(id).await;
        assert_eq!(row.stage, Stage::Tombstone, "the cell says no");
        assert_eq!(row.fault.map(|f| f.0.message), Some("no such image".into()));
        assert!(house.hosts().await.iter().all(|h| h.used == Resources::default()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_before_counts_for_nothing_after() {
    for house in houses().await {
        let host = house.host(2).await;
        let (id, at) = house.placed(host).await;
        house.report(host, seen(id, at, 5, Outcome::Done, Power::Running)).await;
        // Late, or twice.
        for seq in [4, 5] {
            house.report(host, seen(id, at, seq, Outcome::Changed, Power::Stopped)).await;
            assert_eq!(house.get(id).await.power, Power::Running, "{}: {seq} after 5", house.engine);
        }
        house.report(host, seen(id, at, 6, Outcome::Changed, Power::Stopped)).await;
        assert_eq!(house.get(id).await.power, Power::Stopped, "{}", house.engine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_ports_are_claimed_once() {
    for house in houses().await {
        let host = house.host(9).await;
        let mut first = new(house.env.id(), 1, 1);
        first.spec.container.ports = vec!["8080:80".parse_port()];
        let mut second = first.clone();
        second.id = house.env.id();
        write!(house, [first, second], |tx| instances::insert(tx, &[first, second], Timestamp(1)).await)
            .expect("in");
        let waiting = house.waiting().await;
        let both: Vec<Claim> =
            waiting.into_iter().map(|instance| Claim { instance, host, engine: "e".into() }).collect();
        let done = write!(house, [both], |tx| claims::claim(tx, &both, Timestamp(2)).await).expect("claims");
        assert_eq!((done.won.len(), done.lost.len()), (1, 1), "{}", house.engine);
        assert_eq!(house.hosts().await[0].used.slots, 1);
    }
}

trait ParsePort {
    fn parse_port(&self) -> model::spec::PortWish;
}
impl ParsePort for str {
    fn parse_port(&self) -> model::spec::PortWish {
        model::spec::PortWish::parse(self).expect("legal")
    }
}
