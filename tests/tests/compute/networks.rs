//! Networks, and the addresses of servers on them.

use serde_json::{Value, json};

use crate::{cloud, create, reaches, server};

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_addresses_are_the_real_ones() {
    let (_cloud, face) = cloud().await;
    let get = async |who: &str, path: &str| {
        face.at(who, "GET", &format!("/network/v2.0/{path}"), Value::Null).await
    };
    let networks = get("ann", "networks?fields=id&fields=name").await.is(200);
    assert_eq!(networks["networks"].as_array().map(Vec::len), Some(1), "{networks}");
    assert_eq!(networks["networks"][0]["name"], "skep");
    let network = networks["networks"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(networks["networks"][0].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(get("bob", &format!("networks/{network}")).await.is(200)["network"]["project_id"], "p");
    get("cid", &format!("networks/{network}")).await.is(404);
    assert_eq!(get("ann", "networks?name=other").await.is(200)["networks"], json!([]));
    let groups = get("admin", "security-groups?project_id=p&name=default").await.is(200);
    let group = groups["security_groups"][0]["id"].as_str().expect("an id").to_owned();
    face.at("ann", "DELETE", &format!("/network/v2.0/security-groups/{group}"), Value::Null).await.is(409);
    for nothing in ["subnets", "floatingips", "routers", "security-group-rules"] {
        assert_eq!(get("ann", nothing).await.is(200)[nothing.replace('-', "_")], json!([]));
    }
    assert_eq!(get("ann", "quotas/p/details").await.is(200)["quota"]["network"]["used"], 1);
    get("ann", "quotas/q").await.is(404);
    assert_eq!(get("ann", "extensions/quotas").await.is(200)["extension"]["alias"], "quotas");
    let missing = get("ann", "extensions/router").await.is(404);
    assert_eq!(missing["NeutronError"]["type"], "HTTPNotFound");
    face.at("ann", "POST", "/network/v2.0/networks", json!({"network": {}})).await.is(405);

    // A server on the network that was named has a port with the address that it shows.
    let mut wish = server("web");
    wish["server"]["networks"] = json!([{"uuid": network}]);
    wish["server"]["security_groups"] = json!([{"name": group}]);
    face.post("cid", 90, "/servers", wish.clone()).await.is(400);
    let id = create(&face, wish).await;
    let shown = reaches(&face, &id, "ACTIVE").await;
    let address = &shown["addresses"]["skep"][0];
    let mut alone = server("alone");
    alone["server"]["networks"] = json!("none");
    let alone = create(&face, alone).await;
    reaches(&face, &alone, "ACTIVE").await;
    let ports = get("ann", "ports").await.is(200);
    assert_eq!(ports["ports"].as_array().map(Vec::len), Some(1), "{ports}");
    let port = get("admin", &format!("ports?device_id={id}")).await.is(200)["ports"][0].clone();
    assert_eq!(port["fixed_ips"][0]["ip_address"], address["addr"]);
    assert_eq!(port["mac_address"], address["OS-EXT-IPS-MAC:mac_addr"]);
    assert_eq!((&port["network_id"], &port["project_id"]), (&json!(network), &json!("p")));
    assert_eq!(port["binding:host_id"], shown["OS-EXT-SRV-ATTR:host"]);
    let text = address["addr"].as_str().expect("an address");
    for (query, found) in [
        (format!("fixed_ips=ip_address={text}"), 1),
        ("fixed_ips=ip_address=192.0.2.1".to_owned(), 0),
        (format!("device_id={alone}"), 0),
        ("device_id=x".to_owned(), 0),
        (format!("network_id={network}&limit=1"), 1),
    ] {
        let ports = get("ann", &format!("ports?{query}")).await.is(200);
        assert_eq!(ports["ports"].as_array().map(Vec::len), Some(found), "{query}: {ports}");
    }
    assert_eq!(get("ann", &format!("ports/{id}")).await.is(200)["port"]["device_id"], json!(id));
    get("ann", &format!("ports/{alone}")).await.is(404);
    get("cid", &format!("ports/{id}")).await.is(404);
    assert_eq!(get("cid", "ports").await.is(200)["ports"], json!([]));
}
