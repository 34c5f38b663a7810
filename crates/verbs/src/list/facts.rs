//! What lists are filtered and ordered by, of an instance as its cell has it and as the index has it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use api_db::index::Entry;
use model::listing::{Narrow, Order, Place, Sort, Value};
use model::{Instance, InstanceId, Timestamp};
use uuid::Uuid;

/// A text that lists can be filtered by with a regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The name.
    Name,
    /// The description.
    Description,
    /// The host name.
    Hostname,
    /// Name of the key pair.
    KeyName,
    /// What the instances of one request have in common.
    Reservation,
    /// When it was asked for; times are held against as `YYYY-MM-DD HH:MM:SS`.
    Created,
    /// When it first ran.
    Launched,
    /// When it was deleted.
    Terminated,
    /// Name of the host.
    Host,
    /// The availability zone.
    Zone,
    /// Nova's number of the power state.
    Power,
    /// The address, if it is of version 4.
    Ipv4,
    /// The address, if it is of version 6.
    Ipv6,
}

impl Field {
    /// The name of Nova's filter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Hostname => "hostname",
            Self::KeyName => "key_name",
            Self::Reservation => "reservation_id",
            Self::Created => "created_at",
            Self::Launched => "launched_at",
            Self::Terminated => "terminated_at",
            Self::Host => "node",
            Self::Zone => "availability_zone",
            Self::Power => "power_state",
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        }
    }

    /// Whether only the cells know it for certain.
    pub(crate) fn is_observed(self) -> bool {
        match self {
            Self::Name
            | Self::Description
            | Self::Hostname
            | Self::KeyName
            | Self::Reservation
            | Self::Created => false,
            Self::Launched
            | Self::Terminated
            | Self::Host
            | Self::Zone
            | Self::Power
            | Self::Ipv4
            | Self::Ipv6 => true,
        }
    }
}

/// One instance's facts.
pub(crate) struct Facts<'a> {
    pub(crate) id: InstanceId,
    project: &'a str,
    user: &'a str,
    region: &'a str,
    name: &'a str,
    description: &'a str,
    hostname: Cow<'a, str>,
    key_name: &'a str,
    locked: bool,
    tags: &'a BTreeSet<String>,
    image: &'a str,
    image_id: Uuid,
    flavor: &'a str,
    reservation: Cow<'a, str>,
    status: &'a str,
    vm_state: &'a str,
    task_state: &'a str,
    power: i64,
    host: &'a str,
    zone: &'a str,
    address: &'a str,
    created: Timestamp,
    updated: Timestamp,
    launched: Option<Timestamp>,
    terminated: Option<Timestamp>,
}

impl<'a> From<&'a Instance> for Facts<'a> {
    fn from(instance: &'a Instance) -> Self {
        let spec = &instance.spec;
        Self {
            id: instance.id,
            project: &spec.project,
            user: &spec.user,
            region: &spec.region,
            name: &spec.name,
            description: spec.description.as_deref().unwrap_or_default(),
            hostname: spec.hostname().into(),
            key_name: spec.extra.key_name.as_deref().unwrap_or_default(),
            locked: spec.extra.locked.is_some(),
            tags: &spec.extra.tags,
            image: spec.image.as_str(),
            image_id: spec.image_id(),
            flavor: &spec.flavor.id,
            reservation: spec.reservation().into(),
            status: instance.status(),
            vm_state: instance.vm_state(),
            task_state: instance.task.map_or("", model::Task::as_str),
            power: instance.power.nova(),
            host: instance.host.as_ref().map_or("", |(_, name)| name),
            zone: instance.zone.as_deref().or(spec.zone.as_deref()).unwrap_or_default(),
            address: &instance.observed.address,
            created: instance.created,
            updated: instance.updated,
            launched: instance.launched,
            terminated: instance.terminated,
        }
    }
}

impl<'a> From<&'a Entry> for Facts<'a> {
    fn from(entry: &'a Entry) -> Self {
        let last = &entry.last;
        Self {
            id: entry.id,
            project: &entry.project,
            user: &entry.user,
            region: &entry.region,
            name: &entry.name,
            description: &entry.description,
            hostname: entry.hostname.as_str().into(),
            key_name: &entry.key_name,
            locked: entry.locked,
            tags: &entry.tags,
            image: &entry.image,
            image_id: entry.image_id,
            flavor: &entry.flavor,
            reservation: entry.reservation.as_str().into(),
            status: &last.status,
            vm_state: &last.vm_state,
            task_state: &last.task_state,
            power: last.power,
            host: &last.host,
            zone: &last.zone,
            address: &last.address,
            created: entry.created,
            updated: last.updated,
            launched: last.launched,
            terminated: last.terminated,
        }
    }
}

impl Facts<'_> {
    /// Where it stands in an order.
    pub(crate) fn place(&self, order: &Order) -> Place {
        Place(order.keys().iter().map(|(sort, _)| self.value(*sort)).collect())
    }

    fn value(&self, sort: Sort) -> Value {
        match sort {
            Sort::Created => self.created.0.into(),
            Sort::Updated => self.updated.0.into(),
            Sort::Launched => self.launched.map_or(0, |at| at.0).into(),
            Sort::Terminated => self.terminated.map_or(0, |at| at.0).into(),
            Sort::Name => self.name.into(),
            Sort::Description => self.description.into(),
            Sort::Hostname => self.hostname.as_ref().into(),
            Sort::KeyName => self.key_name.into(),
            Sort::Locked => i64::from(self.locked).into(),
            Sort::Host => self.host.into(),
            Sort::Zone => self.zone.into(),
            Sort::Image => self.image.into(),
            Sort::Flavor => self.flavor.into(),
            Sort::Project => self.project.into(),
            Sort::User => self.user.into(),
            Sort::VmState => self.vm_state.into(),
            Sort::TaskState => self.task_state.into(),
            Sort::Power => self.power.into(),
            Sort::Id => Value::Id(self.id.uuid()),
        }
    }

    /// What a regular expression is held against; what is not there matches none.
    pub(crate) fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        let time = |at: Timestamp| Cow::Owned(at.seconds_z().replace('T', " ").replace('Z', ""));
        let there = |text| Some(text).filter(|text: &&str| !text.is_empty()).map(Cow::Borrowed);
        match field {
            Field::Name => Some(self.name.into()),
            Field::Description => there(self.description),
            Field::Hostname => Some(self.hostname.as_ref().into()),
            Field::KeyName => there(self.key_name),
            Field::Reservation => there(self.reservation.as_ref()),
            Field::Created => Some(time(self.created)),
            Field::Launched => self.launched.map(time),
            Field::Terminated => self.terminated.map(time),
            Field::Host => there(self.host),
            Field::Zone => there(self.zone),
            Field::Power => Some(self.power.to_string().into()),
            Field::Ipv4 => there(self.address).filter(|address| !address.contains(':')),
            Field::Ipv6 => there(self.address).filter(|address| address.contains(':')),
        }
    }

    /// Whether it is what a list is narrowed to.
    pub(crate) fn are(&self, narrow: &Narrow) -> bool {
        fn same<T: PartialEq + ?Sized>(wanted: Option<&T>, is: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == is)
        }
        let has = |tag: &String| self.tags.contains(tag);
        same(narrow.project.as_deref(), self.project)
            && same(narrow.region.as_deref(), self.region)
            && (narrow.ids.is_empty() || narrow.ids.contains(&self.id))
            && same(narrow.user.as_deref(), self.user)
            && same(narrow.image.as_ref(), &self.image_id)
            && same(narrow.flavor.as_deref(), self.flavor)
            && same(narrow.locked.as_ref(), &self.locked)
            && narrow.tags.iter().all(has)
            && (narrow.tags_any.is_empty() || narrow.tags_any.iter().any(has))
            && (narrow.not_tags.is_empty() || !narrow.not_tags.iter().all(has))
            && !narrow.not_tags_any.iter().any(has)
            && (narrow.status.is_empty() || narrow.status.iter().any(|status| status == self.status))
            && same(narrow.vm_state.as_deref(), self.vm_state)
            && same(narrow.task_state.as_deref(), self.task_state)
            && same(narrow.host.as_deref(), self.host)
            && narrow.since.is_none_or(|since| self.updated >= since)
            && narrow.before.is_none_or(|before| self.updated <= before)
    }
}
