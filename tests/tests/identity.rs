//! Users in another process: an API that asks a Keystone – here the identity face of another `skep api` – whom a
//! token stands for; and the command that makes the first user.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Client, Folder, Process, Reply, Signal, eventually, free_port, skep};

const READY: Duration = Duration::from_secs(60);

/// An API on SQLite, without any cell.
struct Api {
    process: Process,
    url: String,
    config: String,
}

impl Api {
    /// Starts one with `identity` as its section of that name.
    async fn start(folder: &Folder, name: &str, identity: &str) -> Self {
        let port = free_port();
        let database = |database: &str| folder.join(format!("{name}-{database}.db")).display().to_string();
        let text = format!(
            "[api]\nlisten = '127.0.0.1:{port}'\n[[api.tokens]]\ntoken = 'fixed-for-{name}-0123456789'\n\
             user = 'desk'\nproject = 'desk'\nroles = ['admin']\n[identity]\n{identity}\n\
             [api_database]\nurl = 'sqlite:{}'\n[cell0.database]\nurl = 'sqlite:{}'\n",
            database("api"),
            database("cell0"),
        );
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, text).expect("is written");
        let config = config.display().to_string();
        let synced = run(&["db", "sync", "--config", &config]);
        assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
        let mut command = Command::new(skep());
        command.args(["api", "--config", &config]).env_clear();
        let process = Process::spawn(name, folder.path(), command);
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::new(&url);
        eventually(READY, "the API answers", async || match client.get("/").await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(reply.status.to_string()),
            Err(why) => Err(format!("{why:#}")),
        })
        .await;
        Self { process, url, config }
    }

    /// A client with a token.
    fn with(&self, token: &str) -> Client {
        Client::new(&self.url).header("X-Auth-Token", token)
    }

    /// What an attempt to get a token is answered.
    async fn ask(&self, identity: Value, scope: Value) -> Reply {
        let mut body = json!({"auth": {"identity": identity}});
        if !scope.is_null() {
            body["auth"]["scope"] = scope;
        }
        Client::new(&self.url).post("/identity/v3/auth/tokens", &body).await.expect("the API answers")
    }

    /// A token by password for a project, by names.
    async fn login(&self, user: &str, password: &str, project: &str) -> String {
        let domain = json!({"id": "default"});
        let user = json!({"name": user, "domain": domain, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let reply = self.ask(identity, json!({"project": {"name": project, "domain": domain}})).await;
        let token = reply.header("x-subject-token").map(str::to_owned);
        reply.expect(201);
        token.expect("a token")
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(skep()).args(arguments).env_clear().output().expect("skep starts")
}

/// The administrator's password, from the command that makes them.
fn bootstrap(folder: &Folder, api: &Api) -> String {
    let clouds = folder.join("clouds.yaml");
    let file = clouds.display().to_string();
    let command =
        ["identity", "bootstrap", "--config", &api.config, "--auth-url", &api.url, "--clouds", &file];
    let done = run(&command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let password = said.split("password ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let password = password.unwrap_or_else(|| panic!("no password: {said}")).to_owned();
    assert_eq!(clouds.metadata().expect("is written").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&clouds).expect("is written");
    assert!(text.contains(&password) && text.contains(&format!("{}/identity", api.url)), "{text}");
    let again = run(&command);
    assert_eq!(again.status.code(), Some(2), "a file that is there stays");
    std::fs::remove_file(&clouds).expect("is removed");
    let again = run(&command);
    assert!(again.status.success() && !clouds.exists(), "{again:?}");
    assert!(!String::from_utf8_lossy(&again.stdout).contains(&password), "it is told once");
    password
}

/// What an API lets a token do that every reader may.
async fn status(api: &Api, token: &str) -> u16 {
    api.with(token).get("/v2.1/flavors").await.expect("the API answers").status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_another_process_and_what_holds_while_it_is_away() {
    let folder = Folder::new("identity");
    let mut keystone = Api::start(&folder, "keystone", "kind = 'embedded'").await;
    let password = bootstrap(&folder, &keystone);
    let admin = keystone.with(&keystone.login("admin", &password, "admin").await);
    let make =
        async |path: &str, body: Value| admin.post(path, &body).await.expect("the API answers").expect(201);
    let service = make("/v3/projects", json!({"project": {"name": "service"}})).await;
    let user = make("/v3/users", json!({"user": {"name": "skep", "password": "of the service"}})).await;
    let roles = admin.get("/v3/roles?name=service").await.expect("answers").expect(200);
    let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    let grant = format!(
        "/v3/projects/{}/users/{}/roles/{}",
        id(&service["project"]),
        id(&user["user"]),
        id(&roles["roles"][0])
    );
    admin.put(&grant, &json!({})).await.expect("answers").expect(204);

    let section = format!(
        "kind = 'keystone'\n[identity.keystone]\nurl = '{}/identity'\npassword = 'of the service'\n\
         cache_s = 1\nstale_s = 600",
        keystone.url
    );
    let asks = Api::start(&folder, "asks", &section).await;
    let challenge = Client::new(&asks.url).get("/v2.1/flavors").await.expect("answers");
    assert_eq!(challenge.status, 401);
    let header = challenge.header("www-authenticate").unwrap_or_default();
    assert_eq!(header, format!("Keystone uri=\"{}/identity\"", keystone.url));
    assert_eq!(status(&asks, "fixed-for-asks-0123456789").await, 200, "fixed tokens are good beside it");

    let token = keystone.login("admin", &password, "admin").await;
    assert_eq!(status(&asks, &token).await, 200);
    assert_eq!(status(&asks, "no-such-token").await, 401);
    assert_eq!(asks.with(&token).get("/admin/v1/status").await.expect("answers").status, 200);

    // Our own token is revoked there: it is renewed, and nobody notices.
    let path = format!("/v3/users/{}", id(&user["user"]));
    for enabled in [false, true] {
        let change = json!({"user": {"enabled": enabled}});
        admin
            .send("PATCH".parse().expect("a method"), &path, Some(&change))
            .await
            .expect("answers")
            .expect(200);
    }
    let other = keystone.login("admin", &password, "admin").await;
    assert_eq!(status(&asks, &other).await, 200);

    // Access rules of application credentials hold here, too.
    let own = admin.get("/v3/users?name=admin").await.expect("answers").expect(200);
    let rule = json!({"service": "compute", "method": "GET", "path": "/v2.1/flavors"});
    let wanted = json!({"application_credential": {"name": "narrow", "access_rules": [rule]}});
    let path = format!("/v3/users/{}/application_credentials", id(&own["users"][0]));
    let made = make(&path, wanted).await;
    // Asked for once more under its key, the secret is told again, and there is no second credential.
    let keyed = admin.clone().header("Idempotency-Key", "d9e1f4a2-0c7b");
    let twice = json!({"application_credential": {"name": "twice"}});
    let first = keyed.post(&path, &twice).await.expect("answers").expect(201);
    assert!(first["application_credential"]["secret"].is_string(), "{first}");
    assert_eq!(keyed.post(&path, &twice).await.expect("answers").expect(201), first);
    let credential = &made["application_credential"];
    let shown = json!({"id": credential["id"], "secret": credential["secret"]});
    let reply = keystone
        .ask(json!({"methods": ["application_credential"], "application_credential": shown}), Value::Null)
        .await;
    let narrow = reply.header("x-subject-token").expect("a token").to_owned();
    for api in [&keystone, &asks] {
        assert_eq!(status(api, &narrow).await, 200);
        let images = api.with(&narrow).get("/v2.1/servers").await.expect("answers");
        assert_eq!(images.status, 403, "{}", images.body);
    }

    // Revoked there is refused here when what is kept is too old.
    keystone
        .with(&other)
        .header("X-Subject-Token", &other)
        .delete("/v3/auth/tokens")
        .await
        .expect("answers")
        .expect(204);
    eventually(READY, "a revoked token is refused", async || match status(&asks, &other).await {
        401 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;

    // While it does not answer, who was known stays known, and of others nobody can tell.
    keystone.process.signal(Signal::Stop);
    assert_eq!(status(&asks, &token).await, 200);
    tokio::time::sleep(Duration::from_secs(2)).await; // What is kept is older than cache_s now.
    assert_eq!(
        status(&asks, &token).await,
        200,
        "what was said of it is believed longer while nobody answers"
    );
    assert_eq!(status(&asks, "never-seen-before").await, 503);
    keystone.process.signal(Signal::Cont);
    eventually(READY, "it is asked again", async || match status(&asks, "never-seen-before").await {
        401 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}
