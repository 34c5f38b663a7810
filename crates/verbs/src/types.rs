//! What goes into a verb and what comes out, without HTTP types.

use std::collections::BTreeMap;
use std::time::Duration;

use model::image::ImageRef;
use model::{
    CellId, CellState, ContainerSpec, Extra, HostId, Instance, InstanceId, RequestSpec, Resources, Timestamp,
};

/// What a caller asks for when booting.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Name; with more than one instance each gets `-1`, `-2`, … appended (Nova's rule).
    pub name: String,
    /// The image.
    pub image: ImageRef,
    /// The flavor's id.
    pub flavor: String,
    /// The container's own wishes.
    pub container: ContainerSpec,
    /// The user's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Availability zone, if one was asked for.
    pub zone: Option<String>,
    /// Region of the endpoint that was used; empty for the one that serves all.
    pub region: String,
    /// Free text.
    pub description: Option<String>,
    /// What the compute face keeps beside that.
    pub extra: Extra,
    /// How many instances, at least 1.
    pub count: u32,
}

/// An instance as far as it can be seen now.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Its facts are current.
    Fresh(Box<Instance>),
    /// Its cell does not answer.
    Dark(Box<Dark>),
}

impl Seen {
    /// The instance's id.
    pub fn id(&self) -> InstanceId {
        match self {
            Self::Fresh(instance) => instance.id,
            Self::Dark(dark) => dark.id,
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fresh(instance) => &instance.spec.name,
            Self::Dark(dark) => &dark.spec.name,
        }
    }
}

/// What is known of an instance whose cell does not answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Dark {
    /// Its id.
    pub id: InstanceId,
    /// What was asked for.
    pub spec: RequestSpec,
    /// When it was asked for.
    pub created: Timestamp,
    /// Name of its cell, for operators.
    pub cell: String,
    /// The status last heard of and its age, if any was heard of.
    pub last_status: Option<(String, Duration)>,
}

/// Which instances to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Instances of every project; for administrators.
    pub all_projects: bool,
    /// Of this project instead of the caller's; only with `all_projects`.
    pub project: Option<String>,
    /// Lying in this region; empty means any.
    pub region: String,
    /// Whose name matches this regular expression as Nova's `name` filter does (a substring if it has
    /// no special characters).
    pub name: Option<String>,
    /// Whose status is one of these (upper case); empty means any.
    pub status: Vec<String>,
    /// After this instance in the list's order (newest first).
    pub marker: Option<InstanceId>,
    /// At most this many; the verb caps it at 1000.
    pub limit: Option<usize>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The instances, newest first.
    pub items: Vec<Seen>,
    /// Where the next page begins, if there may be one.
    pub next: Option<InstanceId>,
    /// Names of cells that did not answer.
    pub dark_cells: Vec<String>,
}

/// What the index alone tells of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Whether its cell is known not to answer.
    pub dark: bool,
}

/// One page of ids and names.
#[derive(Clone, Debug)]
pub struct Names {
    /// Ids and names, newest first.
    pub items: Vec<Named>,
    /// Where the next page begins, if there may be one.
    pub next: Option<InstanceId>,
    /// Names of cells on the page that do not answer.
    pub dark_cells: Vec<String>,
}

/// An image on offer, read-only for now: what the configuration names and what instances use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// A UUID made of the reference.
    pub id: uuid::Uuid,
    /// The reference; also its name.
    pub reference: ImageRef,
}

/// A cell as an operator sees it.
#[derive(Clone, Debug)]
pub struct CellStatus {
    /// Its id.
    pub id: CellId,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where it stands in its life.
    pub state: CellState,
    /// Whether its database answered.
    pub up: bool,
    /// Hosts, and how many of them are healthy and enabled.
    pub hosts: Vec<HostStatus>,
    /// Instances that are not tombstones.
    pub instances: i64,
}

/// A host as an operator sees it.
#[derive(Clone, Debug)]
pub struct HostStatus {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// Whether it takes new instances.
    pub enabled: bool,
    /// Whether it was heard of lately and its engine works.
    pub healthy: bool,
    /// Declared amounts.
    pub capacity: Resources,
    /// Claimed amounts.
    pub used: Resources,
}
