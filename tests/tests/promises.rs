//! Promises of docs/guarantees.md that no other story is about: hosts that are late or away, the order of what is asked
//! of one instance, and what another release has written.

#[path = "promises/hosts.rs"]
mod hosts;
#[path = "promises/order.rs"]
mod order;
#[path = "promises/register.rs"]
mod register;
#[path = "promises/releases.rs"]
mod releases;

use std::time::Duration;

use model::{FaultKind, Instance, InstanceId};
use tests::cloud::{Cloud, caller, context, wish};
use tests::eventually;
use verbs::Seen;

/// The longest that anything takes, on a machine that is busy.
const LONG: Duration = Duration::from_secs(90);

async fn boot(cloud: &Cloud, name: &str) -> InstanceId {
    cloud.verbs.boot(&caller(), &context(), wish(name)).await.expect("is accepted")[0].id
}

/// Waits until an instance is as `look` says.
async fn becomes(
    cloud: &Cloud,
    id: InstanceId,
    what: &str,
    look: impl Fn(&Instance) -> bool,
) -> Box<Instance> {
    eventually(LONG, &format!("{id} is {what}"), async || match cloud.verbs.show(&caller(), id).await {
        Ok(Seen::Fresh(instance)) if look(&instance) => Ok(instance),
        other => Err(format!("{other:?}")),
    })
    .await
}

async fn reaches(cloud: &Cloud, id: InstanceId, status: &str) -> Box<Instance> {
    becomes(cloud, id, status, |instance| instance.status() == status && instance.task.is_none()).await
}

async fn delete(cloud: &Cloud, id: InstanceId) {
    cloud.verbs.delete(&caller(), &context(), id).await.expect("is accepted");
}

/// Waits until an instance is gone.
async fn is_gone(cloud: &Cloud, id: InstanceId) {
    eventually(LONG, &format!("{id} is gone"), async || match cloud.verbs.show(&caller(), id).await {
        Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn at_rest(cloud: &Cloud) {
    eventually(LONG, "the cloud is at rest and nothing is violated", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}
