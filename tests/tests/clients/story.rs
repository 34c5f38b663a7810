//! A project's day at the command line: what `openstack` says of servers, images, networks and all that is about
//! them, and what the cloud's administrator does meanwhile.

mod administration;
mod images;
mod servers;
mod sizes;

use std::time::Duration;

use tests::estate::Plan;
use tests::{Estate, OpenStack, eventually_blocking};

/// The longest until a server is in a status.
const REACHES: Duration = Duration::from_secs(120);

/// Who types.
struct Story {
    /// The cloud's administrator.
    admin: OpenStack,
    /// A member of the project `shop`.
    ana: OpenStack,
    /// A member of another one.
    bob: OpenStack,
}

impl Story {
    /// Asks until a server of Ana's is in a status.
    fn until(&mut self, server: &str, status: &str) {
        eventually_blocking(REACHES, &format!("{server} is {status}"), || {
            let said = self.ana.run(&format!("server show -f value -c status {server}"));
            if said.out.trim() == status { Ok(()) } else { Err(said.out + &said.err) }
        });
    }
}

/// The text of a member of what a command says.
fn text(said: &serde_json::Value, name: &str) -> String {
    said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_day_at_the_command_line() {
    let estate = Estate::start(Plan::default()).await;
    let mut admin = estate.administrator();
    admin.ok("project create shop");
    admin.ok("user create --project shop --password s3cret-of-ana ana");
    admin.ok("role add --user ana --project shop member");
    let ana = estate.by_password("ana", "s3cret-of-ana", "shop");
    let mut story = Story { admin, ana, bob: estate.openstack("bob") };
    sizes::flavors_and_keys(&mut story);
    images::images(&mut story);
    images::networks(&mut story);
    servers::a_life(&mut story);
    servers::what_no_container_can(&mut story);
    administration::hosts_and_aggregates(&mut story);
    administration::quotas_and_usage(&mut story);
    servers::the_end(&mut story);
    let commands = story.admin.commands() + story.ana.commands() + story.bob.commands();
    println!("{commands} commands");
    assert!(commands >= 120, "{commands} commands are too few to speak of clients that work");
    estate.at_rest().await;
}
