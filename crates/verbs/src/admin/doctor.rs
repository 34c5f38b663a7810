//! The doctor: whether what the API database and the cells' databases say fits together, and with what the hosts
//! said last.
//!
//! Two databases are never read at one moment, so whatever looks wrong is looked at again before it is
//! told of, and what a task works on is left alone.

use std::time::Duration;

use cell_db::archive::Orphan;
use cell_db::{archive, keys, roster};
use model::{At, Cell};
use router::Which;
use serde::Serialize;
use sql::{Error, Work};

use super::{Admin, By, CellView, Denied, Found, HostView, HostsView, only_admins, reason, restored};

/// Instances that are read at a time.
pub(super) const PAGE: i64 = 500;
/// Between the first look and the second.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// How often a host that is not mapped is looked at again: one that registers is mapped in the superconductors' next
/// round, within 2 s.
const LOOKS: u32 = 5;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is; codes do not change.
    pub code: &'static str,
    /// The cell that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The instance, host or task that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub fix: String,
    /// Whether the doctor may mend it.
    pub safe: bool,
    /// Whether it was mended now.
    pub fixed: bool,
}

/// What came of a visit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was found, by code.
    pub findings: Vec<Finding>,
    /// Whether something could not be looked at.
    pub partial: bool,
}

/// What one cell's database says.
#[derive(Clone, Debug, Default)]
struct Inside {
    uneven: Vec<(model::HostId, String)>,
    orphans: Vec<Orphan>,
    hosts: Vec<roster::Detail>,
    refused: Vec<keys::Refused>,
    restored: restored::Inside,
}

impl Admin {
    /// Looks at everything; with `fix` mends what can be mended without a doubt. Cells that do not answer are told
    /// of and keep nothing from the others.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn doctor(&self, by: &By, fix: bool) -> Result<Diagnosis, Denied> {
        only_admins(by)?;
        let cells = self.mappings().await?;
        let mut found = Diagnosis::default();
        let views = self.cells_view(by, false, false).await?;
        if !cells.iter().any(Cell::is_cell0) {
            found.add(
                "C003",
                None,
                None,
                "cell0 is not mapped: what fits nowhere cannot be buried",
                "skep db sync",
            );
        }
        let asked = self.ask(cells.clone(), |tx| -> Work<'_, Inside> {
            Box::pin(async move {
                Ok(Inside {
                    uneven: roster::uneven(tx).await?,
                    orphans: archive::orphans(tx).await?,
                    hosts: roster::hosts(tx).await?,
                    refused: keys::refused(tx).await?,
                    restored: restored::inside(tx).await?,
                })
            })
        });
        // At the same time, so that a cell that does not answer is waited for once.
        let (asked, hosts) = futures::join!(asked, self.hosts_view(by, None));
        for (cell, inside) in asked {
            match inside {
                Ok(inside) => self.examine_cell(by, &cell, &views, inside, fix, &mut found).await?,
                Err(error) => found.dark(&cell, &error),
            }
        }
        self.examine_hosts(by, hosts?, fix, &mut found).await?;
        self.examine_above(by, &cells, fix, &mut found).await?;
        self.examine_keys(&cells, &mut found);
        found.findings.sort_by(|a, b| (a.code, &a.cell, &a.subject).cmp(&(b.code, &b.cell, &b.subject)));
        Ok(found)
    }

    async fn examine_cell(
        &self,
        by: &By,
        cell: &Cell,
        views: &[CellView],
        inside: Inside,
        fix: bool,
        found: &mut Diagnosis,
    ) -> Result<(), Denied> {
        let name = Some(cell.name.as_str());
        for (host, host_name) in inside.uneven {
            let what = format!("what host {host_name} has used is not the sum of its allocations");
            found.add(
                "A002",
                name,
                Some(host.to_string()),
                &what,
                "tell the developers; claims there may be wrong",
            );
        }
        for orphan in &inside.orphans {
            let what = format!("host {} keeps amounts for an instance that is not there", orphan.host_name);
            let fixed = fix && self.free_orphan(by, cell, orphan).await.unwrap_or(false);
            let subject = Some(orphan.instance.to_string());
            found.mended("A001", name, subject, &what, "skep-manage placement audit --delete", fixed);
        }
        examine_restored(cell, &inside.restored, found);
        let silent = inside.hosts.iter().filter(|detail| detail.silent);
        for detail in silent {
            let what = format!(
                "the agent of host {} is silent, with {} instances on it",
                detail.host.name, detail.instances
            );
            let subject = Some(detail.host.id.to_string());
            found.add("H003", name, subject, &what, "start the agent, or look after the machine");
        }
        for keys::Refused { host, name: host_name, reason, .. } in inside.refused {
            let what = format!("an agent that calls itself {host_name} is refused: {reason}");
            found.add("H004", name, Some(host.to_string()), &what, "do what the reason says");
        }
        let mapped = views.iter().any(|view| view.id == cell.id);
        if mapped {
            self.compare(cell, found).await?;
        }
        Ok(())
    }

    async fn examine_hosts(
        &self,
        by: &By,
        mut seen: HostsView,
        fix: bool,
        found: &mut Diagnosis,
    ) -> Result<(), Denied> {
        seen.hosts.retain(is_uneven);
        for look in 0..LOOKS {
            if seen.hosts.is_empty() || (look > 0 && seen.hosts.iter().all(|host| host.mapped)) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            let mut again = self.hosts_view(by, None).await?;
            again.hosts.retain(|host| is_uneven(host) && seen.hosts.iter().any(|first| first.id == host.id));
            seen = again;
        }
        let scan = match fix && seen.hosts.iter().any(|host| !host.mapped) {
            true => Some(self.discover_hosts(by, None).await?),
            false => None,
        };
        for host in seen.hosts {
            let (cell, subject) = (Some(host.cell.as_str()), Some(host.id.to_string()));
            if !host.mapped {
                let what = format!("host {} is not mapped", host.name);
                let mapped = scan.as_ref().is_some_and(|scan| {
                    let all = scan.cells.iter().flat_map(|cell| &cell.hosts);
                    all.into_iter().any(|(id, _, is)| *id == host.id && !matches!(is, Found::Elsewhere(_)))
                });
                found.mended("H001", cell, subject, &what, "skep host discover", mapped);
            } else {
                let what = format!("host {} is mapped, and its cell does not know it", host.name);
                found.add("H002", cell, subject, &what, "skep host delete HOST, if it does not come back");
            }
        }
        Ok(())
    }

    async fn examine_above(
        &self,
        by: &By,
        cells: &[Cell],
        fix: bool,
        found: &mut Diagnosis,
    ) -> Result<(), Denied> {
        if self.held_since().await?.is_some() {
            let what =
                "the API database was restored: no task is worked on before it was compared with the cells";
            found.add("R003", None, None, what, "skep-manage api_db restored --confirm");
        }
        self.examine_quotas(by, fix, found).await?;
        for task in self.tasks(by, true, PAGE).await? {
            let what = format!("a task '{}' was set aside: {}", task.kind, task.fault.unwrap_or_default());
            found.add(
                "T001",
                None,
                Some(task.instance.to_string()),
                &what,
                "run a release that knows it, then skep task retry TASK",
            );
        }
        for cell in cells {
            for process in self.processes(by, &cell.id.to_string()).await? {
                if let (true, Some(fault)) = (process.alive, process.fault) {
                    let what = format!("{} {} cannot use the mapping: {fault}", process.kind, process.name);
                    found.add("P001", Some(&cell.name), None, &what, "mend the secret, or skep cell set");
                }
            }
        }
        Ok(())
    }

    /// Mappings that are not kept as they would be now. Without keys that is as it was meant.
    fn examine_keys(&self, cells: &[Cell], found: &mut Diagnosis) {
        for cell in cells {
            let current = Which::ALL.map(|which| self.secrets.is_current(cell, which));
            match current.into_iter().collect::<Result<Vec<bool>, _>>() {
                Ok(current) if current.contains(&false) => {
                    let what = "its URLs are not sealed with the first key, which is the one to be used now";
                    found.add("K001", Some(&cell.name), None, what, "skep cell rotate-keys");
                }
                Ok(_) => {}
                Err(why) => {
                    found.add("K002", None, None, &why.message, "mend the file that router.keys_file names");
                    return;
                }
            }
        }
    }
}

/// What a restored database waits for, and what hosts have that it does not know.
fn examine_restored(cell: &Cell, inside: &restored::Inside, found: &mut Diagnosis) {
    let name = Some(cell.name.as_str());
    if inside.since.is_some() {
        let hosts = match inside.unheard.as_slice() {
            [] => "all hosts were heard out".to_owned(),
            hosts => format!("hosts that have yet to tell what they have: {}", hosts.join(", ")),
        };
        let what = format!("its database was restored: nothing is placed, removed or changed there; {hosts}");
        let fix = format!("skep-manage db restored --cell_uuid {} --confirm", cell.name);
        found.add("R001", name, None, &what, &fix);
    }
    for offered in &inside.offers {
        let At { epoch, placement, generation } = offered.at;
        let what = format!(
            "host {} ({}) keeps a container that the cell does not know: epoch {epoch}, placement {placement}, \
             generation {generation}, project '{}', made for cell '{}', spec {}, {}",
            offered.host_name, offered.host, offered.project, offered.cell, offered.spec_hash, offered.power
        );
        let fix = match inside.since {
            Some(_) => "confirming the cell takes it back, if it is mapped there",
            None => "if nobody wants it, remove it on its host",
        };
        found.add("R002", name, Some(offered.instance.to_string()), &what, fix);
    }
}

/// Whether a host is mapped and not registered, or registered and not mapped.
fn is_uneven(host: &HostView) -> bool {
    !host.mapped || host.registered == Some(false)
}

impl Diagnosis {
    pub(super) fn add(
        &mut self,
        code: &'static str,
        cell: Option<&str>,
        subject: Option<String>,
        what: &str,
        fix: &str,
    ) {
        self.findings.push(Finding {
            code,
            cell: cell.map(str::to_owned),
            subject,
            what: what.to_owned(),
            fix: fix.to_owned(),
            safe: false,
            fixed: false,
        });
    }

    pub(super) fn mended(
        &mut self,
        code: &'static str,
        cell: Option<&str>,
        subject: Option<String>,
        what: &str,
        fix: &str,
        fixed: bool,
    ) {
        self.add(code, cell, subject, what, fix);
        if let Some(finding) = self.findings.last_mut() {
            (finding.safe, finding.fixed) = (true, fixed);
        }
    }

    pub(super) fn dark(&mut self, cell: &Cell, error: &Error) {
        self.partial = true;
        let fix = "look after its database; the other cells go on";
        self.add("C001", Some(&cell.name), None, &reason(error), fix);
    }
}
