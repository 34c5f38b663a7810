//! Roles as processes: configuration, databases, health, log level, drain.

mod dev;
mod edge;
mod process;

use std::process::Output;

use process::{Dir, Process, free, get, skep, until};

fn code(output: &Output) -> i32 {
    output.status.code().expect("was not killed")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn databases_are_made_and_cells_are_mapped_once() {
    let dir = Dir::new();
    let at = dir.0.display();
    let config = dir.file(
        "api.toml",
        &format!(
            "[api_database]\nurl = 'sqlite:{at}/api.db'\n[cell0.database]\nurl = 'sqlite:{at}/cell0.db'\n"
        ),
    );
    let early = skep(&format!("cell list --config {config}"));
    assert_eq!(code(&early), 1);
    assert!(err(&early).contains("skep db sync"), "{}", err(&early));
    for _ in 0..2 {
        let synced = skep(&format!("db sync --config {config}"));
        assert_eq!((code(&synced), err(&synced)), (0, String::new()));
        assert!(out(&synced).contains("api_database: version "), "{}", out(&synced));
    }
    let create = |more: &str| {
        let secret = dir.file("pw", "hunter2\n");
        skep(&format!(
            "cell create --config {config} --name cell1 --region north --database-url sqlite:{at}/cell1.db \
             --transport-url amqp://skep:{{file:{secret}}}@localhost:5672/cell1 --no-prepare {more}"
        ))
    };
    let made = create("");
    assert_eq!((code(&made), err(&made)), (0, String::new()));
    assert_eq!(code(&create("")), 1, "the name is taken");
    let again = create("--if-not-exists");
    assert_eq!((code(&again), out(&again)), (0, out(&made)));
    let listed = out(&skep(&format!("cell list --config {config}")));
    assert!(listed.contains("cell0") && listed.contains("cell1   north    new"), "{listed}");
    assert!(!listed.contains("hunter2"));
    let bad = skep(&format!(
        "cell create --config {config} --name cell2 --region north --database-url mysql://x --transport-url local:x"
    ));
    assert_eq!(code(&bad), 2);
}

#[test]
fn a_configuration_is_checked_and_dumped_without_secrets() {
    let dir = Dir::new();
    let config = dir.file("c.toml", "[cell.database]\nurl = 'postgres://u:hunter2@h/d'\n");
    let dump = skep(&format!("conductor --config {config} --dump-config"));
    assert_eq!(code(&dump), 0);
    assert!(out(&dump).contains("url = \"****\"") && !out(&dump).contains("hunter2"), "{}", out(&dump));
    let missing = skep(&format!("conductor --config {config}"));
    assert_eq!(code(&missing), 2);
    assert!(err(&missing).contains("SKEP__CELL__TRANSPORT__URL"), "{}", err(&missing));
    let config = dir.file("bad.toml", "[cell]\nnmae = 'x'\n");
    let bad = skep(&format!("agent --config {config}"));
    assert_eq!(code(&bad), 2);
    assert!(err(&bad).contains("bad.toml:2:1: unknown field `nmae`"), "{}", err(&bad));
}

#[test]
fn a_conductor_starts_without_its_broker_tells_so_and_drains() {
    let dir = Dir::new();
    let (at, health, nobody) = (dir.0.display(), free(), free());
    let text = |level: &str| {
        format!(
            "[log]\nlevel = '{level}'\n[health]\nlisten = '{health}'\n[cell]\nname = 'cell1'\n\
             database.url = 'sqlite:{at}/cell1.db'\ntransport.url = 'amqp://u:p@{nobody}/v'\n"
        )
    };
    let config = dir.file("cell.toml", &text("info"));
    let mut conductor =
        Process::start(&format!("conductor --config {config}"), &dir.0.join("out"), &dir.0.join("log"));
    until("it waits for its database's schema or has ended", || dir.read("log").contains("skep db sync"));
    assert_eq!(conductor.code(), 1, "an empty database is refused");

    assert_eq!(code(&skep(&format!("db sync --config {config}"))), 0);
    let mut conductor =
        Process::start(&format!("conductor --config {config}"), &dir.0.join("out"), &dir.0.join("log"));
    until("it is alive", || get(health, "/healthz").0 == 200);
    until("it is started", || get(health, "/readyz").1.contains("cell.transport"));
    assert_eq!(get(health, "/readyz").0, 503);
    assert_eq!(get(health, "/metrics").0, 200);
    assert_eq!(get(health, "/else").0, 404);

    dir.file("cell.toml", &text("debug"));
    until("the level has changed with the file", || dir.read("log").contains("log level changed"));
    dir.file("cell.toml", "[log]\nlevel = 3\n");
    until("a bad file is complained of", || dir.read("log").contains("the old level stays"));
    conductor.signal("HUP");
    let complaints = || dir.read("log").matches("the old level stays").count();
    until("SIGHUP reads it again", || complaints() >= 2);
    conductor.signal("TERM");
    assert_eq!(conductor.code(), 0);
}

#[test]
fn an_agent_starts_without_its_cell_and_drains() {
    let dir = Dir::new();
    let (at, health, nobody) = (dir.0.display(), free(), free());
    let config = dir.file(
        "agent.toml",
        &format!(
            "[log]\nformat = 'json'\n[health]\nlisten = '{health}'\n[cell]\nname = 'cell1'\n\
             transport.url = 'amqp://u:p@{nobody}/v'\n[agent]\nengine = 'scripted'\nstate_dir = '{at}/state'\n\
             capacity = {{ vcpus = 4, memory_mib = 4096, instances = 10 }}\n"
        ),
    );
    let mut agent =
        Process::start(&format!("agent --config {config}"), &dir.0.join("out"), &dir.0.join("log"));
    until("its engine works", || get(health, "/readyz").1.contains("not registered"));
    let log = dir.read("log");
    let lines: Vec<serde_json::Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["message"] == "starting" && line["role"] == "agent"), "{log}");
    agent.signal("TERM");
    assert_eq!(agent.code(), 0);
    assert!(!dir.read("state/host-id").is_empty());
}
