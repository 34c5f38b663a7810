//! What `openstack server`, `openstack flavor` and `openstack image` say.

use tests::Estate;
use tests::estate::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn servers_live_and_die_at_the_command_line() {
    let estate = Estate::start(Plan::default()).await;
    let mut alice = estate.openstack("alice");
    assert!(alice.column("flavor list", "Name").contains(&"c1.tiny".to_owned()));
    assert_eq!(alice.column("image list", "Name"), ["skep/web:1"]);
    for n in 1..=3 {
        let server = alice
            .json(&format!("server create --flavor c1.tiny --image skep/web:1 --nic none --wait web{n}"));
        assert_eq!(server["status"], "ACTIVE", "{server}");
    }
    assert_eq!(alice.column("server list", "Name"), ["web1", "web2", "web3"]);
    assert_eq!(alice.column("server list", "Status"), ["ACTIVE", "ACTIVE", "ACTIVE"]);
    alice.ok("server stop web1");
    alice.fails("server show web4", "No Server found for web4");
    alice.fails("server list --all-projects", "Policy doesn't allow");
    assert_eq!(estate.openstack("bob").column("server list", "Name"), [""; 0]);
    alice.ok("server delete --wait web1 web2 web3");
    assert_eq!(alice.ok("server list -f value"), "");
    estate.sdk("alice");
    estate.at_rest().await;
}
