//! One more cell, of which nothing is there at first but a server of each kind and files that say where.

use super::config::Papers;
use super::{Estate, Plan};
use crate::services::{Database, Services, Vhost};

/// Where a new cell is to be made.
pub struct Site {
    /// Its name.
    pub name: String,
    /// The URL of its database, which is not there yet. Dropped with this.
    pub database: Database,
    /// Its vhost, empty.
    pub vhost: Vhost,
}

impl Estate {
    /// Writes the configuration of one more cell, and knows its roles from here on; none of them runs.
    ///
    /// # Panics
    /// If something cannot be made.
    pub fn site(&mut self) -> Site {
        let shared = Services::shared();
        let database = shared.postgres().database("new");
        let name = database.url().rsplit('/').next().unwrap_or_default();
        self.api.query(&format!("DROP DATABASE \"{name}\""));
        let vhost = shared.rabbit().vhost("new");
        self.plan = Plan { cells: self.plan.cells + 1, ..self.plan };
        let papers = Papers { folder: &self.folder, plan: &self.plan };
        let docker = self.containers.as_ref().map(|containers| containers.docker.url());
        let name = papers.cell(self.plan.cells, (database.url(), vhost.url()), docker, "token");
        if let Some(containers) = &mut self.containers {
            let hosts = papers.hosts().filter(|(_, home)| *home == name);
            containers.hosts.extend(hosts.map(|(host, _)| papers.host_id(&host)));
        }
        for (role, made) in papers.roles(&self.apis) {
            self.roles.entry(role).or_insert(made);
        }
        Site { name, database, vhost }
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.join(name)
    }
}
