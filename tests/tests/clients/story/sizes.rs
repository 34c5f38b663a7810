//! Flavors and key pairs.

use super::{Story, text};

pub fn flavors_and_keys(story: &mut Story) {
    let Story { admin, ana, .. } = story;
    let made =
        admin.json("flavor create --id 90 --ram 64 --vcpus 1 --disk 1 --description small story.small");
    assert_eq!((&made["ram"], &made["description"]), (&64.into(), &"small".into()));
    admin.fails("flavor create --ram 64 --vcpus 1 --disk 1 story.small", "already exists");
    admin.ok("flavor set --property team=a --description smaller story.small");
    let shown = ana.json("flavor show story.small");
    assert_eq!((&shown["id"], &shown["description"]), (&"90".into(), &"smaller".into()));
    assert_eq!(shown["properties"]["team"], "a", "{shown}");
    admin.ok("flavor unset --property team story.small");
    assert_eq!(ana.json("flavor show story.small")["properties"], serde_json::json!({}));
    assert!(ana.column("flavor list", "Name").contains(&"story.small".to_owned()));
    ana.fails("flavor create --ram 64 --vcpus 1 --disk 1 mine", "Policy doesn't allow");
    admin.ok("flavor create --private --project shop --id 91 --ram 64 --vcpus 1 --disk 1 story.own");
    assert_eq!(text(&ana.json("flavor show story.own"), "name"), "story.own");
    admin.ok("flavor unset --project shop story.own");
    ana.fails("flavor show story.own", "No Flavor found");
    admin.ok("flavor delete story.own");

    assert!(ana.ok("keypair create k1").contains("PRIVATE KEY"));
    ana.fails("keypair create k1", "already exists");
    assert_eq!(ana.column("keypair list", "Name"), ["k1"]);
    assert_eq!(ana.json("keypair show k1")["type"], "ssh");
    assert!(ana.ok("keypair show --public-key k1").starts_with("ssh-ed25519 "));
    ana.ok("keypair create k2");
    ana.ok("keypair delete k2");
    ana.fails("keypair show k2", "No Keypair found");
}
