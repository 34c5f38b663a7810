//! Clients: each asks for one thing after the other, of instances of its own, and holds the answers
//! against what it was told before.

mod boots;
mod changes;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Caller, Context, FaultKind, InstanceId};
use uuid::Uuid;
use verbs::{Query, Seen, Verbs};

use super::clock::Dice;
use super::history::{History, Life, Word};

/// How many clients there are.
pub const CLIENTS: usize = 3;

/// Most instances that a client has at a time; its quota is one less.
const MOST: usize = 9;

/// Asks until it is told to be quiet.
pub async fn run(verbs: Verbs, history: Arc<History>, number: usize, dice: Dice) {
    let caller =
        Caller { user: format!("u{number}"), project: format!("p{number}"), roles: vec!["member".into()] };
    let client = Client { verbs, history, number, caller, dice, last: Mutex::default() };
    loop {
        tokio::time::sleep(client.dice.time(Duration::from_millis(900))).await;
        if client.history.is_quiet() {
            return;
        }
        client.act().await;
    }
}

struct Client {
    verbs: Verbs,
    history: Arc<History>,
    number: usize,
    caller: Caller,
    dice: Dice,
    /// What it changed last: often that is changed again, as soon as it may be.
    last: Mutex<String>,
}

fn context() -> Context {
    Context { request_id: "req-simulated".into(), trace_parent: String::new() }
}

impl Client {
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.dice.below(u64::MAX), self.dice.below(u64::MAX))
    }

    async fn act(&self) {
        let mine: Vec<Life> = self.history.lives().into_iter().filter(|l| l.client == self.number).collect();
        // What was asked for under a key, and nobody knows what came of it, is asked for again.
        if let Some(asked) = self.history.owed(self.number)
            && self.dice.percent(60)
        {
            return self.ask(asked).await;
        }
        let known: Vec<&Life> = mine.iter().filter(|life| life.id.is_some()).collect();
        let standing = known.iter().filter(|life| life.delete.is_none()).count();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let again = known.iter().find(|life| life.name == last && self.dice.percent(50)).copied();
        let any = || known[self.dice.below(known.len() as u64) as usize];
        let one = again.or_else(|| (!known.is_empty()).then(any));
        match (self.dice.below(100), one) {
            (0..30, _) if standing < MOST => self.boot().await,
            (0..45, Some(life)) if standing > 1 || life.delete.is_some() => self.delete(life).await,
            (45..75, Some(life)) => self.change(life).await,
            (75..88, Some(life)) => self.show(life).await,
            (88..100, _) => self.list().await,
            _ => self.boot().await,
        }
    }

    async fn delete(&self, life: &Life) {
        let Some(id) = life.id else { return };
        self.history.change(&life.name, |life| {
            life.delete.get_or_insert(Word::Perhaps);
        });
        self.history.note(format_args!("client{} deletes {}", self.number, life.name));
        match self.verbs.delete(&self.caller, &context(), id).await {
            Ok(()) => {
                self.history.change(&life.name, |life| life.delete = Some(Word::Yes));
                self.history
                    .note(format_args!("client{} was promised the end of {}", self.number, life.name));
            }
            Err(fault) if fault.kind == FaultKind::NotFound => self.not_found(life, "delete"),
            Err(fault) => {
                self.history.note(format_args!("client{} deletes {}: {fault:?}", self.number, life.name));
            }
        }
    }

    async fn show(&self, life: &Life) {
        let Some(id) = life.id else { return };
        match self.verbs.show(&self.caller, id).await {
            Ok(seen) => {
                let status = match &seen {
                    Seen::Fresh(instance) => instance.status(),
                    Seen::Dark(_) => "dark",
                };
                self.history.note(format_args!("client{} sees {}: {status}", self.number, life.name));
                // A cell that does not answer is told of by what was last heard of it.
                if life.gone && matches!(seen, Seen::Fresh(_)) {
                    self.history.lie(format!("{} was gone and is {status}", life.name));
                }
            }
            Err(fault) if fault.kind == FaultKind::NotFound => self.not_found(life, "show"),
            Err(fault) => {
                self.history.note(format_args!("client{} sees {}: {fault:?}", self.number, life.name));
            }
        }
    }

    /// Only what was asked to be deleted may be gone, and then for good.
    fn not_found(&self, life: &Life, verb: &str) {
        self.history.note(format_args!("client{} finds {} gone ({verb})", self.number, life.name));
        let deleted = self.history.life(&life.name).is_some_and(|life| life.delete.is_some());
        if !deleted {
            self.history.lie(format!("{} is gone ({verb}) and nobody deleted it", life.name));
        }
        self.history.change(&life.name, |life| life.gone = true);
    }

    /// A list has everything that was promised and that nobody asked to delete, and nothing that was gone.
    async fn list(&self) {
        let before = self.history.lives();
        let standing = self.history.standing(self.number);
        match self.verbs.list(&self.caller, &Query::default()).await {
            Ok(page) => {
                let ids: Vec<InstanceId> = page.items.iter().map(Seen::id).collect();
                let set: BTreeSet<InstanceId> = ids.iter().copied().collect();
                self.history.note(format_args!("client{} lists {} instances", self.number, ids.len()));
                if set.len() < ids.len() {
                    self.history.lie("a list has an instance twice".to_owned());
                }
                let now = self.history.standing(self.number);
                for life in standing.iter().filter(|life| now.iter().any(|other| other.name == life.name)) {
                    if life.id.is_some_and(|id| !set.contains(&id)) {
                        self.history.lie(format!("{} is missing in a list", life.name));
                    }
                }
                let fresh = |id: InstanceId| {
                    page.items.iter().any(|item| item.id() == id && matches!(item, Seen::Fresh(_)))
                };
                for life in before.iter().filter(|life| life.gone) {
                    if life.id.is_some_and(fresh) {
                        self.history.lie(format!("{} was gone and is in a list", life.name));
                    }
                }
                for item in &page.items {
                    if !item.name().starts_with(&format!("c{}-", self.number)) {
                        self.history.lie(format!("{} is in another project's list", item.name()));
                    }
                }
            }
            Err(fault) => self.history.note(format_args!("client{} lists: {fault:?}", self.number)),
        }
    }
}
