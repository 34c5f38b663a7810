//! Random filters, and what each means of an entry.

use api_db::index::Entry;
use model::{Env, InstanceId, Timestamp};
use verbs::{Field, Query};

/// Kinds of filters.
pub const KINDS: u64 = 31;

/// The kind that asks for a zone.
pub const ZONE: u64 = 21;

/// Whether an entry is what was asked for, told by other means than the lists have.
pub type Test = Box<dyn Fn(&Entry) -> bool>;

/// A time as filters are held against it.
fn spaced(at: Timestamp) -> String {
    at.seconds_z().replace('T', " ").replace('Z', "")
}

/// A regular expression, and what it means of a name.
type Named = (&'static str, fn(&str) -> bool);

/// One of these.
pub fn any<'a, T>(env: &Env, of: &'a [T]) -> &'a T {
    &of[env.below(of.len() as u64) as usize]
}

/// Adds a random filter of a kind to a query and gives what it means.
pub fn narrow(env: &Env, kind: u64, known: &[Entry], query: &mut Query) -> Test {
    let one = any(env, known).clone();
    let some: Vec<InstanceId> = (0..4).map(|_| any(env, known).id).collect();
    let tags = |n: u64| -> Vec<String> {
        (0..=n).map(|_| (*any(env, &["red", "green", "blue", "gr"])).to_owned()).collect()
    };
    let mut pattern = |field, text: &str| query.patterns.push((field, text.to_owned()));
    match kind {
        0 => {
            let names: [Named; 7] = [
                ("web", |name| name.contains("web")),
                ("^db", |name| name.starts_with("db")),
                ("1$", |name| name.ends_with('1')),
                ("x.y", |name| name.contains("x.y")),
                ("[02468]$", |name| name.ends_with(['0', '2', '4', '6', '8'])),
                ("none", |_| false),
                ("", |_| true),
            ];
            let (text, test) = *any(env, &names);
            query.name = Some(text.to_owned());
            Box::new(move |entry| test(&entry.name))
        }
        1 => {
            let all = ["ACTIVE", "SHUTOFF", "ERROR", "BUILD", "PAUSED", "REBOOT"];
            let wanted: Vec<String> = (0..2).map(|_| (*any(env, &all)).to_owned()).collect();
            query.status.clone_from(&wanted);
            Box::new(move |entry| wanted.contains(&entry.last.status))
        }
        2 => {
            query.vm_state = Some(one.last.vm_state.clone());
            Box::new(move |entry| entry.last.vm_state == one.last.vm_state)
        }
        3 => {
            query.image = Some(one.image_id);
            Box::new(move |entry| entry.image == one.image)
        }
        4 => {
            query.flavor = Some(one.flavor.clone());
            Box::new(move |entry| entry.flavor == one.flavor)
        }
        5 => {
            query.host = Some(one.last.host.clone());
            // No name is no host, and narrows nothing.
            Box::new(move |entry| one.last.host.is_empty() || entry.last.host == one.last.host)
        }
        6 => {
            query.user = Some(one.user.clone());
            Box::new(move |entry| entry.user == one.user)
        }
        7 => {
            query.ids.clone_from(&some);
            Box::new(move |entry| some.contains(&entry.id))
        }
        8 => {
            query.since = Some(one.last.updated);
            Box::new(move |entry| entry.last.updated >= one.last.updated)
        }
        9 => {
            query.before = Some(one.last.updated);
            Box::new(move |entry| entry.last.updated <= one.last.updated)
        }
        10 => {
            let wanted = tags(1);
            query.tags.clone_from(&wanted);
            Box::new(move |entry| wanted.iter().all(|tag| entry.tags.contains(tag)))
        }
        11 => {
            let wanted = tags(1);
            query.tags_any.clone_from(&wanted);
            Box::new(move |entry| wanted.iter().any(|tag| entry.tags.contains(tag)))
        }
        12 => {
            let not = tags(1);
            query.not_tags.clone_from(&not);
            Box::new(move |entry| !not.iter().all(|tag| entry.tags.contains(tag)))
        }
        13 => {
            let not = tags(0);
            query.not_tags_any.clone_from(&not);
            Box::new(move |entry| !not.iter().any(|tag| entry.tags.contains(tag)))
        }
        14 => {
            let locked = env.below(2) == 0;
            query.locked = Some(locked);
            Box::new(move |entry| entry.locked == locked)
        }
        15 => {
            pattern(Field::Reservation, &format!("^{}$", one.reservation));
            Box::new(move |entry| entry.reservation == one.reservation)
        }
        16 => {
            pattern(Field::Description, "th$");
            Box::new(|entry| entry.description.ends_with("th"))
        }
        17 => {
            pattern(Field::Power, "[14]");
            Box::new(|entry| entry.last.power == 1 || entry.last.power == 4)
        }
        18 => {
            pattern(Field::Host, "-h1$");
            Box::new(|entry| entry.last.host.ends_with("-h1"))
        }
        19 => {
            pattern(Field::Hostname, "^node-[0-3]$");
            let hosts = ["node-0", "node-1", "node-2", "node-3"];
            Box::new(move |entry| hosts.contains(&entry.hostname.as_str()))
        }
        20 => {
            // What has no key pair matches nothing, not even what all texts match.
            let every = env.below(2) == 0;
            pattern(Field::KeyName, if every { "" } else { "top$" });
            Box::new(move |entry| entry.key_name == "laptop" || every && entry.key_name == "desk")
        }
        ZONE => {
            pattern(Field::Zone, "^nova$");
            Box::new(|entry| entry.last.zone == "nova")
        }
        22 => {
            pattern(Field::Ipv4, r"^10\..*[13579]$");
            Box::new(|entry| entry.last.address.ends_with(['1', '3', '5', '7', '9']))
        }
        23 => {
            // None has an address of version 6.
            pattern(Field::Ipv6, "");
            Box::new(|_| false)
        }
        24 => {
            pattern(Field::Created, &format!("^{}$", spaced(one.created)));
            Box::new(move |entry| spaced(entry.created) == spaced(one.created))
        }
        25 => {
            let wanted = one.last.launched.map(spaced);
            pattern(Field::Launched, wanted.as_deref().unwrap_or("^2"));
            Box::new(move |entry| {
                let launched = entry.last.launched.map(spaced);
                launched.is_some() && (wanted.is_none() || launched == wanted)
            })
        }
        26 => {
            pattern(Field::Terminated, "^2");
            Box::new(|entry| entry.last.terminated.is_some())
        }
        27 => {
            pattern(Field::Name, r"^db\d$");
            Box::new(|entry| entry.name.starts_with("db") && entry.name.len() == 3)
        }
        28 => {
            query.region = "r".into();
            Box::new(|entry| entry.region == "r")
        }
        29 => {
            // Only whoever asks for all projects may name one.
            let project = query.all_projects.then(|| one.project.clone());
            query.project.clone_from(&project);
            Box::new(move |entry| project.as_ref().is_none_or(|project| entry.project == *project))
        }
        _ => {
            // Nothing is being done to any of them.
            query.task_state = Some("powering-off".into());
            Box::new(|entry| entry.last.task_state == "powering-off")
        }
    }
}
