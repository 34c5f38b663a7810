//! The compute face over a whole cloud in this process: what is asked and what is answered, as clients see it.

mod catalog;
mod images;
mod networks;
mod placing;
mod servers;
mod sizes;

use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::{Cloud, Plan};
use tests::eventually;
use tests::face::Face;

/// A cloud of two cells with one host each, and its face.
async fn cloud() -> (Cloud, Face) {
    cloud_of(Plan { cells: 2, hosts: 1, ..Plan::default() }).await
}

async fn cloud_of(plan: Plan) -> (Cloud, Face) {
    let cloud = Cloud::start(plan).await;
    let face = Face::new(cloud.verbs.clone(), cloud.env.clone());
    (cloud, face)
}

/// The body of a create.
fn server(name: &str) -> Value {
    json!({"server": {"name": name, "imageRef": "skep/web:1", "flavorRef": "1", "networks": "auto"}})
}

/// Creates a server of ann's and gives its id.
async fn create(face: &Face, body: Value) -> String {
    let made = face.post("ann", 90, "/servers", body).await.is(202);
    made["server"]["id"].as_str().expect("an id").to_owned()
}

/// Waits until a server of ann's has this status and nothing is done to it.
async fn reaches(face: &Face, id: &str, status: &str) -> Value {
    eventually(Duration::from_secs(60), &format!("{id} is {status}"), async || {
        let said = face.get("admin", 96, &format!("/servers/{id}")).await;
        let server = &said.body["server"];
        match server["status"] == status && server["OS-EXT-STS:task_state"].is_null() {
            true => Ok(server.clone()),
            false => Err(said.body.to_string()),
        }
    })
    .await
}
