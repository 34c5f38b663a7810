//! The configuration files of an estate, and the list of its processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use model::{Env, HostId};

use super::{Engine, Plan, Role};
use crate::{Folder, free_port, skep};

/// Users: name, project, role.
pub const USERS: [(&str, &str, &str); 3] =
    [("operator", "operations", "admin"), ("alice", "web", "member"), ("bob", "db", "member")];

/// A user's token.
pub fn token(user: &str) -> String {
    format!("token-of-{user}-0123456789")
}

/// A `clouds.yaml` for a user.
pub fn clouds(url: &str, user: &str) -> String {
    format!(
        "clouds:\n  {user}:\n    auth_type: admin_token\n    auth: {{endpoint: '{url}/v2.1', token: '{}'}}\n    \
         compute_endpoint_override: '{url}/compute/v2.1'\n    image_endpoint_override: '{url}/image'\n    \
         network_endpoint_override: '{url}/network'\n    \
         identity_endpoint_override: '{url}/identity/v3'\n",
        token(user)
    )
}

/// A `clouds.yaml` for a user of the default domain.
pub fn clouds_by_password(url: &str, user: &str, password: &str, project: &str) -> String {
    format!(
        "clouds:\n  {user}:\n    region_name: RegionOne\n    auth: {{auth_url: '{url}/identity', username: '{user}', \
         password: '{password}', project_name: '{project}', user_domain_id: default, project_domain_id: default}}\n"
    )
}

/// A `clouds.yaml` for a program.
pub fn clouds_by_credential(url: &str, id: &str, secret: &str) -> String {
    format!(
        "clouds:\n  program:\n    region_name: RegionOne\n    auth_type: v3applicationcredential\n    \
         auth: {{auth_url: '{url}/identity', application_credential_id: '{id}', \
         application_credential_secret: '{secret}'}}\n"
    )
}

/// The URLs by which the processes of an estate reach what they need.
pub struct Ways {
    pub api: String,
    pub cell0: String,
    pub cells: Vec<String>,
    /// The cells' databases as the API level reaches them, where that is another way.
    pub mapped: Vec<String>,
    /// Ports of the endpoints of single regions.
    pub regions: Vec<u16>,
    /// That of the API level, then those of the cells.
    pub vhosts: Vec<String>,
    /// Those of the cells' engines; none if they are pretended.
    pub engines: Vec<String>,
}

/// Writes what the processes of an estate read.
pub struct Papers<'a> {
    pub folder: &'a Folder,
    pub plan: &'a Plan,
}

impl Papers<'_> {
    /// Writes all files.
    pub fn write(&self, ways: &Ways) {
        let mut text = format!(
            "[api]\nimages = ['skep/web:1']\n[api_database]\nurl = '{}'\n[cell0.database]\nurl = '{}'\n\
             [api_transport]\nurl = '{}'\n[router]\nconnections = 4\n",
            ways.api, ways.cell0, ways.vhosts[0]
        );
        for (user, project, role) in USERS {
            let token = token(user);
            let _ = write!(
                text,
                "[[api.tokens]]\ntoken = '{token}'\nuser = '{user}'\nproject = '{project}'\nroles = ['{role}']\n"
            );
        }
        for (n, port) in ways.regions.iter().enumerate() {
            let region = self.plan.region(n + 1);
            let _ = write!(text, "[[api.regional]]\nregion = '{region}'\nlisten = '127.0.0.1:{port}'\n");
        }
        self.put("api.toml", &text);
        for (n, (cell, vhost)) in ways.cells.iter().zip(&ways.vhosts[1..]).enumerate() {
            self.cell(n + 1, (cell, vhost), ways.engines.get(n).map(String::as_str), "open");
        }
    }

    /// Writes the files of a cell, counted from 1, by the URLs of its database and broker, whose hosts have the engine
    /// of that URL and need this to enrol; gives its name.
    pub fn cell(
        &self,
        n: usize,
        (database, vhost): (&str, &str),
        engine: Option<&str>,
        join: &str,
    ) -> String {
        let name = format!("cell{n}");
        let head = format!("[cell]\nname = '{name}'\n[cell.transport]\nurl = '{vhost}'\n");
        let conductor = format!(
            "{head}[cell.database]\nurl = '{database}'\n[conductor]\nheartbeat_ms = 1000\nsilence_ms = 10000\n\
             join = '{join}'\n"
        );
        self.put(&format!("{name}.toml"), &conductor);
        for (host, _) in self.hosts().filter(|(_, home)| *home == name) {
            let agent = head.clone() + &self.agent(&host, engine);
            self.put(&format!("{host}.toml"), &agent);
        }
        name
    }

    fn agent(&self, host: &str, engine: Option<&str>) -> String {
        let slots = self.plan.slots;
        let state = self.folder.join(host);
        if let Err(error) = std::fs::create_dir_all(&state) {
            panic!("cannot create {}: {error}", state.display());
        }
        let engine = match (self.plan.engine, engine) {
            // One engine under all hosts: they share its ports.
            (Engine::Docker, Some(url)) => {
                format!("engine = 'docker'\nengine_url = '{url}'\nengine_name = 'shared'")
            }
            _ => "engine = 'scripted'".to_owned(),
        };
        format!(
            "[agent]\nhost_name = '{host}'\naddress = '127.0.0.1'\nstate_dir = '{}'\n{engine}\n\
             join_token_file = '{}.join'\n\
             heartbeat_ms = 1000\nstop_grace_ms = 2000\n\
             capacity = {{ vcpus = {slots}, memory_mib = {}, instances = {slots} }}\n",
            state.display(),
            state.display(),
            slots * 64
        )
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            panic!("cannot write {}: {error}", path.display());
        }
    }

    /// Names of hosts and of their cells, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let hosts = self.plan.hosts;
        let cells = (1..=self.plan.cells).map(|cell| format!("cell{cell}"));
        cells.flat_map(move |cell| (1..=hosts).map(move |n| (format!("{cell}-h{n}"), cell.clone())))
    }

    /// The id that a host has, or will have when its agent starts.
    pub fn host_id(&self, host: &str) -> HostId {
        match agent::host_id(&self.folder.join(host), &Env::system()) {
            Ok(id) => id,
            Err(fault) => panic!("{host} has no id: {fault}"),
        }
    }

    /// The processes, none of them started, by name.
    pub fn roles(&self, apis: &[u16]) -> BTreeMap<String, Role> {
        let mut roles = BTreeMap::new();
        let mut add = |name: String, verb, config: String, own: Option<(&'static str, String)>| {
            let health = free_port();
            let mut variables = vec![("SKEP__HEALTH__LISTEN", format!("127.0.0.1:{health}"))];
            variables.extend(own);
            roles.insert(name, Role { verb, config, variables, health, process: None });
        };
        for (n, port) in apis.iter().enumerate() {
            let listen = ("SKEP__API__LISTEN", format!("127.0.0.1:{port}"));
            add(format!("api{}", n + 1), "api", "api.toml".into(), Some(listen));
        }
        for n in 1..=self.plan.superconductors {
            let name = format!("superconductor{n}");
            let own = ("SKEP__SUPERCONDUCTOR__NAME", name.clone());
            add(name, "superconductor", "api.toml".into(), Some(own));
        }
        for n in 1..=self.plan.cells {
            for k in 1..=self.plan.conductors {
                let another = if k == 1 { String::new() } else { format!("-{k}") };
                add(format!("conductor-cell{n}{another}"), "conductor", format!("cell{n}.toml"), None);
            }
        }
        for (host, _) in self.hosts() {
            add(format!("agent-{host}"), "agent", format!("{host}.toml"), None);
        }
        roles
    }
}

/// Makes the schemas and maps the cells, with the commands that an operator uses.
pub fn prepare(folder: &Folder, plan: &Plan, ways: &Ways) {
    let api = folder.join("api.toml").display().to_string();
    must(&["db", "sync", "--config", &api]);
    for (n, (cell, vhost)) in ways.cells.iter().zip(&ways.vhosts[1..]).enumerate() {
        let (name, region) = (format!("cell{}", n + 1), plan.region(n + 1));
        must(&["db", "sync", "--config", &folder.join(format!("{name}.toml")).display().to_string()]);
        let urls = ["--database-url", ways.mapped.get(n).unwrap_or(cell), "--transport-url", vhost];
        let mut create = vec!["cell", "create", "--config", &api, "--name", &name, "--region", &region];
        // Their roles start later, all at once.
        create.extend(["--state", "active"]);
        create.extend(urls);
        must(&create);
    }
}

pub fn must(arguments: &[&str]) {
    let done = Command::new("timeout").arg("60").arg(skep()).args(arguments).env_clear().output();
    match done {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            panic!(
                "skep {}: {}\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
        }
        Err(error) => panic!("cannot start skep: {error}"),
    }
}
