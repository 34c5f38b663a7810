//! Credentials of a cell's database and broker are rotated while the cloud is at work.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tests::estate::{Engine, Plan, User, server};
use tests::{Estate, eventually, unique};

use crate::grows::{expect, run};

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
pub fn rewrite(file: &Path, changes: &[(String, String)]) {
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
    let mut estate = Estate::start(Plan { cells: 1, engine: Engine::Scripted, ..Plan::default() }).await;
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let workers = join_all((0..3).map(|n| work(estate.user("alice"), format!("busy{n}"), &stop, &rounds)));
    let story = async {
        more(&rounds, "the cloud works").await;
        let (database, vhost) = (
            tests::estate::with_password(estate.cell_database(1).url()),
            estate.vhosts()[1].url().to_owned(),
        );
        let others = other_users(&mut estate, &rounds, &Way { database, vhost }).await;
        other_words(&mut estate, &rounds, &others).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(workers, story);
    estate.clear(&["alice"]).await;
}

/// URLs of the cell's database and broker.
struct Way {
    database: String,
    vhost: String,
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

/// Gives the command up again and again where it waits, until it says what it waits for.
async fn waits(estate: &Estate, command: &str, wanted: &str) {
    eventually(SWITCH, wanted, async || match run(estate, &format!("{command} --timeout 2")).await {
        (4, said) if said.contains(wanted) => Ok(()),
        (4, said) => Err(said),
        (code, said) => panic!("{command}: {code}: {said}"),
    })
    .await;
}

/// Puts other URLs into the files of the cell's own roles, and waits until these have read them `times` times.
async fn rewrite_all(estate: &mut Estate, changes: &[(String, String)], times: usize) {
    for file in ["cell1.toml", "cell1-h1.toml"] {
        rewrite(&estate.path(file), changes);
    }
    let names = [estate.names("conductor"), estate.names("agent")].concat();
    eventually(SWITCH, "the cell's roles have read their files", async || {
        let mut late = Vec::new();
        for name in &names {
            if estate.process(name).log().matches("credentials were read again").count() < times {
                late.push(name);
            }
        }
        if late.is_empty() { Ok(()) } else { Err(format!("{late:?}")) }
    })
    .await;
}

/// Two users, one after the other. The command is given up while it waits for the cell's own roles, and goes on.
async fn other_users(estate: &mut Estate, rounds: &AtomicUsize, old: &Way) -> Way {
    let role = unique("rotated").replace('-', "_");
    estate.cell_database(1).query(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    let new = Way {
        database: estate.cell_database(1).url().replacen("postgres@", &format!("{role}@"), 1),
        vhost: estate.vhosts()[1].user("rotated"),
    };
    assert_ne!(new.database, old.database, "the URL names its user");
    let rotate = format!("cell rotate cell1 --database-url {} --transport-url {}", new.database, new.vhost);
    waits(estate, &rotate, "connections of user postgres").await;
    // The broker's own user is the same in all of the run.
    waits(estate, &rotate, "conductors that are connected to the broker as guest").await;
    waits(estate, &rotate, "1 hosts whose agents are connected to the broker as guest, cell1-h1 for one")
        .await;
    more(rounds, "the API level has moved").await;
    let swap = |old: &str, new: &str| (format!("url = '{old}'"), format!("url = '{new}'"));
    rewrite_all(estate, &[swap(&old.database, &new.database), swap(&old.vhost, &new.vhost)], 1).await;
    expect(estate, &format!("{rotate} --timeout 90"), 0, "[3/3]").await;
    let sessions = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'skep' \
         AND usename <> '{role}'"
    );
    eventually(SWITCH, "nobody uses the old credentials", async || {
        let (sessions, users) = (estate.cell_database(1).number(&sessions), estate.vhosts()[1].connections());
        let others = users.iter().filter(|user| !new.vhost.contains(&format!("//{user}:"))).count();
        match (sessions, others, users.len()) {
            (0, 0, 1..) => Ok(()),
            found => Err(format!("of the database, of the broker, all of the broker: {found:?}")),
        }
    })
    .await;
    let user = new.vhost.split("://").nth(1).and_then(|rest| rest.split(':').next()).expect("a user");
    expect(estate, "host show cell1-h1 -o json", 0, &format!("\"connected_as\": \"{user}\"")).await;
    more(rounds, "the cloud works on").await;
    new
}

/// One user of each, whom the server knows by other words from one moment to the next: both are in the slots before.
async fn other_words(estate: &mut Estate, rounds: &AtomicUsize, old: &Way) {
    let user =
        |url: &str| url.split("://").nth(1).and_then(|rest| rest.split([':', '@']).next()).map(str::to_owned);
    let (role, name) = (user(&old.database).expect("a user"), user(&old.vhost).expect("a user"));
    // The test's PostgreSQL asks for no password: another name is what it refuses.
    let renamed = format!("{role}_again");
    let place = old.vhost.rsplit('@').next().expect("a place");
    let new = Way {
        database: old.database.replacen(&format!("{role}@"), &format!("{renamed}@"), 1),
        vhost: format!("amqp://{name}:{}@{place}", unique("other")),
    };
    let second =
        |old: &str, new: &str| (format!("url = '{old}'"), format!("url = '{old}'\nsecond_url = '{new}'"));
    rewrite_all(estate, &[second(&old.database, &new.database), second(&old.vhost, &new.vhost)], 2).await;
    let rotate =
        format!("cell rotate cell1 --pending --database-url {} --transport-url {}", new.database, new.vhost);
    waits(estate, &rotate, "to be changed at the servers now").await;
    expect(estate, "cell show cell1 -o json", 0, &format!("{renamed}@")).await;

    estate.cell_database(1).query(&format!("ALTER ROLE {role} RENAME TO {renamed}"));
    estate.vhosts()[1].change_password(&new.vhost);
    // New connections, by the mapping as it is: the first slot of both is refused now.
    expect(estate, "cell test cell1", 0, "").await;
    more(rounds, "the cloud works between the two changes").await;
    expect(estate, &format!("{rotate} --timeout 90"), 0, "[3/3]").await;
    expect(estate, "cell test cell1", 0, "").await;
    more(rounds, "the cloud works with the new words alone").await;
}
