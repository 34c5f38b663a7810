//! The testbed's services do what stories rely on.

use std::time::Duration;

use tests::{Part, Services, docker, eventually_blocking, postgres, rabbit, unique};

#[test]
fn databases_are_fresh_and_go_with_their_owner() {
    let postgres = postgres();
    let database = postgres.database("bed");
    database.query("CREATE TABLE t (a TEXT, b BIGINT)");
    database.query("INSERT INTO t VALUES ('b', 1), ('B', 2)");
    assert_eq!(database.query("SELECT a, b FROM t ORDER BY a"), [["B", "2"], ["b", "1"]]);
    assert_eq!(database.number("SELECT count(*) FROM t"), 2);
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let other = postgres.database("bed");
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(other.number(&count), 1);
    drop(database);
    assert_eq!(other.number(&count), 0);
}

#[test]
fn vhosts_are_fresh_and_empty() {
    let [one, two] = rabbit().vhosts(["bed", "bed"]);
    assert_ne!(one.url(), two.url());
    assert!(one.url().starts_with("amqp://guest:guest@127.0.0.1:"));
    assert_eq!(two.queues(), []);
    two.purge();
}

#[test]
fn the_engine_runs_the_image() {
    let docker = docker();
    let label = unique("bed");
    let given = format!("skep.test={label}");
    docker.cli(&["run", "-d", "--init", "--name", &label, "--label", &given, "skep/web:1"]);
    assert_eq!(docker.labelled(&given).len(), 1);
    let page = eventually_blocking(Duration::from_secs(60), "the page", || {
        let page = docker.cli(&["exec", &label, "sh", "-c", "wget -q -O - http://127.0.0.1:8080/ || true"]);
        if page.is_empty() { Err("no page".into()) } else { Ok(page) }
    });
    docker.cli(&["rm", "-f", &label]);
    assert_eq!(page, "skep\n");
    assert!(docker.labelled(&given).is_empty());
}

#[test]
fn a_private_server_can_be_hurt_and_leaves_nothing() {
    let services = Services::private(&[Part::Postgres]);
    let database = services.postgres().database("bed");
    services.freeze(Part::Postgres);
    let port = database.url().rsplit(':').next().unwrap().split('/').next().unwrap();
    let address = format!("127.0.0.1:{port}");
    // Frozen: the kernel still accepts, and nobody reads.
    std::net::TcpStream::connect(&address).unwrap();
    services.thaw(Part::Postgres);
    assert_eq!(database.number("SELECT 1"), 1);
    services.kill(Part::Postgres);
    std::net::TcpStream::connect(&address).unwrap_err();
    services.start(Part::Postgres);
    assert_eq!(database.number("SELECT 1"), 1);
    drop(services);
    std::net::TcpStream::connect(&address).unwrap_err();
}

#[test]
#[should_panic(expected = "other stories use these services")]
fn shared_services_are_not_hurt() {
    Services::shared().kill(Part::Rabbit);
}
