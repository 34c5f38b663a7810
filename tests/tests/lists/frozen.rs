//! The same while cells' databases stand still: each is on a PostgreSQL server of its own, and all processes
//! of random ones are stopped by SIGSTOP while walks are under way.

use std::sync::Arc;
use std::time::Duration;

use api_db::index::Entry;
use tests::cloud::{Cloud, Plan, admin};
use tests::{Part, Services, eventually};
use verbs::{Query, Read, Seen};

use crate::house::{CELLS, light, populate, walk};
use crate::oracle::{agrees, one_walk};

/// Sets of cells that stand still, one after the other.
const SETS: usize = 5;

/// Walks with each, and after it.
const WALKS: usize = 12;

type Server = (&'static str, Arc<Services>);

#[tokio::test(flavor = "multi_thread")]
async fn every_walk_agrees_with_the_oracle_whatever_databases_stand_still() {
    // Dropped last: the cloud is on them.
    let servers: Vec<Server> =
        CELLS.into_iter().map(|cell| (cell, Arc::new(Services::private(&[Part::Postgres])))).collect();
    let cloud = Cloud::start_apart(Plan { hosts: 2, postgres: true, ..Plan::default() }, &servers).await;
    let known = populate(&cloud).await;
    let env = &cloud.env;
    for set in 0..SETS {
        let start = env.monotonic();
        let mut frozen: Vec<&Server> = servers.iter().filter(|_| env.below(2) == 0).collect();
        if frozen.is_empty() {
            frozen.push(&servers[set % servers.len()]);
        }
        let names: Vec<&str> = frozen.iter().map(|(cell, _)| *cell).collect();
        let falling = async {
            one_walk(&cloud, &known, &[]).await;
            one_walk(&cloud, &known, &[]).await;
        };
        tokio::join!(each(&frozen, |services| services.freeze(Part::Postgres)), falling);
        let fell = env.monotonic();
        for _ in 0..WALKS {
            one_walk(&cloud, &known, &names).await;
        }
        by_last_heard(&cloud, &known, &names).await;
        let stood = env.monotonic();
        each(&frozen, |services| services.thaw(Part::Postgres)).await;
        light(&cloud).await;
        all_is_fresh(&cloud, &known).await;
        let thawed = env.monotonic();
        for _ in 0..WALKS {
            one_walk(&cloud, &known, &[]).await;
        }
        eprintln!(
            "{names:?}: fell silent in {:?}, {WALKS} walks in {:?}, all fresh after {:?}, {WALKS} walks in {:?}",
            fell - start,
            stood - fell,
            thawed - stood,
            env.monotonic() - thawed
        );
    }
}

/// Does something to several servers at once, beside whatever else this test does.
async fn each(servers: &[&Server], act: fn(&Services)) {
    let acts = servers.iter().map(|(_, services)| {
        let services = services.clone();
        tokio::task::spawn_blocking(move || act(&services))
    });
    for done in futures::future::join_all(acts).await {
        done.expect("is done");
    }
}

/// Everything that there is, each once.
async fn everything(cloud: &Cloud, known: &[Entry], read: Read) -> Vec<Seen> {
    let query = Query { all_projects: true, limit: Some(25), read, ..Query::default() };
    let (walked, _) = walk(cloud, &admin(), &query).await;
    assert_eq!(walked.len(), known.iter().filter(|entry| !entry.deleted).count());
    walked
}

/// What lies in these cells is told as it was last heard of, and all else as it is.
async fn by_last_heard(cloud: &Cloud, known: &[Entry], frozen: &[&str]) {
    for read in [Read::Index, Read::Cells] {
        eventually(Duration::from_secs(30), "no other cell is taken for dark", async || {
            for seen in everything(cloud, known, read).await {
                agrees(cloud, known, &seen, frozen);
                match seen {
                    Seen::Dark(told) if !frozen.contains(&told.cell.as_str()) => return Err(told.cell),
                    _ => {}
                }
            }
            Ok(())
        })
        .await;
    }
}

/// Nothing is told as it was last heard of any more.
async fn all_is_fresh(cloud: &Cloud, known: &[Entry]) {
    for read in [Read::Index, Read::Cells] {
        eventually(Duration::from_secs(30), "every cell tells its own", async || {
            for seen in everything(cloud, known, read).await {
                agrees(cloud, known, &seen, &[]);
                if let Seen::Dark(told) = seen {
                    return Err(told.cell);
                }
            }
            Ok(())
        })
        .await;
    }
}
