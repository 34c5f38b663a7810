//! The image catalogue, and servers made of what is in it.

use serde_json::{Value, json};
use tests::face::Face;

use crate::{cloud, reaches, server};

const IMAGES: &str = "/image/v2/images";

async fn add(face: &Face, who: &str, body: Value) -> Value {
    face.at(who, "POST", IMAGES, body).await.is(201)
}

fn path(image: &Value) -> String {
    format!("{IMAGES}/{}", image["id"].as_str().expect("an id"))
}

async fn names(face: &Face, who: &str, query: &str) -> Vec<String> {
    let list = face.at(who, "GET", &format!("{IMAGES}?sort=name:asc&{query}"), Value::Null).await.is(200);
    let images = list["images"].as_array().expect("a list");
    images.iter().map(|image| image["name"].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_a_name_for_a_reference() {
    let (_cloud, face) = cloud().await;
    let body = json!({"name": "web", "oci_reference": "skep/web:1", "disk_format": "raw", "min_ram": "1",
        "container_format": "bare", "tags": ["t"], "os_distro": "x", "protected": "False"});
    let web = add(&face, "ann", body).await;
    for (name, expected) in [
        ("status", json!("active")),
        ("visibility", json!("private")),
        ("owner", json!("p")),
        ("oci_reference", json!("skep/web:1")),
        ("os_distro", json!("x")),
        ("min_ram", json!(1)),
        ("protected", json!(false)),
        ("tags", json!(["t"])),
    ] {
        assert_eq!(web[name], expected, "{name} of {web}");
    }
    assert_eq!(face.at("bob", "GET", &path(&web), Value::Null).await.is(200), web);
    face.at("cid", "GET", &path(&web), Value::Null).await.is(404);
    face.at("bob", "GET", &format!("{IMAGES}/web"), Value::Null).await.is(404);
    face.at("bob", "POST", IMAGES, json!({"name": "no"})).await.is(403);
    for (bad, status) in [
        (json!({"status": "active"}), 403),
        (json!({"visibility": "public"}), 403),
        (json!({"visibility": "shared"}), 400),
        (json!({"owner": "q"}), 403),
        (json!({"disk_format": "paper"}), 400),
        (json!({"min_ram": -1}), 400),
        (json!({"oci_reference": "No Such"}), 400),
        (json!({"os_distro": 5}), 400),
        (json!({"id": web["id"]}), 409),
        (json!({"id": "x"}), 400),
    ] {
        face.at("ann", "POST", IMAGES, bad).await.is(status);
    }

    // What is changed, and what is not.
    let patch = json!([{"op": "replace", "path": "/name", "value": "front"},
        {"op": "add", "path": "/os_version", "value": "2"}, {"op": "remove", "path": "/os_distro"},
        {"op": "add", "path": "/tags/-", "value": "u"}]);
    let front = face.at("ann", "PATCH", &path(&web), patch).await.is(200);
    assert_eq!((&front["name"], &front["os_version"]), (&json!("front"), &json!("2")));
    assert_eq!((&front["tags"], front.get("os_distro")), (&json!(["t", "u"]), None));
    for (step, status) in [
        (json!({"op": "replace", "path": "/oci_reference", "value": "skep/web:2"}), 403),
        (json!({"op": "remove", "path": "/oci_reference"}), 403),
        (json!({"op": "remove", "path": "/name"}), 403),
        (json!({"op": "replace", "path": "/size", "value": 1}), 403),
        (json!({"op": "replace", "path": "/nothing", "value": "1"}), 409),
        (json!({"op": "replace", "path": "/visibility", "value": "public"}), 403),
    ] {
        face.at("ann", "PATCH", &path(&web), json!([step])).await.is(status);
    }
    face.at("cid", "PATCH", &path(&web), json!([])).await.is(404);
    face.at("ann", "PUT", &format!("{}/tags/v", path(&web)), Value::Null).await.is(204);
    face.at("ann", "DELETE", &format!("{}/tags/t", path(&web)), Value::Null).await.is(204);
    face.at("ann", "DELETE", &format!("{}/tags/t", path(&web)), Value::Null).await.is(404);
    let shown = face.at("ann", "GET", &path(&web), Value::Null).await.is(200);
    assert_eq!(shown["tags"], json!(["u", "v"]));

    // Who sees it.
    assert_eq!(names(&face, "bob", "").await, ["front"]);
    assert_eq!(names(&face, "cid", "").await, [""; 0]);
    let community = json!([{"op": "replace", "path": "/visibility", "value": "community"}]);
    face.at("ann", "PATCH", &path(&web), community).await.is(200);
    assert_eq!(names(&face, "cid", "").await, [""; 0]);
    assert_eq!(names(&face, "cid", "visibility=community").await, ["front"]);
    let public = json!([{"op": "replace", "path": "/visibility", "value": "public"},
        {"op": "replace", "path": "/protected", "value": true}]);
    face.at("admin", "PATCH", &path(&web), public).await.is(200);
    assert_eq!(names(&face, "cid", "tag=u").await, ["front"]);
    face.at("cid", "PATCH", &path(&web), json!([])).await.is(403);
    face.at("cid", "DELETE", &path(&web), Value::Null).await.is(403);
    face.at("ann", "DELETE", &path(&web), Value::Null).await.is(403);
    face.at("bob", "GET", &format!("{}/members", path(&web)), Value::Null).await.is(403);

    // What waits for a reference gets it once; content is not taken.
    let later = add(&face, "ann", json!({"name": "later"})).await;
    assert_eq!(later["status"], "queued");
    face.at("ann", "PUT", &format!("{}/file", path(&later)), json!({"not": "empty"})).await.is(501);
    face.at("ann", "PUT", &format!("{}/file", path(&later)), Value::Null).await.is(204);
    let told = json!([{"op": "add", "path": "/oci_reference", "value": "skep/web:1"}]);
    let told = face.at("ann", "PATCH", &path(&later), told).await.is(200);
    assert_eq!(told["status"], "active");
    face.at("ann", "GET", &format!("{}/file", path(&later)), Value::Null).await.is(501);

    // Pages.
    let page = face.at("ann", "GET", &format!("{IMAGES}?limit=1&sort=name:asc"), Value::Null).await.is(200);
    let next = page["next"].as_str().expect("another page");
    let page = face.at("ann", "GET", &format!("/image{next}"), Value::Null).await.is(200);
    assert_eq!((&page["images"][0]["name"], page.get("next")), (&json!("later"), None));
    for schema in ["image", "images", "member", "members"] {
        let said = face.at("ann", "GET", &format!("/image/v2/schemas/{schema}"), Value::Null).await.is(200);
        assert_eq!(said["name"], schema);
    }
    let unprotected = json!([{"op": "replace", "path": "/protected", "value": false}]);
    face.at("ann", "PATCH", &path(&web), unprotected).await.is(200);
    face.at("ann", "DELETE", &path(&web), Value::Null).await.is(204);
    face.at("ann", "DELETE", &path(&web), Value::Null).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_made_of_images_by_id_name_and_reference() {
    let (_cloud, face) = cloud().await;
    let image = add(&face, "ann", json!({"name": "Our web", "oci_reference": "skep/web:1"})).await;
    let id = image["id"].as_str().expect("an id");
    let with = |image: &str| {
        let mut wish = server("web");
        wish["server"]["imageRef"] = json!(image);
        wish
    };
    let by_id = crate::create(&face, with(id)).await;
    let by_name = crate::create(&face, with("Our web")).await;
    let by_reference = crate::create(&face, with("skep/web:1")).await;
    let shown = reaches(&face, &by_id, "ACTIVE").await;
    assert_eq!(shown["image"]["id"], id);
    assert_eq!(reaches(&face, &by_name, "ACTIVE").await["image"]["id"], id);
    assert_ne!(reaches(&face, &by_reference, "ACTIVE").await["image"]["id"], id);
    let listed = face.get("ann", 90, &format!("/servers?image={id}")).await.is(200);
    assert_eq!(listed["servers"].as_array().map(Vec::len), Some(2), "{listed}");

    // Another project does not see it, neither by id nor by name.
    face.post("cid", 90, "/servers", with(id)).await.is(400);
    face.post("cid", 90, "/servers", with("Our web")).await.is(400);
    let queued = add(&face, "ann", json!({"name": "queued"})).await;
    face.post("ann", 90, "/servers", with(queued["id"].as_str().expect("an id"))).await.is(400);
    let large = json!({"name": "large", "oci_reference": "skep/web:1", "min_ram": 1_000_000});
    add(&face, "ann", large).await;
    let refused = face.post("ann", 90, "/servers", with("large")).await.is(400);
    assert_eq!(refused["badRequest"]["message"], "Flavor's memory is too small for requested image.");
    add(&face, "ann", json!({"name": "Our web", "oci_reference": "skep/web:1"})).await;
    face.post("ann", 90, "/servers", with("Our web")).await.is(400);

    // A rebuild names its image as a create does.
    let action = format!("/servers/{by_reference}/action");
    face.post("ann", 90, &action, json!({"rebuild": {"imageRef": "large"}})).await.is(400);
    let rebuilt = face.post("ann", 90, &action, json!({"rebuild": {"imageRef": id}})).await.is(202);
    assert_eq!(rebuilt["server"]["image"]["id"], id);
    assert_eq!(reaches(&face, &by_reference, "ACTIVE").await["image"]["id"], id);

    // What is deactivated serves nobody; what is deleted still is what its servers are made of.
    let path = path(&image);
    face.at("ann", "POST", &format!("{path}/actions/deactivate"), Value::Null).await.is(204);
    face.post("ann", 90, "/servers", with(id)).await.is(400);
    face.at("ann", "POST", &format!("{path}/actions/reactivate"), Value::Null).await.is(204);
    face.at("ann", "DELETE", &path, Value::Null).await.is(204);
    let shown = face.get("ann", 90, &format!("/servers/{by_id}")).await.is(200);
    assert_eq!((&shown["server"]["image"]["id"], &shown["server"]["status"]), (&json!(id), &json!("ACTIVE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nova_shows_and_changes_them_until_2_35() {
    let (_cloud, face) = cloud().await;
    let wish = json!({"name": "old", "oci_reference": "busybox:1.36", "colour": "red"});
    let made = add(&face, "ann", wish).await;
    let path = format!("/images/{}", made["id"].as_str().expect("an id"));
    let shown = face.get("ann", 35, &path).await.is(200);
    let image = &shown["image"];
    assert_eq!((&image["name"], &image["status"]), (&json!("old"), &json!("ACTIVE")));
    assert_eq!(image["metadata"], json!({"colour": "red"}));
    face.get("ann", 36, &path).await.is(404);
    let listed = face.get("ann", 1, "/images/detail?name=old").await.is(200);
    assert_eq!(listed["images"], json!([image]));
    let metadata = format!("{path}/metadata");
    let said = face.post("ann", 35, &metadata, json!({"metadata": {"size_of": "small"}})).await.is(200);
    assert_eq!(said, json!({"metadata": {"colour": "red", "size_of": "small"}}));
    face.put("ann", 35, &format!("{metadata}/colour"), json!({"meta": {"colour": "blue"}})).await.is(200);
    face.put("ann", 35, &format!("{metadata}/colour"), json!({"meta": {"other": "blue"}})).await.is(400);
    face.post("ann", 35, &metadata, json!({"metadata": {"status": "x"}})).await.is(400);
    let item = face.get("ann", 35, &format!("{metadata}/colour")).await.is(200);
    assert_eq!(item, json!({"meta": {"colour": "blue"}}));
    face.delete("ann", 35, &format!("{metadata}/colour")).await.is(204);
    face.delete("ann", 35, &format!("{metadata}/colour")).await.is(404);
    let said = face.put("ann", 35, &metadata, json!({"metadata": {"only": "this"}})).await.is(200);
    assert_eq!(said, json!({"metadata": {"only": "this"}}));
    face.delete("ann", 35, &path).await.is(204);
    face.get("ann", 35, &path).await.is(404);
}
