//! A development cloud from start to end, with the scripted engine.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

use crate::process::{Dir, Process, free, get, skep, until};
use crate::{code, err, out};

/// A command against the cloud in `dir`.
fn at(dir: &Dir, line: &str) -> Output {
    // Before the options of the command's own, as some commands take all that follows.
    let file = dir.0.join("cloud/skep.env");
    let (verb, _) = line.split_once(' ').unwrap_or((line, ""));
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let file = file.display().to_string();
    words.splice(0..0, ["--env-file", file.as_str()]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.arg(verb).args(words).env_remove("SKEP_ENDPOINT").env_remove("SKEP_TOKEN").output().expect("runs")
}

fn start(dir: &Dir, more: &str) -> Process {
    let cloud = dir.0.join("cloud");
    let line = format!("dev --dir {} --listen 127.0.0.1:0 --engine scripted {more}", cloud.display());
    let _ = std::fs::remove_file(dir.0.join("out"));
    let process = Process::start(&line, &dir.0.join("out"), &dir.0.join("log"));
    until("it is ready", || dir.read("out").contains("\nready in "));
    process
}

#[test]
fn a_cloud_runs_goes_partly_dark_and_is_removed() {
    let dir = Dir::new();
    let health = free();
    let mut cloud = start(&dir, &format!("--health {health}"));
    assert!(dir.read("out").contains("NO CONTAINER WILL RUN"), "{}", dir.read("out"));
    assert_eq!(get(health, "/readyz"), (200, "ready\n".to_owned()), "ready means ready");
    assert!(dir.read("cloud/clouds.yaml").contains("auth_type: admin_token"));

    let made = at(&dir, "run --name web -p 80 --count 9 --wait --timeout 20 skep/web:1");
    assert_eq!((code(&made), err(&made)), (0, String::new()));
    assert_eq!(out(&made).lines().count(), 9);
    let list = |line: &str| -> Vec<Value> { serde_json::from_str(&out(&at(&dir, line))).expect("JSON") };
    let all = list("ps -o json");
    assert!(all.len() == 9 && all.iter().all(|server| server["status"] == "ACTIVE"), "{all:?}");
    let one = at(&dir, "show web-1");
    assert!(out(&one).contains("->80/tcp"), "{}", out(&one));

    // What no list knows to be made is BUILD while its cell is dark.
    until("lists know the newest of every cell", || !out(&at(&dir, "status")).contains(" s ("));
    let path = dir.0.join("cloud").display().to_string();
    let dark = skep(&format!("dev cell down cell1 --dir {path}"));
    assert!(out(&dark).contains("cell1   region1   refuse"), "{}{}", out(&dark), err(&dark));
    let seen = at(&dir, "status");
    assert!(code(&seen) == 3 && out(&seen).contains("DOWN"), "{}", out(&seen));
    let partial = at(&dir, "ps");
    let unknown = out(&partial).matches("UNKNOWN").count();
    assert_eq!(code(&partial), if unknown > 0 { 3 } else { 0 }, "{}", out(&partial));
    assert_eq!(out(&partial).lines().count(), 10, "nothing is missing: {}", out(&partial));
    assert_eq!(code(&skep(&format!("dev cell up cell1 --dir {path}"))), 0);
    until("the cell is light again", || code(&at(&dir, "status")) == 0);
    assert!(out(&skep(&format!("dev cell list --dir {path}"))).contains("cell3   region1   off"));

    cloud.signal("INT");
    assert_eq!(cloud.code(), 0);
    assert!(!dir.0.join("cloud").exists(), "nothing is left");
}

#[test]
fn a_cloud_that_is_kept_resumes_and_is_used_by_one_alone() {
    let dir = Dir::new();
    let mut cloud = start(&dir, "--keep --cells 2 --hosts 1");
    assert_eq!(code(&at(&dir, "run --name web --wait --timeout 20 skep/web:1")), 0);
    let token = dir.read("cloud/token");
    let path = dir.0.join("cloud").display().to_string();
    let second = skep(&format!("dev --dir {path} --listen 127.0.0.1:0"));
    assert_eq!(code(&second), 1);
    assert!(err(&second).contains("another `skep dev` uses"), "{}", err(&second));
    cloud.signal("TERM");
    assert_eq!(cloud.code(), 0);

    let other = skep(&format!("dev --dir {path} --listen 127.0.0.1:0 --cells 3"));
    assert!(code(&other) == 2 && err(&other).contains("--cells 2"), "{}", err(&other));
    let mut cloud = start(&dir, "");
    assert_eq!(dir.read("cloud/token"), token);
    assert_eq!(out(&at(&dir, "ps -o name")), "web\n");
    assert_eq!(code(&at(&dir, "rm --wait --timeout 20 web")), 0);
    cloud.signal("INT");
    assert_eq!(cloud.code(), 0);
}

#[test]
fn a_port_that_is_taken_is_told_and_leaves_nothing() {
    let dir = Dir::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("has an address");
    let path = dir.0.join("cloud").display().to_string();
    let refused = skep(&format!("dev --dir {path} --listen {address}"));
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("give another --listen"), "{}", err(&refused));
    assert!(!dir.0.join("cloud").exists());
}
