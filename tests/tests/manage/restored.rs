//! `skep-manage db restored` and `api_db restored`: what waits, what confirms, and what they say.

use crate::bed::{Bed, CANARY, beds};

fn says(bed: &Bed, line: &str, code: i32, words: &[&str]) {
    let ended = bed.manage(line);
    assert_eq!(ended.code, code, "{} {line}: {ended:?}", bed.engine);
    for word in words {
        assert!(ended.out.contains(word), "{} {line}: no '{word}' in {ended:?}", bed.engine);
    }
}

fn finds(bed: &Bed, code: &str) -> bool {
    bed.direct("doctor").out.contains(code)
}

#[tokio::test]
async fn a_cells_database_waits_until_it_is_confirmed() {
    for mut bed in beds().await {
        let (one, two) = (bed.cell("one").await, bed.cell("two").await);
        let host = bed.host(&one, "h1", false).await;
        bed.instance(&one, Some(host)).await;
        says(&bed, "cell_v2 map_instances --cell_uuid one", 0, &[]);
        // Its row is younger than the backup, and nothing has its container.
        let lost = bed.unbound().await;
        bed.bind(lost, bed.mapping("one").await.id).await;
        assert!(finds(&bed, "I002") && !finds(&bed, "R001"));

        says(&bed, "db restored --cell_uuid nine", 1, &["nine"]);
        says(&bed, "db restored --cell_uuid one --confirm", 1, &["does not wait"]);
        assert_eq!(bed.manage("db restored").code, 255, "no cell is named");
        assert_eq!(bed.manage("db restored --cell_uuid one --force").code, 2);
        says(&bed, "db restored --cell_uuid one", 0, &["waits"]);
        assert!(finds(&bed, "R001"));
        says(&bed, "db restored --cell_uuid one --confirm", 1, &["h1", "--force"]);
        assert_eq!(bed.below_number(&one, "SELECT COUNT(*) FROM restored").await, 1);
        says(&bed, "db restored --cell_uuid one --confirm --force", 0, &["1 lost", "not heard out: h1"]);
        assert!(!finds(&bed, "R001") && !finds(&bed, "I002"));
        let error = "SELECT COUNT(*) FROM instance WHERE stage = 'error' AND fault IS NOT NULL";
        assert_eq!(bed.below_number(&one, error).await, 1);
        let raised = "SELECT COUNT(*) FROM instance WHERE generation > 1000000 AND host IS NOT NULL";
        assert_eq!(bed.below_number(&one, raised).await, 1, "its host may know more than the copy");
        let audited = "SELECT COUNT(*) FROM audit WHERE action IN ('cell.restored', 'cell.confirm')";
        assert_eq!(bed.number(audited).await, 2);

        // The cell that the configuration names; and on its own machines, where nothing is known of the API level.
        bed.write_config(&format!("[cell.database]\nurl = '{two}'\n"));
        says(&bed, "db restored", 0, &["waits"]);
        says(&bed, "db restored --confirm", 0, &["Cell two works again"]);
        std::fs::write(bed.config(), format!("[cell.database]\nurl = '{two}'\n")).expect("is written");
        says(&bed, "db restored", 0, &["waits"]);
        assert_eq!(bed.manage("db restored --confirm").code, 255);
        assert_eq!(bed.below_number(&two, "SELECT COUNT(*) FROM restored").await, 1);
    }
}

#[tokio::test]
async fn the_api_database_waits_until_it_is_confirmed() {
    for mut bed in beds().await {
        let one = bed.cell("one").await;
        let held = bed.instance(&one, None).await;
        let lost = bed.unbound().await;
        bed.bind(lost, bed.mapping("one").await.id).await;
        says(&bed, "api_db restored --confirm", 1, &["does not wait"]);
        says(&bed, "api_db restored", 0, &["waits"]);
        assert!(finds(&bed, "R003"));
        says(&bed, "db restored --cell_uuid one", 0, &["waits"]);
        says(&bed, "db restored --cell_uuid one --confirm", 1, &["API database"]);
        bed.map("dark", &format!("postgres://u:{CANARY}@127.0.0.1:1/x"));
        says(&bed, "api_db restored --confirm", 1, &["dark"]);
        says(&bed, "api_db restored --confirm --force", 0, &["1 mapped", "0 lost", "did not answer: dark"]);
        assert!(!finds(&bed, "R003"));
        assert_eq!(bed.manage(&format!("cell_v2 verify_instance --uuid {held} --quiet")).code, 0);
        // It is being made, so that somebody has to follow it.
        assert_eq!(bed.number("SELECT COUNT(*) FROM task WHERE kind = 'build/1'").await, 1);
        says(&bed, "db restored --cell_uuid one --confirm --force", 0, &["1 lost"]);
    }
}
