//! Asking for instances, some of them under a key, as the edge does it: what became of such a request can be asked again.

use model::{ContainerSpec, Fault, FaultKind, InstanceId, RestartPolicy};
use verbs::{Accepted, Answer, Boot, Key, Known};

use super::super::history::{Asked, Word};
use super::{Client, context};

/// Names and ids of instances.
type Told = Vec<(String, InstanceId)>;

fn wish(asked: &Asked) -> Boot {
    Boot {
        name: asked.base.clone(),
        image: asked.image.parse().expect("legal"),
        flavor: asked.flavor.clone(),
        container: ContainerSpec { restart: RestartPolicy::Always, ..ContainerSpec::default() },
        metadata: Default::default(),
        zone: None,
        region: String::new(),
        description: None,
        extra: Default::default(),
        count: asked.names.len() as u32,
    }
}

impl Client {
    pub(super) async fn boot(&self) {
        let base = self.history.name(self.number);
        let names = match self.dice.percent(10) {
            false => vec![base.clone()],
            true => (1..=2).map(|n| format!("{base}-{n}")).collect(),
        };
        let asked = Asked {
            base,
            names,
            flavor: if self.dice.percent(8) { "5" } else { "1" }.to_owned(),
            image: if self.dice.percent(20) { "remote/web:1" } else { "skep/web:1" }.to_owned(),
            keyed: self.dice.percent(50),
        };
        self.history.begin(self.number, &asked);
        self.ask(asked).await;
    }

    /// Asks, for the first time or again.
    pub(super) async fn ask(&self, asked: Asked) {
        let (number, base) = (self.number, &asked.base);
        self.history.note(format_args!("client{number} boots {base}, with a key: {}", asked.keyed));
        let told = match asked.keyed {
            false => {
                let booted = self.verbs.boot(&self.caller, &context(), wish(&asked)).await;
                booted.map(|all| all.into_iter().map(|one| (one.spec.name, one.id)).collect())
            }
            true if self.dice.percent(10) => self.twice(&asked).await,
            true => self.once(&asked).await,
        };
        match told {
            Ok(told) => {
                for (name, id) in &told {
                    self.history.change(name, |life| {
                        (life.id, life.create, life.run) = (Some(*id), Word::Yes, Some(true));
                    });
                }
                self.history.settled(base);
                self.history.note(format_args!("client{number} was promised {base}"));
            }
            Err(fault) => {
                for name in &asked.names {
                    self.history.change(name, |life| life.create = Word::of(&fault));
                }
                if Word::of(&fault) == Word::No {
                    self.history.settled(base);
                }
                self.history.note(format_args!("client{number} boots {base}: {fault:?}"));
            }
        }
    }

    /// Two attempts at a time: what is said to both is the same.
    async fn twice(&self, asked: &Asked) -> Result<Told, Fault> {
        match futures::join!(self.once(asked), self.once(asked)) {
            (Ok(one), Ok(other)) => {
                if one != other {
                    self.history
                        .lie(format!("two attempts at {} were told {one:?} and {other:?}", asked.base));
                }
                self.history.count("two attempts at a time are promised");
                Ok(one)
            }
            (Ok(told), Err(fault)) | (Err(fault), Ok(told)) => {
                if Word::of(&fault) == Word::No {
                    self.history.lie(format!("of two attempts at {} one was refused: {fault:?}", asked.base));
                }
                Ok(told)
            }
            (Err(one), Err(other)) => Err(if Word::of(&one) == Word::Perhaps { one } else { other }),
        }
    }

    /// As the edge answers a create with a key (`api`, `edge::once::create`).
    async fn once(&self, asked: &Asked) -> Result<Told, Fault> {
        let by = self.uuid();
        let route = ["POST", "/compute/v2.1/servers", &asked.base];
        let key = Key::new(&self.caller, &context(), by, &route, &[asked.flavor.as_bytes()]);
        if let Some(known) = self.verbs.known(&key).await? {
            return self.again(asked, known);
        }
        let made = self.make(asked, &key).await;
        if let Err(fault) = &made
            && Word::of(fault) == Word::No
        {
            let refusal = answer(400, fault.message.clone());
            // Nothing was done, so whoever asks again gets an answer of its own.
            let _ = self.verbs.remember(&key, refusal).await;
        }
        made
    }

    async fn make(&self, asked: &Asked, key: &Key) -> Result<Told, Fault> {
        let prepared = self.verbs.prepare(&self.caller, &context(), wish(asked)).await?;
        let told: Told = prepared.instances().map(|one| (one.spec.name, one.id)).collect();
        let body = told.iter().map(|(name, id)| format!("{name} {id}\n")).collect();
        let keyed = Some((key, answer(202, body)));
        match self.verbs.accept(&self.caller, &context(), &prepared, keyed).await? {
            Accepted::Now => Ok(told),
            Accepted::Before(known) => self.again(asked, known),
        }
    }

    /// What was answered before.
    fn again(&self, asked: &Asked, known: Known) -> Result<Told, Fault> {
        let answer = match known {
            Known::Answered(answer) => answer,
            Known::Held => return Err(Fault::unavailable("it is being worked on")),
            Known::Other => {
                self.history.lie(format!("the key of {} is said to be of another request", asked.base));
                return Err(Fault::unavailable("of another request"));
            }
        };
        self.history.count("a request is told again");
        let body = String::from_utf8(answer.body).expect("is text");
        self.history.note(format_args!("client{} is told again: {}", self.number, answer.status));
        match answer.status {
            202 => Ok(body.lines().filter_map(told).collect()),
            _ => Err(Fault::new(FaultKind::Invalid, body)),
        }
    }
}

fn answer(status: u16, body: String) -> Answer {
    Answer { status, headers: Default::default(), body: body.into_bytes(), request_id: context().request_id }
}

fn told(line: &str) -> Option<(String, InstanceId)> {
    let (name, id) = line.split_once(' ')?;
    Some((name.to_owned(), InstanceId(id.parse().ok()?)))
}
