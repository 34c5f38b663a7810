//! Pairs of transactions that guard each other, on PostgreSQL, interleaved statement by statement: so many
//! statements of the one, then so many of the other, then the rest of both, for all such numbers. Each side
//! has one connection through a proxy that lets packets pass one by one; a packet is a statement.
//!
//! SQLite has one writer, so there transactions cannot overlap.

#[path = "interleavings/above.rs"]
mod above;
#[path = "interleavings/accepted.rs"]
mod accepted;
#[path = "interleavings/below.rs"]
mod below;
#[path = "interleavings/orders.rs"]
mod orders;
#[path = "interleavings/sizes.rs"]
mod sizes;

use std::sync::Arc;
use std::time::Duration;

use model::{Env, RequestSpec};
use sql::{Db, Error, Settings};
use tests::{Database, Faults, Proxy};

/// How long a statement may take that does not wait for the other side. Slower ones are taken to wait, which
/// makes it another schedule, not a failure.
const ANSWER: Duration = Duration::from_millis(60);
/// Statements of a transaction are at most so many.
const LONGEST: usize = 40;

/// One side: a database through a proxy of its own.
struct Side<D> {
    db: Db<D>,
    proxy: Proxy,
}

/// A database with two sides, and a third way for whoever prepares and looks.
struct Bed<D> {
    env: Env,
    db: Db<D>,
    sides: [Side<D>; 2],
    _database: Database,
}

/// What became of one side, as text if it failed.
type End = Result<(), String>;

impl<D: Send + Sync + 'static> Bed<D> {
    async fn new(schema: &'static sql::migrate::Schema) -> Self {
        let (env, database) = (Env::system(), tests::postgres().database("pairs"));
        let open = |url: &str, connections| {
            let deadline = Duration::from_secs(30);
            Db::open(&Settings { connections, deadline, ..Settings::new(url) }).expect("opens")
        };
        let db = open(database.url(), 4);
        schema.migrate(&db, &env).await.expect("migrates");
        let side = async || {
            let proxy = Proxy::before(database.url()).await;
            Side { db: open(&proxy.url(database.url()), 1), proxy }
        };
        let sides = [side().await, side().await];
        Self { env, db, sides, _database: database }
    }

    /// Runs the two in every schedule, each over what `prepare` makes for it, and holds `look` against it.
    async fn interleave<S, A, B>(
        &self,
        prepare: impl AsyncFn(&Db<D>, &Env) -> S,
        one: impl Fn(Db<D>, Arc<S>) -> A,
        two: impl Fn(Db<D>, Arc<S>) -> B,
        look: impl AsyncFn(&Db<D>, &S, [End; 2], &str),
    ) where
        S: Send + Sync + 'static,
        A: Future<Output = Result<(), Error>> + Send + 'static,
        B: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let [first, second] = &self.sides;
        // The first time statements are prepared, which costs packets of their own.
        for _ in 0..2 {
            let ground = Arc::new(prepare(&self.db, &self.env).await);
            let (a, b) = (one(first.db.clone(), ground.clone()), two(second.db.clone(), ground.clone()));
            let ends = [text(a.await), text(b.await)];
            look(&self.db, &ground, ends, "one after the other").await;
            let ground = Arc::new(prepare(&self.db, &self.env).await);
            let (a, b) = (one(first.db.clone(), ground.clone()), two(second.db.clone(), ground.clone()));
            let b = text(b.await);
            look(&self.db, &ground, [text(a.await), b], "the other way round").await;
        }
        let mut schedules = 0;
        let mut lengths = [LONGEST, LONGEST];
        for leader in [0, 1] {
            let mut i = 1;
            while i < lengths[leader] {
                let mut j = 1;
                while j < lengths[1 - leader] {
                    let ground = Arc::new(prepare(&self.db, &self.env).await);
                    let stepwise = Faults { stepwise: true, ..Faults::default() };
                    first.proxy.set(stepwise);
                    second.proxy.set(stepwise);
                    let a = tokio::spawn(one(first.db.clone(), ground.clone()));
                    let b = tokio::spawn(two(second.db.clone(), ground.clone()));
                    let done = |side: usize| if side == 0 { a.is_finished() } else { b.is_finished() };
                    for (side, steps) in [(leader, i), (1 - leader, j)] {
                        for step in 0..steps {
                            if !self.sides[side].proxy.step(ANSWER).await && done(side) {
                                // It had fewer statements than that.
                                lengths[side] = lengths[side].min(step.max(1));
                                break;
                            }
                        }
                    }
                    self.sides[leader].proxy.heal();
                    let mut waits = 0;
                    while !done(leader) && waits < 20 {
                        tokio::time::sleep(ANSWER / 20).await;
                        waits += 1;
                    }
                    self.sides[1 - leader].proxy.heal();
                    let ends = [text(a.await.expect("runs")), text(b.await.expect("runs"))];
                    let schedule = format!("side {leader} leads, {i} and {j} statements");
                    look(&self.db, &ground, ends, &schedule).await;
                    schedules += 1;
                    j += 1;
                }
                i += 1;
            }
        }
        eprintln!("{schedules} schedules, of {lengths:?} statements");
        assert!(schedules >= 8, "only {schedules} schedules");
    }
}

fn text(end: Result<(), Error>) -> End {
    end.map_err(|error| error.to_string())
}

fn spec(project: &str) -> RequestSpec {
    RequestSpec { project: project.into(), ..model::testing::spec() }
}
