//! What a user does, over HTTP alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Client, Reply, eventually};

/// The longest that one instance may take to reach a state, a worker's lease included. What follows a fault is held to
/// less by its case: [`crate::within`].
const OUTCOME: Duration = Duration::from_secs(90);
/// The longest that a request may take.
const REQUEST: Duration = Duration::from_secs(20);

/// A caller with a token.
#[derive(Clone, Debug)]
pub struct User {
    client: Client,
}

/// Where a published port is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
}

/// The body of a create: a web server on port 8080, which is published.
pub fn server(name: &str) -> Value {
    json!({"name": name, "imageRef": "skep/web:1", "flavorRef": "1", "networks": "auto",
           "skep": {"ports": ["8080/tcp"], "restart": "no"}})
}

/// An object's id.
///
/// # Panics
/// If it has none.
pub fn id(object: &Value) -> String {
    match object["id"].as_str() {
        Some(id) => id.to_owned(),
        None => panic!("it has no id: {object}"),
    }
}

impl User {
    /// A user of the API at `base`.
    pub fn new(base: &str, token: &str) -> Self {
        let client = Client::new(base)
            .deadline(REQUEST)
            .header("X-Auth-Token", token)
            .header("OpenStack-API-Version", "compute 2.90")
            .header("X-Skep-API", "1");
        Self { client }
    }

    /// The same caller, who waits no longer than this for each answer.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { client: self.client.deadline(deadline) }
    }

    /// The client itself, for requests with another deadline or other expectations.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What a path answers with 200.
    ///
    /// # Errors
    /// Any other answer, or none.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let reply = self.client.get(path).await.map_err(|error| format!("{error:#}"))?;
        match reply.status.as_u16() {
            200 => Ok(reply.body),
            status => Err(format!("{status}: {}", reply.body)),
        }
    }

    /// Waits until lists know the newest of every cell. For administrators.
    ///
    /// # Panics
    /// If they do not within a minute.
    pub async fn indexed(&self) {
        eventually(Duration::from_secs(60), "lists know the newest of every cell", async || {
            let status = self.get("/admin/v1/status").await?;
            let mut cells = status["cells"].as_array().into_iter().flatten();
            match cells.find(|cell| cell["index_behind"] != 0) {
                None => Ok(()),
                Some(behind) => Err(behind.to_string()),
            }
        })
        .await;
    }

    /// Asks for a server. Any status is an answer.
    ///
    /// # Panics
    /// If nothing answers.
    pub async fn create(&self, server: Value) -> Reply {
        self.client.post("/v2.1/servers", &json!({ "server": server })).await.expect("the API answers")
    }

    /// Boots a server; returns its id.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn boot(&self, server: Value) -> String {
        id(&self.create(server).await.expect(202)["server"])
    }

    /// Boots `count` servers that publish a port, one request each.
    ///
    /// # Panics
    /// If one is not accepted.
    pub async fn boot_many(&self, name: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(self.boot(server(&format!("{name}{n}"))).await);
        }
        ids
    }

    /// A server.
    ///
    /// # Errors
    /// If it is not told.
    pub async fn show(&self, id: &str) -> Result<Value, String> {
        Ok(self.get(&format!("/v2.1/servers/{id}")).await?["server"].take())
    }

    /// All servers in detail, page after page.
    ///
    /// # Panics
    /// If a page is not told.
    pub async fn list(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={}", id(last))).unwrap_or_default();
            let page = self.get(&format!("/v2.1/servers/detail?limit=40{marker}")).await;
            let mut page = page.unwrap_or_else(|error| panic!("a list is answered: {error}"));
            match page["servers"].take() {
                Value::Array(servers) => all.extend(servers),
                other => panic!("servers are a list, not {other}"),
            }
            if page["servers_links"].is_null() {
                return all;
            }
        }
    }

    /// Waits until a server has a status and nothing is being done to it; returns it.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn reaches(&self, id: &str, status: &str) -> Value {
        eventually(OUTCOME, &format!("{id} is {status}"), async || {
            let server = self.show(id).await?;
            match server["status"].as_str() {
                Some(now) if now == status && server["OS-EXT-STS:task_state"].is_null() => Ok(server),
                now => Err(format!(
                    "it is {now:?}, task {}, fault {}",
                    server["OS-EXT-STS:task_state"], server["fault"]
                )),
            }
        })
        .await
    }

    /// Waits until so many restarts of a server by its policy are told; returns it.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn restarted(&self, id: &str, times: u64, within: Duration) -> Value {
        eventually(within, &format!("{times} restarts are told"), async || {
            let server = self.show(id).await?;
            match server["skep"]["restarts"].as_u64() {
                Some(told) if told == times => Ok(server),
                _ => Err(format!("restarts: {}, {}", server["skep"]["restarts"], server["status"])),
            }
        })
        .await
    }

    /// Waits until none of these is in BUILD any more; returns how many have which status.
    ///
    /// # Panics
    /// At the deadline, or if one is not listed.
    pub async fn settle(&self, ids: &[String]) -> BTreeMap<String, usize> {
        eventually(OUTCOME, &format!("{} servers leave BUILD", ids.len()), async || {
            let statuses = self.statuses().await;
            let mut counts = BTreeMap::new();
            for id in ids {
                let status = statuses.get(id).ok_or_else(|| format!("{id} is not listed"))?;
                *counts.entry(status.clone()).or_insert(0) += 1;
            }
            if counts.contains_key("BUILD") || counts.contains_key("UNKNOWN") {
                return Err(format!("{counts:?}"));
            }
            Ok(counts)
        })
        .await
    }

    /// The status of everything that is listed, by id.
    ///
    /// # Panics
    /// If a page is not told.
    pub async fn statuses(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.list().await.iter().map(|server| (id(server), text(&server["status"]))).collect()
    }

    /// Asks for an action, such as `{"os-stop": null}`. Any status is an answer.
    ///
    /// # Panics
    /// If nothing answers.
    pub async fn act(&self, id: &str, action: Value) -> Reply {
        let path = format!("/v2.1/servers/{id}/action");
        self.client.post(&path, &action).await.expect("the API answers")
    }

    /// Asks for a deletion.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn delete(&self, id: &str) {
        let reply = self.client.delete(&format!("/v2.1/servers/{id}")).await.expect("the API answers");
        reply.expect(204);
    }

    /// Asks for a deletion of what may be going or gone already.
    ///
    /// # Panics
    /// If it is neither accepted nor gone.
    pub async fn delete_again(&self, id: &str) {
        let reply = self.client.delete(&format!("/v2.1/servers/{id}")).await.expect("the API answers");
        assert!(matches!(reply.status.as_u16(), 204 | 404), "{}: {}", reply.status, reply.body);
    }

    /// Waits until a server is not found any more.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn gone(&self, id: &str) {
        eventually(OUTCOME, &format!("{id} is gone"), async || {
            let reply = self.client.get(&format!("/v2.1/servers/{id}")).await;
            match reply.map_err(|error| format!("{error:#}"))? {
                reply if reply.status.as_u16() == 404 => Ok(()),
                reply => Err(format!("{}: {}", reply.status, reply.body["server"]["status"])),
            }
        })
        .await;
    }

    /// Where a server's first published port is reached, from its own answer.
    ///
    /// # Panics
    /// If it tells of none.
    pub fn published(server: &Value) -> Published {
        let binding = &server["skep"]["bindings"][0];
        match (binding["address"].as_str(), binding["host"].as_u64()) {
            (Some(address), Some(port)) => Published { address: address.to_owned(), port: port as u16 },
            _ => panic!("no port is published: {server}"),
        }
    }
}

impl Published {
    /// Waits until a page is answered there that says `skep`.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn answers(&self) {
        let client = Client::new(format!("http://{}:{}", self.address, self.port));
        let client = client.deadline(Duration::from_secs(2));
        eventually(Duration::from_secs(60), "the published port answers", async || {
            match client.get("/").await {
                Ok(reply) if reply.body == "skep\n" => Ok(()),
                Ok(reply) => Err(format!("{}: {}", reply.status, reply.body)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await;
    }

    /// Whether a page is answered there now.
    pub async fn is_answered(&self) -> bool {
        let client = Client::new(format!("http://{}:{}", self.address, self.port));
        client.deadline(Duration::from_secs(2)).get("/").await.is_ok()
    }
}
