//! Credentials of a cell's database and broker are rotated while the cloud is at work.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tests::estate::{Engine, Plan, User, server};
use tests::{Estate, eventually, unique};

use crate::grows::expect;

/// Longest that everything may take to use the new credentials alone.
const SWITCH: Duration = Duration::from_secs(90);

/// Boots, looks, and deletes until it is told to stop; a request that fails is a panic.
async fn work(user: User, name: String, stop: &AtomicBool, rounds: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        let id = user.boot(server(&name)).await;
        user.reaches(&id, "ACTIVE").await;
        user.list().await;
        user.show(&id).await.expect("is told");
        user.delete(&id).await;
        user.gone(&id).await;
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// Puts other URLs into a configuration file, in one move.
fn rewrite(file: &Path, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(file).expect("is read");
    for (old, new) in changes {
        text = text.replace(old, new);
    }
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("is written");
    std::fs::rename(next, file).expect("is moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cells_credentials_rotate_under_load_and_no_request_fails() {
    let _alone = crate::alone().await;
    let estate = Estate::start(Plan { cells: 1, engine: Engine::Scripted, ..Plan::default() }).await;
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let workers = join_all((0..3).map(|n| work(estate.user("alice"), format!("busy{n}"), &stop, &rounds)));
    let story = async {
        rotate(&estate, &rounds).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(workers, story);
    estate.clear(&["alice"]).await;
}

/// Waits until requests were answered after this moment, too.
async fn more(rounds: &AtomicUsize, what: &str) {
    let before = rounds.load(Ordering::SeqCst);
    eventually(SWITCH, what, async || match rounds.load(Ordering::SeqCst) - before {
        done if done >= 4 => Ok(()),
        done => Err(format!("{done} rounds")),
    })
    .await;
}

async fn rotate(estate: &Estate, rounds: &AtomicUsize) {
    more(rounds, "the cloud works").await;
    let (database, vhost) = (estate.cell_database(1), &estate.vhosts()[1]);
    // Who is to take the place of whoever is there now.
    let role = unique("rotated").replace('-', "_");
    database.query(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    let by_role = database.url().replacen("postgres@", &format!("{role}@"), 1);
    assert_ne!(by_role, database.url(), "the URL names its user");
    let by_user = vhost.user("rotated");
    // The API level, by the mapping; the cell's own roles, by their files.
    let set = format!("cell set cell1 --database-url {by_role} --transport-url {by_user}");
    expect(estate, &set, 0, "").await;
    more(rounds, "the API level has moved").await;
    for file in ["cell1.toml", "cell1-h1.toml"] {
        rewrite(&estate.path(file), &[(database.url(), &by_role), (vhost.url(), &by_user)]);
    }
    let old = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'skep' \
         AND usename <> '{role}'"
    );
    eventually(SWITCH, "nobody uses the old credentials", async || {
        let (sessions, users) = (database.number(&old), vhost.connections());
        let others = users.iter().filter(|user| !by_user.contains(&format!("//{user}:"))).count();
        match (sessions, others, users.len()) {
            (0, 0, 1..) => Ok(()),
            found => Err(format!("of the database, of the broker, all of the broker: {found:?}")),
        }
    })
    .await;
    more(rounds, "the cloud works on").await;
}
