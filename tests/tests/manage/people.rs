//! `skep cell` and `skep host`: straight on the databases, and by the API.

use std::process::Command;
use std::time::Duration;

use model::CellState;
use serde_json::Value;
use tests::{Client, Process, eventually, free_port, skep};

use crate::bed::{Bed, CANARY, Ended, beds};

fn code(ended: &Ended, code: i32, says: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{said}");
    assert!(said.contains(says), "wanted '{says}': {said}");
}

/// What every way must do the same; `run` runs a line.
async fn story(bed: &Bed, run: &dyn Fn(&str) -> Ended, one: &str, two: &str) {
    let (broker, other) = (bed.broker(), bed.broker());
    let create = format!("cell create --name one --region r --database-url {one} --transport-url {broker}");
    code(&run(&format!("{create} --dry-run")), 0, "");
    code(&run("cell show one"), 1, "no cell 'one'");
    code(&run(&create), 1, "its broker does not answer");
    let create = format!("{create} --no-prepare");
    let made = run(&create);
    code(&made, 0, "");
    let id = bed.mapping("one").await.id.to_string();
    assert_eq!(made.out.trim(), id);
    code(&run(&create), 1, "already");
    assert_eq!(run(&format!("{create} --if-not-exists")).out.trim(), id);
    code(&run(&create.replace("name one", "name two")), 1, "that of cell one");
    code(&run(&create.replace("name one", "name a/b")), 2, "letters");
    code(&run(&create.replace(one, "mysql://x")), 2, "URL");

    // A template is stored as it is, and filled in by whoever opens the cell.
    let secret = bed.folder.join("secret");
    std::fs::write(&secret, format!("{two}\n")).expect("is written");
    let template = format!("{{file:{}}}", secret.display());
    let create =
        format!("cell create --name two --region r --database-url {template} --transport-url {other}");
    code(&run(&format!("{create} --no-prepare --state active")), 0, "");
    assert_eq!(bed.mapping("two").await.database_url, template);
    code(&run("cell set two --database-url {env:SKEP_NOT_SET_HERE}"), 2, "SKEP_NOT_SET_HERE");

    let listed = run("cell list");
    code(&listed, 0, "NAME");
    assert!(listed.out.contains("one    r        new"), "{}", listed.out);
    assert_eq!(run("cell list -o name").out, "one\ntwo\n");
    let json: Value = serde_json::from_str(&run("cell list -o json --ask").out).expect("JSON");
    assert_eq!((&json[1]["name"], &json[1]["up"]), (&"two".into(), &true.into()));
    let wide = run("cell list -o wide");
    code(&wide, 0, "amqp://u:****@127.0.0.1:9/");
    code(&run("cell show one -o yaml"), 0, "\"state\": \"new\"");
    code(&run("cell show one --show-secrets"), 0, CANARY);

    let tested = run("cell test one");
    code(&tested, 1, "FAILED");
    assert!(tested.out.contains("schema       ok"), "{}", tested.out);
    code(&run("cell activate one"), 1, "is not ready: broker");
    code(&run("cell uncordon one"), 1, "not cordoned");
    code(&run("cell activate one --force --dry-run"), 0, "");
    assert_eq!(bed.mapping("one").await.state, CellState::New);
    code(&run("cell activate one --force"), 0, "");
    code(&run("cell cordon one -o json"), 0, "\"state\": \"cordoned\"");
    code(&run("cell uncordon one"), 0, "");
    assert_eq!(bed.mapping("one").await.state, CellState::Active);
    code(&run("cell set one"), 2, "--name");
    code(&run(&format!("cell set {id} --name uno --dry-run")), 0, "");
    code(&run("cell set one --name uno -o name"), 0, "uno\n");
    code(&run("cell set uno --name one"), 0, "");

    tasks(bed, run).await;
    life(bed, run).await;
    hosts(bed, run, one, two).await;

    code(&run("cell delete one"), 1, "hosts are mapped");
    code(&run("cell delete one --force"), 2, "--yes");
    let would = run("cell delete one --force --dry-run");
    code(&would, 0, "would delete the mapping of cell one, 1 mapped hosts");
    code(&run("cell delete one --force --yes"), 0, "");
    code(&run("cell show one"), 1, "no cell 'one'");

    // Its database goes away: it can be shown, cordoned and deleted.
    std::fs::write(&secret, format!("postgres://u:{CANARY}@127.0.0.1:1/x")).expect("is written");
    eventually(Duration::from_secs(60), "the new secret is in use", async || {
        let ended = run("cell show two");
        match ended.code {
            3 => Ok(()),
            _ => Err(format!("{ended:?}")),
        }
    })
    .await;
    code(&run("cell list -o wide"), 3, "DOWN");
    code(&run("host list"), 3, "cell two");
    code(&run("host show h1"), 3, "does not answer");
    code(&run("host disable h1 --reason x"), 1, "cell two");
    code(&run("host delete h1 --yes"), 1, "--force");
    code(&run("host delete h1 --yes --force"), 0, "");
    code(&run("cell cordon two"), 0, "");
    code(&run("cell delete two --yes"), 1, "--force");
    code(&run("cell delete two --yes --force"), 0, "");
    assert_eq!(run("cell list -o name").out, "");
}

/// A task of the API level, which is looked at and tried again.
async fn tasks(bed: &Bed, run: &dyn Fn(&str) -> Ended) {
    const TASK: &str = "INSERT INTO task (id, kind, subject, state, bucket, attempt, run_at, deadline, parked,
        last_fault, request_id, created_at) VALUES ($1, 'build/9', $2, $3, 1, 0, 0, 0, true, 'odd', 'req-1', 5)";
    const STATES: &str = "SELECT COUNT(*) FROM task WHERE NOT parked AND run_at > 0";
    let (id, subject) = (bed.env.uuid(), bed.env.uuid());
    bed.above(TASK, sql::args![id, subject, serde_json::json!({})]).await;
    code(&run("task show nonsense"), 2, "no task's id");
    code(&run(&format!("task show {subject}")), 1, "there is no task");
    code(&run(&format!("task show {id}")), 0, "odd");
    code(&run(&format!("task retry {subject}")), 1, "there is no task");
    code(&run(&format!("task retry {id} --dry-run")), 0, "");
    assert_eq!(bed.number(STATES).await, 0);
    code(&run(&format!("task retry {id}")), 0, "");
    assert_eq!(bed.number(STATES).await, 1);
    assert_eq!(bed.number("SELECT COUNT(*) FROM audit WHERE action = 'task.retry'").await, 1);
    bed.above("UPDATE task SET owner = $1", sql::args![bed.env.uuid()]).await;
    code(&run(&format!("task retry {id}")), 1, "is being worked on");
    bed.above("DELETE FROM task", vec![]).await;
    bed.above("DELETE FROM audit WHERE action = 'task.retry'", vec![]).await;
}

/// Every move of the cell `one`, which is active before and after.
async fn life(bed: &Bed, run: &dyn Fn(&str) -> Ended) {
    code(&run("cell testing one --project p"), 1, "cannot become testing");
    code(&run("cell retire one"), 1, "may become cordoned or draining");
    code(&run("cell cordon one"), 0, "");
    code(&run("cell testing one"), 2, "--project");
    code(&run("cell testing one --project p --project q"), 0, "");
    code(&run("cell show one -o json"), 0, "\"q\"");
    code(&run("cell drain one --dry-run"), 0, "");
    assert_eq!(bed.mapping("one").await.state, CellState::Testing);
    code(&run("cell drain one -o json"), 0, "\"drained\"");
    code(&run("cell drain one"), 0, "");
    code(&run("cell retire one --dry-run"), 0, "");
    code(&run("cell activate one --force"), 1, "may become cordoned or retired");
    code(&run("cell cordon one"), 0, "");
    code(&run("cell uncordon one"), 0, "");
    assert_eq!(bed.mapping("one").await.state, CellState::Active);
}

async fn hosts(bed: &Bed, run: &dyn Fn(&str) -> Ended, one: &str, two: &str) {
    bed.host(one, "h1", false).await;
    let h1 = bed.host(two, "h1", true).await;
    let idle = bed.host(one, "h2", true).await;
    let listed = run("host list");
    code(&listed, 0, "NAME");
    assert_eq!(listed.out.lines().count(), 1 + 3);
    code(&run("host discover"), 0, "h1 of cell two is mapped");
    assert_eq!(run("host discover").out, "");
    code(&run("host show h1"), 1, "name one by its id");
    code(&run("host show h1 --cell two"), 0, &h1.to_string());
    code(&run("host show h2 --cell two"), 1, "is in cell one");
    code(&run("host disable h1 --cell one"), 2, "--reason");
    code(&run("host disable h1 --cell one --reason disk --dry-run"), 0, "");
    assert!(!run("host list").out.contains("no (disk)"));
    code(&run("host disable h1 --cell one --reason disk"), 0, "");
    code(&run("host list --cell one -o wide"), 0, "no (disk)");
    let json: Value = serde_json::from_str(&run("host show h1 --cell one -o json").out).expect("JSON");
    assert_eq!((&json["enabled"], &json["disabled_reason"]), (&false.into(), &"disk".into()));
    code(&run("cell list -o wide"), 0, "0/2");
    code(&run("host enable h1 --cell one"), 0, "");
    code(&run("cell list -o wide"), 0, "1/2");
    code(&run("host maintenance h1 --cell one"), 2, "--reason");
    code(&run("host maintenance h1 --cell one --reason kernel --off"), 2, "--off");
    code(&run("host maintenance h1 --cell one --reason kernel --dry-run"), 0, "");
    code(&run("cell list -o wide"), 0, "1/2");
    code(&run("host maintenance h1 --cell one --reason kernel"), 0, "its 0 instances stay there");
    code(&run("host list --cell one"), 0, "maintenance: kernel");
    code(&run("cell list -o wide"), 0, "0/2");
    let json: Value = serde_json::from_str(&run("host show h1 --cell one -o json").out).expect("JSON");
    assert_eq!((&json["enabled"], &json["maintenance"]), (&false.into(), &true.into()));
    code(&run("host maintenance h1 --cell one --off"), 0, "");
    code(&run("host maintenance h1 --cell one --off"), 0, "");
    code(&run("host disable h1 --cell one --reason disk"), 0, "");
    code(&run("host maintenance h1 --cell one --off"), 1, "not in maintenance but disabled (disk)");
    code(&run("host enable h1 --cell one"), 0, "");
    assert_eq!(
        bed.number("SELECT COUNT(*) FROM audit WHERE action IN ('host.maintenance', 'host.maintenance-end')")
            .await,
        2
    );
    code(&run("host delete h1 --cell one --yes"), 1, "is alive");
    code(&run("host delete h2"), 2, "--yes");
    code(&run("host delete h2 --yes"), 0, "");
    code(&run(&format!("host show {idle}")), 1, "no host");
    let audited = "SELECT COUNT(*) FROM audit WHERE action IN ('host.disable', 'host.enable', 'host.delete')";
    assert_eq!(bed.number(audited).await, 5);
}

#[tokio::test]
async fn people_work_straight_on_the_databases() {
    for mut bed in beds().await {
        let (one, two) = (bed.database("one"), bed.database("two"));
        bed.migrate(&one).await;
        bed.migrate(&two).await;
        story(&bed, &|line| bed.direct(line), &one, &two).await;
    }
}

#[tokio::test]
async fn people_work_by_the_api() {
    for mut bed in beds().await {
        let (one, two) = (bed.database("one"), bed.database("two"));
        bed.migrate(&one).await;
        bed.migrate(&two).await;
        let (port, health) = (free_port(), free_port());
        let token = |role: &str| {
            format!(
                "[[api.tokens]]\ntoken = 'token-of-{role}-1234'\nuser = '{role}'\nproject = 'p'\nroles = ['{role}']\n"
            )
        };
        bed.write_config(&format!(
            "[log]\nlevel = 'debug'\n[health]\nlisten = '127.0.0.1:{health}'\n[api]\nlisten = '127.0.0.1:{port}'\n{}{}",
            token("admin"),
            token("member")
        ));
        let mut command = Command::new(skep());
        command.args(["api", "--config", &bed.config()]).env_clear();
        let api = Process::spawn("api", bed.folder.path(), command);
        let client = Client::new(format!("http://127.0.0.1:{health}")).deadline(Duration::from_secs(2));
        eventually(Duration::from_secs(30), "the API is ready", async || match client.get("/readyz").await {
            Ok(reply) if reply.status.is_success() => Ok(()),
            Ok(reply) => Err(reply.body.to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        let by = |role: &str, line: &str| {
            let file = bed.folder.join(role);
            std::fs::write(&file, format!("token-of-{role}-1234")).expect("is written");
            let mut command = Command::new("timeout");
            command.arg("60").arg(skep()).args(line.split_whitespace());
            command.args(["--endpoint", &format!("http://127.0.0.1:{port}"), "--token-file"]).arg(file);
            bed.finish(command, line)
        };
        code(&by("member", "cell list"), 1, "Policy doesn't allow");
        code(&by("member", "cell show one --show-secrets"), 1, "Policy doesn't allow");
        let (run, broker) = (|line: &str| by("admin", line), bed.broker());
        code(
            &run(&format!(
                "cell create --no-prepare --name ack --region r --database-url {one} --transport-url {broker}"
            )),
            0,
            "",
        );
        code(&run("cell set ack --name told"), 0, "all 1 processes of the API level work with it");
        let shown: Value = serde_json::from_str(&run("cell show told -o json").out).expect("JSON");
        let process = &shown["processes"][0];
        assert_eq!((&process["kind"], &process["has"]), (&"api".into(), &2.into()), "{shown}");
        code(&run("cell delete told --yes"), 0, "");
        story(&bed, &run, &one, &two).await;
        let log = api.log();
        assert!(log.contains("cell mapping"), "{log}");
        assert!(!log.contains(CANARY), "the log shows a secret:\n{log}");
    }
}
