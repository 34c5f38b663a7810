//! A probe container: whether a cell really makes containers, from its row to the engine and back.

use std::time::Duration;

use cell_db::instances::{self, BUCKETS, New};
use cell_db::roster;
use model::instance::Stage;
use model::{Cell, ContainerSpec, Fault, Flavor, HostId, Instance, InstanceId, RequestSpec, Timestamp};
use rpc::{Bell, Bus};
use sql::Work;

use super::preflight::{Check, check};
use super::{Admin, Denied};

/// The project of probes. They are in no index and no quota, as they have no mapping.
pub(super) const PROJECT: &str = "skep-preflight";
/// An image that every agent makes by itself, without any file, and what the engine mounts into it.
const IMAGE: &str = "skep/probe:1";
const COMMAND: [&str; 2] = ["/sbin/docker-init", "--version"];
/// Longest that the container may take to run, and to be gone.
const RUN: Duration = Duration::from_secs(25);
const GO: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

impl Admin {
    /// Runs a container on some host of the cell and removes it. What an earlier probe left is removed too.
    pub(super) async fn probe(&self, cell: &Cell) -> Check {
        match self.probed(cell).await {
            Ok(told) => check("container", true, told),
            Err(denied) => check("container", false, denied.message),
        }
    }

    async fn probed(&self, cell: &Cell) -> Result<String, Denied> {
        let bus = self.bus(cell)?;
        let probed = self.probe_by(cell, &bus).await;
        tokio::spawn(async move { bus.close().await });
        probed
    }

    async fn probe_by(&self, cell: &Cell, bus: &Bus) -> Result<String, Denied> {
        let dark = |error: sql::Error| Denied::dark(&cell.name, &error);
        let now = self.env.now();
        let new = self.new_probe(self.env.id(), now)?;
        let (id, inserted) = (new.id, new.clone());
        let before = Timestamp(now.0 - (RUN + GO).as_micros() as i64);
        let old = self.write(cell, move |tx| -> Work<'_, Vec<InstanceId>> {
            let new = inserted.clone();
            Box::pin(async move {
                // Younger ones belong to somebody who looks at the same time.
                let old = roster::of_project(tx, PROJECT, before).await?;
                instances::insert(tx, &[new], now).await?;
                Ok(old)
            })
        });
        let old = old.await.map_err(dark)?;
        bus.ring(Bell::Conductors);
        let ran = self.until(cell, id, RUN, |found| match found.stage {
            Stage::Settled => Some(Ok(found.host.clone())),
            Stage::Error | Stage::Tombstone => Some(Err(found.fault.clone().map(|(fault, _)| fault))),
            _ => None,
        });
        let ran = ran.await;
        let mut gone = vec![new];
        for id in old {
            gone.push(self.new_probe(id, now)?);
        }
        let hosts = self.write(cell, move |tx| -> Work<'_, Vec<HostId>> {
            let gone = gone.clone();
            Box::pin(async move { instances::want_gone(tx, &gone, now).await })
        });
        for host in hosts.await.map_err(dark)? {
            bus.ring(Bell::Host(host));
        }
        let host = match ran? {
            Some(Ok(host)) => host.map_or_else(|| "a host".to_owned(), |(_, name)| format!("host {name}")),
            Some(Err(fault)) => {
                let why = fault.map_or_else(|| "no reason was told".to_owned(), |fault| fault.message);
                return Err(Fault::conflict(format!("it did not run: {why}")).into());
            }
            None => return Err(Fault::conflict(format!("it did not run within {RUN:?}")).into()),
        };
        let removed = self.until(cell, id, GO, |found| (found.stage == Stage::Tombstone).then_some(()));
        match removed.await? {
            Some(()) => Ok(format!("ran on {host} and was removed")),
            None => {
                Err(Fault::conflict(format!("it ran on {host} and was not removed within {GO:?}")).into())
            }
        }
    }

    /// Looks at an instance until `wanted` finds something, for so long.
    async fn until<T>(
        &self,
        cell: &Cell,
        id: InstanceId,
        within: Duration,
        wanted: impl Fn(&Instance) -> Option<T>,
    ) -> Result<Option<T>, Denied> {
        let (start, of) = (self.env.monotonic(), cell.id);
        loop {
            let read = self.read(cell, move |tx| -> Work<'_, Option<Instance>> {
                Box::pin(async move { instances::get(tx, of, id).await })
            });
            let found = read.await.map_err(|error| Denied::dark(&cell.name, &error))?;
            if let Some(found) = found.as_ref().and_then(&wanted) {
                return Ok(Some(found));
            }
            if self.env.monotonic().saturating_sub(start) > within {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn new_probe(&self, id: InstanceId, now: Timestamp) -> Result<New, Denied> {
        let name = "probe".to_owned();
        let flavor =
            Flavor { id: name.clone(), name: name.clone(), vcpus: 1, memory_mib: 16, disk_gib: 1, pids: 16 };
        let container =
            ContainerSpec { command: COMMAND.map(str::to_owned).to_vec(), ..ContainerSpec::default() };
        let spec = RequestSpec {
            name,
            project: PROJECT.to_owned(),
            user: PROJECT.to_owned(),
            request_id: format!("req-{id}"),
            region: String::new(),
            zone: None,
            image: IMAGE.parse()?,
            flavor,
            container,
            metadata: Default::default(),
            description: None,
            deadline: now.plus(RUN),
            extra: Default::default(),
        };
        let bucket = self.env.below(BUCKETS) as i64;
        Ok(New { id, epoch: 1, saga_token: 1, asked_by: spec.request_id.clone(), spec, bucket, created: now })
    }
}
