//! Whether a cell is ready, as `skep cell test` finds it, and what `skep cell sync` makes of one that is not.

use model::Summary;
use sql::{Settings, Work};
use tests::rabbit;

use crate::bed::{Bed, CANARY, beds};

/// Publishes a summary as a conductor of this release does.
async fn publish(bed: &Bed, url: &str) {
    let db = cell_db::Db::open(&Settings::new(url)).expect("opens");
    let now = bed.env.now();
    let published = db.write(move |tx| -> Work<'_, Summary> {
        let sum = |_: Vec<_>, waiting| Summary { waiting, ..Summary::default() };
        Box::pin(async move { cell_db::summary::publish(tx, now, sum).await })
    });
    published.await.expect("is published");
    db.close().await;
}

/// The line of a check.
fn line(bed: &Bed, check: &str) -> String {
    let out = bed.direct("cell test one").out;
    out.lines().find(|line| line.starts_with(check)).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn conductors_of_another_release_keep_a_cell_from_being_ready() {
    for mut bed in beds().await {
        let one = bed.cell("one").await;
        publish(&bed, &one).await;
        let told = line(&bed, "versions");
        assert!(told.contains("ok") && told.contains("within one release"), "{}: {told}", bed.engine);
        // One of a release far away publishes, too; another did so a while ago.
        let now = bed.env.now();
        let body = serde_json::json!({"releases": {"99.0.0": now.0, "98.0.0": now.0 - 60_000_000}});
        bed.below(&one, "UPDATE summary SET at = $1, body = $2", sql::args![now, body]).await;
        let told = line(&bed, "versions");
        assert!(told.contains("a conductor has 99.0.0") && !told.contains("98"), "{}: {told}", bed.engine);
    }
}

#[tokio::test]
async fn a_cell_that_is_behind_is_brought_up_to_date() {
    for mut bed in beds().await {
        let sync = |bed: &Bed, line: &str, code: i32| {
            let ended = bed.direct(line);
            assert_eq!(ended.code, code, "{} {line}: {}{}", bed.engine, ended.out, ended.err);
            ended.out
        };
        let (empty, vhost) = (bed.database("empty"), rabbit().vhost("sync"));
        // A database that has no table yet, as 'create --no-prepare' leaves it; SQLite's file has to be there.
        cell_db::Db::open(&Settings::new(&empty))
            .expect("opens")
            .write(|_| Box::pin(async { Ok(()) }))
            .await
            .expect("is made");
        let broker = vhost.url();
        let create = format!(
            "cell create --no-prepare --name one --region r --database-url {empty} --transport-url {broker}"
        );
        sync(&bed, &create, 0);
        sync(&bed, "cell sync none", 1);
        let told = sync(&bed, "cell sync one --dry-run", 0);
        assert!(told.contains("would be migrated") && told.contains("would be declared"), "{told}");
        assert_eq!(vhost.queues(), []);

        // There is no conductor: that part fails, and keeps nothing else.
        let told = sync(&bed, "cell sync one", 3);
        assert!(told.contains("migrated to version") && told.contains("declared"), "{told}");
        assert!(told.contains("FAILED") && told.contains("no conductor has published"), "{told}");
        assert!(vhost.queues().iter().any(|(queue, ..)| queue == "conductors"));
        bed.host(&empty, "h1", false).await;
        assert!(sync(&bed, "cell sync one --dry-run", 0).contains("1, of which 1 are not mapped"));
        assert!(sync(&bed, "cell sync one", 3).contains("1, of which 1 were not mapped"));
        assert!(sync(&bed, "cell sync one", 3).contains("1, of which 0 were not mapped"));
        let audited = bed.number("SELECT COUNT(*) FROM audit WHERE action = 'cell.sync'").await;
        assert_eq!(audited, 3, "what changes nothing leaves no record");

        // Away as a whole.
        bed.map("dark", &format!("postgres://u:{CANARY}@127.0.0.1:1/x"));
        let told = sync(&bed, "cell sync dark", 3);
        assert_eq!(told.matches("FAILED").count(), 4, "{told}");
    }
}
