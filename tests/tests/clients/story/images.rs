//! Images and networks.

use super::{Story, text};

pub fn images(story: &mut Story) {
    let Story { admin, ana, bob } = story;
    assert_eq!(ana.column("image list", "Name"), ["skep/web:1"]);
    let made = ana.json("image create --property oci_reference=skep/web:1 --property team=a --tag t draft");
    assert_eq!((&made["status"], &made["visibility"]), (&"active".into(), &"private".into()), "{made}");
    assert_eq!(made["properties"]["oci_reference"], "skep/web:1", "{made}");
    ana.ok("image set --name ours --property team=b --tag u draft");
    let shown = ana.json("image show ours");
    assert_eq!((&shown["id"], &shown["properties"]["team"]), (&made["id"], &"b".into()));
    assert_eq!(ana.column("image list --tag u", "Name"), ["ours"]);
    ana.ok("image unset --tag t --property team ours");
    let shown = ana.json("image show ours");
    assert_eq!((&shown["tags"], &shown["properties"]["team"]), (&serde_json::json!(["u"]), &().into()));
    assert_eq!(ana.column("image list --name ours --status active", "ID"), [text(&made, "id")]);
    assert_eq!(ana.column("image list --private", "Name"), ["ours"]);
    assert_eq!(ana.column("image list --limit 1 --sort name:asc", "Name"), ["ours"]);
    assert_eq!(bob.column("image list", "Name"), ["skep/web:1"]);
    bob.fails("image show ours", "No Image found for ours");
    ana.fails("image set --public ours", "publicize_image");
    admin.ok("image set --public ours");
    assert_eq!(bob.column("image list --public", "Name"), ["ours", "skep/web:1"]);
    bob.fails("image set --name theirs ours", "not permitted to modify");
    ana.ok("image set --protected ours");
    ana.fails("image delete ours", "protected");
    ana.ok("image set --unprotected ours");
    ana.ok("image set --deactivate ours");
    assert_eq!(ana.json("image show ours")["status"], "deactivated");
    ana.ok("image set --activate ours");
    ana.fails("image set --property oci_reference=skep/web:2 ours", "does not change");
    ana.fails("image set --shared ours", "images have no members");
    ana.fails("image member list ours", "Only shared images have members");
    ana.fails("image set --name x skep/web:1", "named by the cloud's configuration");
    ana.fails("image create --file clouds.yaml upload", "uploading an image");
    assert_eq!(ana.json("image create waits")["status"], "queued");
    ana.ok("image delete waits");
    ana.fails("image show waits", "No Image found for waits");
}

pub fn networks(story: &mut Story) {
    let Story { ana, .. } = story;
    assert_eq!(ana.column("network list", "Name"), ["skep"]);
    assert_eq!(ana.json("network show skep")["status"], "ACTIVE");
    assert_eq!(ana.column("security group list", "Name"), ["default"]);
    assert_eq!(ana.json("security group show default")["rules"], serde_json::json!([]));
    for nothing in ["subnet list", "port list", "floating ip list", "router list"] {
        assert_eq!(ana.json(nothing), serde_json::json!([]), "{nothing}");
    }
    assert!(ana.column("extension list --network", "Alias").contains(&"security-group".to_owned()));
    ana.fails("network create another", "not allowed");
}
