//! Secrets of mappings: sealed in the API database under keys that rotate, and made of templates.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{Client, Process, eventually, free_port, skep};

use crate::bed::{Bed, CANARY, Ended, beds};

const K1: &str = "k1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const K2: &str = "k2 HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ROTATIONS: &str = "SELECT COUNT(*) FROM audit WHERE action = 'cell.rotate-keys'";

/// What must end so; what is sealed is never shown.
fn check(bed: &Bed, ended: &Ended, code: i32, says: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{}: {said}", bed.engine);
    assert!(said.contains(says), "{}: wanted '{says}': {said}", bed.engine);
    assert!(!said.contains("sealed:1:"), "{}: {said}", bed.engine);
}

/// Writes the file of keys, and gives the section that names it.
fn keys(bed: &Bed, text: &str) -> String {
    let file = bed.folder.join("keys");
    std::fs::write(&file, text).expect("is written");
    format!("[router]\nkeys_file = '{}'\n", file.display())
}

/// The keys that a mapping's two URLs are sealed with.
async fn sealed_with(bed: &Bed, name: &str) -> [Option<String>; 2] {
    let cell = bed.mapping(name).await;
    [cell.database_url, cell.transport_url].map(|stored| {
        let key = router::sealed_with(&stored).map(str::to_owned);
        assert!(key.is_none() || !stored.contains(CANARY), "{stored}");
        key
    })
}

fn both(key: &str) -> [Option<String>; 2] {
    [Some(key.to_owned()), Some(key.to_owned())]
}

#[tokio::test]
async fn urls_are_sealed_and_their_keys_rotate() {
    for mut bed in beds().await {
        let old = bed.cell("old").await;
        check(&bed, &bed.direct("cell rotate-keys"), 1, "set router.keys_file");
        assert_eq!(bed.mapping("old").await.database_url, old, "without keys it is kept as it was written");
        let section = keys(&bed, K1);
        bed.write_config(&section);
        let new = bed.cell("new").await;
        assert_eq!(
            (sealed_with(&bed, "old").await, sealed_with(&bed, "new").await),
            ([None, None], both("k1"))
        );
        check(&bed, &bed.direct("cell list -o wide"), 0, "amqp://u:****@127.0.0.1:9/");
        check(&bed, &bed.direct("cell show new --show-secrets"), 0, CANARY);
        check(&bed, &bed.manage("cell_v2 list_cells --verbose"), 0, &new);
        let twin =
            format!("cell_v2 create_cell --name twin --transport-url {} --database_connection", bed.broker());
        check(&bed, &bed.manage(&format!("{twin} {new}")), 2, "that of cell new");
        let again = bed.mapping("new").await;
        check(&bed, &bed.direct(&format!("cell set new --database-url {new}")), 0, "");
        assert_eq!(bed.mapping("new").await, again, "nothing changed");

        // What was there before the keys is found and sealed; nothing is done twice.
        check(&bed, &bed.direct("doctor"), 1, "K001");
        check(&bed, &bed.manage("api_db rotate_keys --dry-run"), 0, "cell old: would be sealed");
        assert_eq!(sealed_with(&bed, "old").await, [None, None]);
        for _ in 0..2 {
            check(&bed, &bed.manage("api_db rotate_keys"), 0, "cell new: sealed with the first key already");
            assert_eq!((sealed_with(&bed, "old").await, bed.number(ROTATIONS).await), (both("k1"), 1));
        }

        // Another key first: everything is sealed anew and leads where it led.
        keys(&bed, &format!("{K2}\n{K1}\n"));
        check(&bed, &bed.direct("cell list -o wide"), 0, "up");
        let version = bed.mapping("new").await.version;
        check(&bed, &bed.direct("cell rotate-keys"), 0, "yes");
        assert_eq!(
            (sealed_with(&bed, "old").await, sealed_with(&bed, "new").await),
            (both("k2"), both("k2"))
        );
        assert_eq!((bed.mapping("new").await.version, bed.number(ROTATIONS).await), (version + 1, 3));
        keys(&bed, K2);
        check(&bed, &bed.direct("cell list -o wide"), 0, "up");
        check(&bed, &bed.direct("cell show old --show-secrets"), 0, &old);

        wrong_keys(&mut bed, &old).await;
    }
}

/// With wrong keys or none a cell cannot be opened: it is told of, and the others are none the worse for it.
async fn wrong_keys(bed: &mut Bed, old: &str) {
    let section = keys(bed, K1);
    let mine = bed.cell("mine").await;
    let listed = bed.direct("cell list -o wide");
    check(bed, &listed, 3, "cell old: ");
    check(bed, &listed, 3, "sealed with key 'k2', which");
    let up = |name: &str| listed.out.lines().any(|line| line.starts_with(name) && line.contains(" up "));
    assert!(up("mine") && !up("old") && !up("new"), "{}", listed.out);
    check(bed, &bed.direct("cell show mine"), 0, &mine.replace(CANARY, "****"));
    check(bed, &bed.direct("cell show new --show-secrets"), 3, "does not hold");
    check(bed, &bed.direct("cell test new"), 1, "sealed with key 'k2'");
    check(bed, &bed.manage("api_db rotate_keys"), 1, "cell new: its database URL is sealed with key 'k2'");
    check(bed, &bed.direct("cell rotate-keys"), 3, "cell old: its database URL is sealed with key 'k2'");
    check(bed, &bed.direct("doctor"), 2, "C001");

    // Another key of that id, and a value that was moved to another row.
    keys(bed, &format!("{K1}\n{}\n", K1.replacen("k1", "k2", 1)));
    check(bed, &bed.direct("cell show new"), 3, "does not open it");
    keys(bed, &format!("{K2}\n{K1}\n"));
    let stolen = bed.mapping("old").await.database_url;
    let moved = "UPDATE cell_mapping SET database_url = $1 WHERE name = 'mine'";
    assert_eq!(bed.above(moved, sql::args![stolen.as_str()]).await, 1);
    check(bed, &bed.direct("cell show mine"), 3, "does not open it");
    check(bed, &bed.direct("cell show old"), 0, "up");
    // A new URL mends it.
    check(bed, &bed.direct(&format!("cell set mine --database-url {mine}")), 0, "");
    check(bed, &bed.direct("cell show mine"), 0, "up");

    std::fs::remove_file(bed.folder.join("keys")).expect("is removed");
    check(bed, &bed.direct("cell show old"), 3, "cannot read the key file");
    check(bed, &bed.direct("cell set old --name older"), 0, "");
    let broker = bed.broker();
    let create =
        format!("cell_v2 create_cell --name x --transport-url {broker} --database_connection sqlite:/x/y");
    check(bed, &bed.manage(&create), 255, "cannot read the key file");
    bed.write_config("");
    check(bed, &bed.direct("cell show older"), 3, "there are no keys here");
    check(bed, &bed.manage("db sync"), 1, "Could not access cell0");
    bed.write_config(&section);
    keys(bed, &format!("{K2}\n{K1}\n"));
    check(bed, &bed.direct("cell show older --show-secrets"), 0, old);
}

#[tokio::test]
async fn novas_words_are_parts_of_the_base_url() {
    for mut bed in beds().await {
        let url = bed.database("one");
        bed.migrate(&url).await;
        let base = |url: &str, broker: &str| {
            format!("[router]\nbase_database_url = '{url}'\nbase_transport_url = '{broker}'\n")
        };
        let broker = bed.broker();
        bed.write_config(&base(&url, &broker));
        let template = match bed.engine {
            "sqlite" => "{scheme}:/{path}",
            _ => "{scheme}://{username}:{password}@{hostname}:{port}/{path}",
        };
        let transport = "amqp://{username}:{password}@{hostname}:{port}/{path}";
        let create = |name: &str, database: &str| {
            let line = "cell_v2 create_cell --transport-url";
            bed.manage(&format!("{line} {transport} --name {name} --database_connection {database}"))
        };
        check(&bed, &create("one", template), 0, "");
        assert_eq!(bed.mapping("one").await.database_url, template, "it is stored as it was written");
        check(&bed, &bed.direct("cell show one"), 0, "up");
        check(&bed, &create("two", &url), 2, "that of cell one");
        check(&bed, &create("two", "sqlite:/x/{usrname}"), 1, "'{usrname}' is no word of a template");
        check(&bed, &create("two", "postgres://{fragment}{hostname7}/x"), 1, "has no hostname7");

        // Where it cannot be filled in nothing is tried with the text as it stands.
        bed.write_config(&base("none:", "none:"));
        let wanted = if bed.engine == "sqlite" { "cell one: " } else { "the base URL here has no username" };
        check(&bed, &bed.direct("cell list -o wide"), 3, wanted);
        // Without a base of its own the API database is the base, which holds no cell.
        bed.write_config("");
        check(&bed, &bed.direct("cell show one"), 3, "cell one: ");
    }
}

#[tokio::test]
async fn a_process_that_runs_follows_its_keys() {
    for mut bed in beds().await {
        let one = bed.database("one");
        bed.migrate(&one).await;
        let section = keys(&bed, K1);
        let (port, health) = (free_port(), free_port());
        bed.write_config(&format!(
            "[log]\nlevel = 'debug'\n[health]\nlisten = '127.0.0.1:{health}'\n[api]\nlisten = '127.0.0.1:{port}'\n\
             [[api.tokens]]\ntoken = 'token-of-admin-1234'\nuser = 'admin'\nproject = 'p'\nroles = ['admin']\n\
             {section}"
        ));
        let mut command = Command::new(skep());
        command.args(["api", "--config", &bed.config()]).env_clear();
        let api = Process::spawn("api", bed.folder.path(), command);
        let client = Client::new(format!("http://127.0.0.1:{health}")).deadline(Duration::from_secs(2));
        eventually(Duration::from_secs(60), "the API is ready", async || match client.get("/readyz").await {
            Ok(reply) if reply.status.is_success() => Ok(()),
            Ok(reply) => Err(reply.body.to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        let token = bed.folder.join("token");
        std::fs::write(&token, "token-of-admin-1234").expect("is written");
        let run = |line: &str| {
            let mut command = Command::new("timeout");
            command.arg("60").arg(skep()).args(line.split_whitespace());
            command.args(["--endpoint", &format!("http://127.0.0.1:{port}"), "--token-file"]).arg(&token);
            bed.finish(command, line)
        };
        let create =
            format!("cell create --no-prepare --name one --region r --transport-url {}", bed.broker());
        check(&bed, &run(&format!("{create} --database-url {one}")), 0, "");
        assert_eq!(sealed_with(&bed, "one").await, both("k1"));
        let works = async |version: i64| {
            eventually(Duration::from_secs(60), "the process works with it", async || {
                let ended = run("cell show one -o json");
                let shown: Value = serde_json::from_str(&ended.out).unwrap_or_default();
                match (&shown["up"], &shown["processes"][0]["has"]) {
                    (up, has) if *up == true && *has == version => Ok(()),
                    _ => Err(format!("{ended:?}")),
                }
            })
            .await;
        };
        works(1).await;
        keys(&bed, &format!("{K2}\n{K1}\n"));
        check(&bed, &run("cell rotate-keys --dry-run -o name"), 0, "one");
        check(&bed, &run("cell rotate-keys"), 0, "yes");
        check(&bed, &run("cell rotate-keys"), 0, "no");
        assert_eq!((sealed_with(&bed, "one").await, bed.number(ROTATIONS).await), (both("k2"), 1));
        works(2).await;
        // A cell that is open stays so while its keys are gone; one that is not is told of.
        keys(&bed, K1);
        let create = create.replace("name one", "name two");
        check(&bed, &run(&format!("{create}x --database-url sqlite:/nowhere/x.db")), 0, "");
        check(&bed, &run("cell show one"), 0, "does not hold");
        let log = api.log();
        assert_eq!(log.matches("cell mapping left").count(), 0, "its connections were kept:\n{log}");
        assert!(log.contains("cell mapping opened") && !log.contains(CANARY), "{log}");
        assert!(!log.contains("sealed:1:"), "{log}");
    }
}
