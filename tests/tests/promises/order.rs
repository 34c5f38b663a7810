//! Several clients of two API processes change and read one instance at the same time: what they are told of it, by
//! shows and by lists, is what one of them after the other would have been told.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::instance::Action;
use model::{Env, Fault, FaultKind, Instance, InstanceId, Intent};
use tests::cloud::{Cloud, Plan, Role, caller, context};
use verbs::{Amendment, Query, Seen, Verbs};

use crate::register::{Op, What, is_linearizable};
use crate::{at_rest, boot, reaches};

/// How often each client asks.
const CALLS: usize = 24;
/// Clients of each API process.
const CLIENTS: usize = 3;

/// What was done, of one value.
#[derive(Default)]
struct History {
    ops: Mutex<(u64, Vec<Op>)>,
}

impl History {
    fn moment(&self) -> u64 {
        let mut inner = self.ops.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += 1;
        inner.0
    }

    fn add(&self, op: Op) {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).1.push(op);
    }

    /// Does and writes down what may change the value; what was surely not done is none of its history.
    async fn write(&self, value: String, call: impl Future<Output = Result<(), Fault>>) {
        let asked = self.moment();
        let told = call.await;
        let answered = match told.map_err(|fault| fault.kind) {
            Ok(()) => Some(self.moment()),
            Err(FaultKind::Unavailable | FaultKind::Timeout) => None,
            Err(_) => return,
        };
        self.add(Op { asked, answered, what: What::Write(value) });
    }

    /// Asks for the value and writes down what was told.
    async fn read(&self, call: impl Future<Output = Option<String>>) {
        let asked = self.moment();
        if let Some(value) = call.await {
            self.add(Op { asked, answered: Some(self.moment()), what: What::Read(value) });
        }
    }

    /// Holds it against the order that there must be, if it was written to so often at the least.
    fn holds(self, first: &str, least: usize) {
        let (_, ops) = self.ops.into_inner().unwrap_or_else(PoisonError::into_inner);
        let writes = ops.iter().filter(|op| matches!(op.what, What::Write(_))).count();
        assert!(writes >= least && ops.len() > writes, "{writes} of {} are writes", ops.len());
        assert!(is_linearizable(first, &ops), "no order of all this makes sense: {ops:#?}");
    }
}

/// A client of one of the API processes.
struct Client {
    verbs: Verbs,
    env: Env,
    id: InstanceId,
    number: usize,
}

fn name(instance: &Instance) -> String {
    instance.spec.name.clone()
}

fn intent(instance: &Instance) -> String {
    instance.intent.as_str().to_owned()
}

impl Client {
    async fn rename(&self, name: String) -> Result<(), Fault> {
        let amendment = Amendment::Describe {
            name: Some(name),
            description: None,
            hostname: None,
            access_ipv4: None,
            access_ipv6: None,
            disk_auto: None,
        };
        self.verbs.amend(&caller(), &context(), self.id, amendment).await.map(drop)
    }

    async fn act(&self, wish: Intent) -> Result<(), Fault> {
        let action = if wish == Intent::Stop { Action::Stop } else { Action::Start };
        self.verbs.act(&caller(), &context(), self.id, action).await
    }

    async fn shown(&self, value: fn(&Instance) -> String) -> Option<String> {
        match self.verbs.show(&caller(), self.id).await {
            Ok(Seen::Fresh(instance)) => Some(value(&instance)),
            _ => None,
        }
    }

    async fn listed(&self, value: fn(&Instance) -> String) -> Option<String> {
        let page = self.verbs.list(&caller(), &Query::default()).await.ok()?;
        page.items.iter().find_map(|seen| match seen {
            Seen::Fresh(instance) if instance.id == self.id => Some(value(instance)),
            _ => None,
        })
    }

    async fn ask(&self, names: &History, intents: &History) {
        for n in 0..CALLS {
            tokio::time::sleep(Duration::from_millis(self.env.below(12))).await;
            let new = format!("n{}-{n}", self.number);
            let wish = if self.env.below(2) == 0 { Intent::Stop } else { Intent::Run };
            // Not all the same at the same time.
            match (n + self.number) % 6 {
                0 => names.write(new.clone(), self.rename(new)).await,
                1 => names.read(self.shown(name)).await,
                2 => names.read(self.listed(name)).await,
                3 => intents.read(self.shown(intent)).await,
                4 => intents.read(self.listed(intent)).await,
                _ => intents.write(wish.as_str().to_owned(), self.act(wish)).await,
            }
        }
    }
}

async fn what_is_told_of_one_instance_has_one_order(postgres: bool) {
    let mut cloud = Cloud::start(Plan { cells: 1, hosts: 1, postgres, ..Plan::default() }).await;
    let id = boot(&cloud, "first").await;
    reaches(&cloud, id, "ACTIVE").await;
    let apis = [cloud.verbs.clone(), cloud.another_api().await];
    let (names, intents) = (History::default(), History::default());
    let clients: Vec<Client> = (0..CLIENTS * apis.len())
        .map(|number| Client { verbs: apis[number % apis.len()].clone(), env: cloud.env.clone(), id, number })
        .collect();
    let asked = futures::future::join_all(clients.iter().map(|client| client.ask(&names, &intents)));
    // Whoever works on it dies meanwhile.
    let deaths = async {
        for _ in 0..3 {
            cloud.conductors[0].drain(..).for_each(Role::kill);
            cloud.add_conductor(0);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    futures::future::join(asked, deaths).await;
    names.holds("first", CALLS / 2);
    // What its state forbids is no write.
    intents.holds(Intent::Run.as_str(), 1);
    eventually_settles(&cloud, id).await;
}

/// What was asked last is done, and nothing else.
async fn eventually_settles(cloud: &Cloud, id: InstanceId) {
    at_rest(cloud).await;
    let seen = crate::becomes(cloud, id, "at rest", |seen| seen.task.is_none()).await;
    assert_eq!(seen.status(), if seen.intent == Intent::Run { "ACTIVE" } else { "SHUTOFF" });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_one_instance_has_one_order_on_sqlite() {
    what_is_told_of_one_instance_has_one_order(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_one_instance_has_one_order_on_postgresql() {
    what_is_told_of_one_instance_has_one_order(true).await;
}
