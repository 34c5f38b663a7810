//! Numbers that only grow: each simulated database watches its own, at every write, and remembers what went back.
//!
//! What a number that went back leads to, a client may never see: the next observation, or the digest, mends it before
//! anybody looks. So the rule itself is watched.

use sql::{Tx, Work};

use super::world::{self, World};

const WENT_BACK: &str = "CREATE TABLE went_back (what TEXT NOT NULL)";

/// Of a mapping: what only the API level writes. It is live, then deleting, then deleted.
const MAPPINGS: &str = "CREATE TRIGGER mapping_goes_on AFTER UPDATE ON instance_mapping
    WHEN NEW.epoch < OLD.epoch OR NEW.saga_token < OLD.saga_token
        OR (OLD.state = 'deleting' AND NEW.state = 'live') OR (OLD.state = 'deleted' AND NEW.state <> 'deleted')
    BEGIN INSERT INTO went_back VALUES ('mapping ' || hex(NEW.id)
        || ': epoch ' || OLD.epoch || ' to ' || NEW.epoch
        || ', saga_token ' || OLD.saga_token || ' to ' || NEW.saga_token
        || ', ' || OLD.state || ' to ' || NEW.state); END";

/// Of an instance's row: where it is in the order of everything, what was heard of it there, and both fencing counters.
const ROWS: &str = "CREATE TRIGGER row_goes_on AFTER UPDATE ON instance
    WHEN (NEW.epoch, NEW.placement, NEW.generation) < (OLD.epoch, OLD.placement, OLD.generation)
        OR (NEW.epoch = OLD.epoch AND NEW.placement = OLD.placement
            AND (NEW.obs_seq < OLD.obs_seq OR NEW.agent_generation < OLD.agent_generation
                OR (OLD.intent = 'gone' AND NEW.intent <> 'gone')))
        OR NEW.version < OLD.version OR NEW.saga_token < OLD.saga_token OR NEW.op_token < OLD.op_token
    BEGIN INSERT INTO went_back VALUES ('instance ' || hex(NEW.id)
        || ': at ' || OLD.epoch || '.' || OLD.placement || '.' || OLD.generation
        || ' to ' || NEW.epoch || '.' || NEW.placement || '.' || NEW.generation
        || ', obs_seq ' || OLD.obs_seq || ' to ' || NEW.obs_seq
        || ', agent_generation ' || OLD.agent_generation || ' to ' || NEW.agent_generation
        || ', version ' || OLD.version || ' to ' || NEW.version
        || ', saga_token ' || OLD.saga_token || ' to ' || NEW.saga_token
        || ', op_token ' || OLD.op_token || ' to ' || NEW.op_token
        || ', ' || OLD.intent || ' to ' || NEW.intent); END";

async fn run<D: 'static>(db: &sql::Db<D>, text: &'static str) {
    let done = db.write(move |tx: &mut Tx<D>| -> Work<'_, u64> {
        Box::pin(async move { tx.exec(text, vec![]).await })
    });
    done.await.expect("a trigger");
}

/// Has the API database watch its numbers.
pub async fn watch_api(db: &api_db::Db) {
    run(db, WENT_BACK).await;
    run(db, MAPPINGS).await;
}

/// Has a cell's database watch its numbers.
pub async fn watch_cell(db: &cell_db::Db) {
    run(db, WENT_BACK).await;
    run(db, ROWS).await;
}

impl World {
    /// Notes which numbers have gone back that only grow.
    pub fn tell_what_went_back(&mut self) {
        let names: Vec<String> = self.sites.iter().map(|site| site.cell.name.clone()).collect();
        let found = self.observe(async {
            let mut found = Vec::new();
            for name in names.iter().map(String::as_str).chain(["api", "cell0"]) {
                found.extend(went_back(name).await);
            }
            found
        });
        found.into_iter().for_each(|what| self.history.lie(what));
    }
}

/// What has gone back in the database of that name.
async fn went_back(name: &str) -> Vec<String> {
    let db: sql::Db<()> = world::open(name);
    let read = db.read(|tx: &mut Tx<()>| -> Work<'_, Vec<(String,)>> {
        Box::pin(async move { tx.all("SELECT what FROM went_back ORDER BY rowid LIMIT 5", vec![]).await })
    });
    read.await.expect("is read").into_iter().map(|(what,)| format!("{name}: {what}")).collect()
}
