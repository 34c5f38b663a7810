//! Two slots for a cell's credentials: rotating them step by step, falling back, and what keeps both consistent.

use serde_json::Value;
use tests::unique;

use crate::bed::{Bed, CANARY, Ended, beds};

const STEPS: &str = "SELECT COUNT(*) FROM audit WHERE action = 'cell.rotate'";
const K1: &str = "k1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const K2: &str = "k2 HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn check(bed: &Bed, ended: &Ended, code: i32, says: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{}: {said}", bed.engine);
    assert!(said.contains(says), "{}: wanted '{says}': {said}", bed.engine);
}

/// The same database by another URL, where the server knows the user or not; SQLite knows no users.
fn other(bed: &Bed, url: &str, user: &str) -> String {
    match bed.engine {
        "sqlite" => format!("{url}?mode=rwc"),
        _ => url.replacen(&format!("postgres:{CANARY}@"), &format!("{user}:{CANARY}@"), 1),
    }
}

/// A user that the server knows.
fn user(bed: &Bed) -> String {
    let name = unique("slot").replace('-', "_");
    bed.query(&format!("CREATE ROLE {name} LOGIN SUPERUSER"));
    name
}

#[tokio::test]
async fn credentials_rotate_step_by_step() {
    for mut bed in beds().await {
        let (one, elsewhere) = (bed.cell("one").await, bed.cell("two").await);
        let new = other(&bed, &one, &user(&bed));
        let rotate = format!("cell rotate one --database-url {new}");
        check(&bed, &bed.direct("cell rotate one"), 2, "--database-url");
        check(&bed, &bed.direct(&rotate.replace(" one ", " none ")), 1, "no cell 'none'");
        check(&bed, &bed.direct(&rotate.replace(&new, "mysql://x")), 2, "URL");
        check(&bed, &bed.direct(&rotate.replace(&new, &elsewhere)), 1, "that of cell two");
        let third = bed.database("third");
        bed.migrate(&third).await;
        check(&bed, &bed.direct(&rotate.replace(&new, &third)), 1, "another database");
        let pending = bed.direct(&format!("{} --pending", rotate.replace(&new, &third)));
        check(&bed, &pending, 2, "names another server, port or name");
        let broker = bed.broker();
        check(&bed, &bed.direct(&format!("{rotate} --transport-url {broker}")), 1, "another vhost");
        check(&bed, &bed.direct(&format!("{rotate} --dry-run")), 0, "nothing was changed");
        assert_eq!((bed.mapping("one").await.version, bed.number(STEPS).await), (1, 0));

        let done = bed.direct(&rotate);
        check(&bed, &done, 0, "[1/3]");
        assert!(done.err.contains("[2/3]") && done.err.contains("[3/3]"), "{}", done.err);
        let mapped = bed.mapping("one").await;
        assert_eq!((&mapped.database_url, mapped.second_database_url.as_str()), (&new, ""));
        assert_eq!((mapped.version, bed.number(STEPS).await), (4, 3));
        check(&bed, &bed.direct(&rotate), 0, "");
        assert_eq!((bed.mapping("one").await.version, bed.number(STEPS).await), (4, 3), "it was done");
        check(&bed, &bed.direct("cell show one"), 0, "up");
    }
}

#[tokio::test]
async fn a_second_slot_is_used_where_the_first_is_refused() {
    for mut bed in beds().await {
        let one = bed.cell("one").await;
        let unknown = unique("unknown").replace('-', "_");
        let wrong = other(&bed, &one, &unknown);
        check(&bed, &bed.direct(&format!("cell set one --second-database-url {wrong}")), 0, "");
        let shown: Value = serde_json::from_str(&bed.direct("cell show one -o json").out).expect("JSON");
        assert!(shown["second_database_url"].as_str().is_some_and(|url| !url.is_empty()), "{shown}");
        let secret = bed.direct("cell show one --show-secrets");
        check(&bed, &secret, 0, &wrong);
        // It belongs to what the first leads to, and to this cell.
        check(&bed, &bed.direct(&format!("cell set one --database-url {one}x")), 1, "second database URL");
        let update = format!("cell_v2 update_cell --cell_uuid one --database_connection {one}x");
        check(&bed, &bed.manage(&update), 2, "second database URL");
        let twin =
            format!("cell create --no-prepare --name twin --region r --transport-url {}", bed.broker());
        check(&bed, &bed.direct(&format!("{twin} --database-url {wrong}")), 1, "that of cell one");
        let others = other(&bed, &one, "somebody").replace("mode=rwc", "mode=rw");
        check(&bed, &bed.direct(&format!("cell rotate one --database-url {others}")), 1, "to others: finish");
        // The wrong one is first now: everything goes by the second.
        let swap = format!("cell set one --database-url {wrong} --second-database-url {one}");
        check(&bed, &bed.direct(&swap), 0, "");
        check(&bed, &bed.direct("cell show one"), 0, "up");
        let tested = bed.direct("cell test one");
        assert!(tested.out.contains("schema       ok"), "{}{}", tested.out, tested.err);
        check(&bed, &bed.direct(&format!("cell set one --database-url {one} --second-database-url=")), 0, "");
        assert_eq!(bed.mapping("one").await.second_database_url, "");

        // A user whom the server does not know yet.
        if bed.engine == "sqlite" {
            continue;
        }
        let rotate = format!("cell rotate one --database-url {wrong}");
        check(&bed, &bed.direct(&rotate), 1, "--pending");
        let waits = bed.direct(&format!("{rotate} --pending --timeout 1"));
        check(&bed, &waits, 4, "to be changed at the servers now");
        assert_eq!(bed.mapping("one").await.second_database_url, wrong);
        check(&bed, &bed.direct("cell show one"), 0, "up");
        bed.query(&format!("CREATE ROLE {unknown} LOGIN SUPERUSER"));
        check(&bed, &bed.direct(&format!("{rotate} --pending")), 0, "[3/3]");
        check(&bed, &bed.direct("cell show one"), 0, "up");
    }
}

#[tokio::test]
async fn both_slots_are_sealed_and_their_keys_rotate() {
    for mut bed in beds().await {
        let file = bed.folder.join("keys");
        std::fs::write(&file, K1).expect("is written");
        bed.write_config(&format!("[router]\nkeys_file = '{}'\n", file.display()));
        let one = bed.cell("one").await;
        let new = other(&bed, &one, &user(&bed));
        check(&bed, &bed.direct(&format!("cell set one --second-database-url {new}")), 0, "");
        let key = |stored: &str| router::sealed_with(stored).map(str::to_owned);
        let sealed = bed.mapping("one").await;
        assert_eq!(key(&sealed.second_database_url).as_deref(), Some("k1"));
        // What is sealed opens in its own slot only.
        let moved = "UPDATE cell_mapping SET database_url = $1 WHERE name = 'one'";
        bed.above(moved, sql::args![sealed.second_database_url.as_str()]).await;
        check(&bed, &bed.direct("cell list"), 0, "one");
        check(&bed, &bed.direct("cell show one --show-secrets"), 0, "does not open it");
        bed.above(moved, sql::args![sealed.database_url.as_str()]).await;

        std::fs::write(&file, format!("{K2}\n{K1}")).expect("is written");
        check(&bed, &bed.direct("doctor"), 1, "K001");
        check(&bed, &bed.direct("cell rotate-keys"), 0, "yes");
        let sealed = bed.mapping("one").await;
        for stored in [&sealed.database_url, &sealed.second_database_url, &sealed.transport_url] {
            assert_eq!(key(stored).as_deref(), Some("k2"));
        }
        std::fs::write(&file, K2).expect("is written");
        check(&bed, &bed.direct(&format!("cell rotate one --database-url {new}")), 0, "[3/3]");
        let sealed = bed.mapping("one").await;
        assert_eq!(
            (key(&sealed.database_url).as_deref(), sealed.second_database_url.as_str()),
            (Some("k2"), "")
        );
        check(&bed, &bed.direct("cell show one --show-secrets"), 0, &new);
    }
}
