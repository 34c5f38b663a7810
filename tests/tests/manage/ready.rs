//! What `skep cell test` finds before a cell takes instances.

use model::Summary;
use sql::{Settings, Work};

use crate::bed::{Bed, beds};

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
