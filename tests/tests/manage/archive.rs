//! What is left of instances that are gone, allocations that nobody owns, and the check before an upgrade.

use crate::bed::{Bed, CANARY, beds};
use crate::check;

/// A database that nobody answers for.
fn nowhere() -> String {
    format!("postgres://u:{CANARY}@127.0.0.1:1/x")
}

/// Marks every instance as deleted above.
async fn close(bed: &Bed) {
    const SQL: &str =
        "UPDATE instance_mapping SET state = 'deleted', deleted_at = $1 WHERE state <> 'deleted'";
    bed.above(SQL, sql::args![bed.env.now()]).await;
    bed.above("DELETE FROM request_spec", vec![]).await;
}

#[tokio::test]
async fn what_is_gone_is_archived_and_purged() {
    for mut bed in beds().await {
        let archive = |more: &str| format!("db archive_deleted_rows --all-cells --task-log {more}");
        check(&bed, &archive("--max_rows 0"), 2, "positive value");
        check(&bed, &archive("--max_rows x"), 2, "Invalid value");
        check(&bed, &archive("--before yesterday"), 4, "YYYY-MM-DD");
        check(&bed, &archive("--verbose"), 0, "Nothing was archived.");
        let (one, two) = (bed.cell("one").await, bed.cell("two").await);
        let host = bed.host(&one, "h1", false).await;
        let gone = bed.instance(&one, Some(host)).await;
        let other = bed.instance(&two, None).await;
        let lives = bed.instance(&two, None).await;
        for cell in ["one", "two"] {
            check(&bed, &format!("cell_v2 map_instances --cell_uuid {cell}"), 0, "");
        }
        bed.end(&one, gone, true).await;
        bed.end(&two, other, true).await;
        close(&bed).await;
        bed.above("UPDATE instance_mapping SET state = 'live' WHERE id = $1", sql::args![lives]).await;

        check(&bed, &archive("--before 2020-01-31"), 0, "");
        // h1 has not been heard of since the instance ended, so it may return with its container.
        check(&bed, &archive("--verbose"), 1, "two.instance");
        let count = "SELECT COUNT(*) FROM instance_mapping";
        assert_eq!(bed.number(count).await, 2, "{}", bed.engine);
        check(&bed, &archive(""), 0, "");
        bed.register(&one, host, "h1", false).await;
        let told = bed.manage(&archive("--until-complete --verbose --max-rows 1"));
        assert_eq!(told.code, 1, "{told:?}");
        for row in ["one.instance", "API_DB.instance_mapping", "API_DB.instance_index"] {
            assert!(told.out.contains(row), "{}", told.out);
        }
        assert_eq!(bed.number(count).await, 1, "the living one");
        assert_eq!(bed.below_number(&two, "SELECT COUNT(*) FROM instance").await, 1);
        assert_eq!(bed.below_number(&one, "SELECT COUNT(*) FROM archived_instance").await, 1);
        // The second one found nothing that may go yet: it was begun, and its record says so.
        assert_eq!(bed.number("SELECT COUNT(*) FROM audit WHERE action = 'instance.archive'").await, 3);

        check(&bed, "db purge", 1, "either --all or --before");
        check(&bed, "db purge --before x", 2, "YYYY-MM-DD");
        check(&bed, "db purge --before 2020-01-31 --all-cells", 3, "");
        check(&bed, "db purge --all --all-cells --verbose", 0, "one.archived_instance");
        check(&bed, "db purge --all --all-cells", 3, "");

        // Without --all-cells: the configured cell alone, and with --purge nothing is kept.
        bed.end(&two, lives, true).await;
        close(&bed).await;
        bed.write_config(&format!("[cell.database]\nurl = '{one}'\n"));
        check(&bed, "db archive_deleted_rows", 0, "");
        bed.write_config(&format!("[cell.database]\nurl = '{two}'\n"));
        check(&bed, "db archive_deleted_rows --purge --verbose", 1, "API_DB.instance_index");
        assert_eq!(bed.below_number(&two, "SELECT COUNT(*) FROM archived_instance").await, 0);

        // A cell that does not answer keeps nothing from the others.
        bed.map("dark", &nowhere());
        let last = bed.instance(&one, None).await;
        check(&bed, "cell_v2 map_instances --cell_uuid one", 0, "");
        let lost = bed.unbound().await;
        bed.bind(lost, bed.mapping("dark").await.id).await;
        bed.end(&one, last, true).await;
        close(&bed).await;
        bed.register(&one, host, "h1", false).await;
        check(&bed, &archive(""), 255, "cell dark was left out");
        assert_eq!(bed.number(count).await, 1, "that of the dark cell");
        bed.api = nowhere();
        bed.write_config("");
        check(&bed, &archive(""), 3, "API database");
        check(&bed, "db purge --all", 4, "API database");
    }
}

#[tokio::test]
async fn allocations_that_nobody_owns_are_found_and_freed() {
    for mut bed in beds().await {
        check(&bed, "placement audit", 0, "");
        let one = bed.cell("one").await;
        let host = bed.host(&one, "h1", false).await;
        bed.host(&one, "h2", false).await;
        check(&bed, "cell_v2 discover_hosts", 0, "");
        let kept = bed.instance(&one, Some(host)).await;
        let lost = bed.instance(&one, Some(host)).await;
        check(&bed, "placement audit --verbose", 0, "Processed 0 allocations.");
        bed.below(&one, "DELETE FROM instance WHERE id = $1", sql::args![lost]).await;
        check(&bed, "placement audit", 3, &lost.to_string());
        check(&bed, "placement audit --resource_provider h2", 0, "");
        check(&bed, "placement audit --resource-provider h9", 127, "does not exist");
        check(&bed, &format!("placement audit --delete --resource_provider {host}"), 4, &lost.to_string());
        check(&bed, "placement audit --delete", 0, "");
        let used = "SELECT used_slots FROM host WHERE name = 'h1'";
        assert_eq!(bed.below_number(&one, used).await, 1, "that of {kept}");
        assert_eq!(bed.number("SELECT COUNT(*) FROM audit WHERE action = 'allocation.free'").await, 1);
        bed.map("dark", &nowhere());
        check(&bed, "placement audit", 1, "cell dark was left out");
    }
}

#[tokio::test]
async fn an_upgrade_is_checked() {
    for mut bed in beds().await {
        let line = "status upgrade check";
        check(&bed, line, 2, "map_cell0");
        let cell0 = bed.database("cell0");
        bed.migrate(&cell0).await;
        check(&bed, &format!("cell_v2 map_cell0 --database_connection {cell0}"), 0, "");
        check(&bed, line, 2, "No cell is mapped beside cell0");
        let one = bed.cell("one").await;
        check(&bed, line, 0, "| Result: Success");
        let host = bed.host(&one, "h1", false).await;
        check(&bed, line, 2, "discover_hosts");
        check(&bed, "cell_v2 discover_hosts", 0, "");
        check(&bed, line, 0, "| Check: Older than N-1 computes");
        bed.below(&one, "UPDATE host SET version = '99.0.0' WHERE id = $1", sql::args![host]).await;
        check(&bed, line, 2, "h1 has 99.0.0");
        bed.below(&one, "UPDATE host SET version = '0' WHERE id = $1", sql::args![host]).await;
        bed.map("dark", &nowhere());
        check(&bed, line, 1, "dark: its database does not answer");
        bed.api = nowhere();
        bed.write_config("");
        check(&bed, line, 255, "API database");
    }
}
