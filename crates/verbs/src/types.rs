//! What goes into a verb and what comes out, without HTTP types.

use std::collections::BTreeMap;
use std::time::Duration;

use model::image::ImageRef;
use model::listing::{Deleted, Order};
use model::{
    CellId, CellState, ContainerSpec, Extra, HostId, Instance, InstanceId, RequestSpec, Resources, Timestamp,
};
use uuid::Uuid;

use crate::list::Field;

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

/// Which instances to list. What is empty or absent means any.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Instances of every project; for administrators.
    pub all_projects: bool,
    /// Of this project instead of the caller's; only with `all_projects`.
    pub project: Option<String>,
    /// Of this region.
    pub region: String,
    /// One of these.
    pub ids: Vec<InstanceId>,
    /// Asked for by this user.
    pub user: Option<String>,
    /// Whose name matches this regular expression as Nova's `name` filter does (a substring if it has
    /// no special characters).
    pub name: Option<String>,
    /// Whose texts match these regular expressions.
    pub patterns: Vec<(Field, String)>,
    /// Of the image with this id.
    pub image: Option<Uuid>,
    /// Of the flavor with this id.
    pub flavor: Option<String>,
    /// Locked, or not.
    pub locked: Option<bool>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// With at least one of these tags.
    pub tags_any: Vec<String>,
    /// Without at least one of these tags.
    pub not_tags: Vec<String>,
    /// Without all of these tags.
    pub not_tags_any: Vec<String>,
    /// Whose status is one of these (upper case).
    pub status: Vec<String>,
    /// In this `vm_state` of Nova's.
    pub vm_state: Option<String>,
    /// In this `task_state` of Nova's.
    pub task_state: Option<String>,
    /// On the host of this name.
    pub host: Option<String>,
    /// Changed then or later.
    pub since: Option<Timestamp>,
    /// Changed then or earlier.
    pub before: Option<Timestamp>,
    /// Deleted, or not. What was deleted is known until it is archived.
    pub deleted: Deleted,
    /// In which order; newest first if nothing is said.
    pub order: Order,
    /// What decides which instances are on a page.
    pub read: Read,
    /// After this instance in the list's order.
    pub marker: Option<InstanceId>,
    /// At most this many; the verb caps it at [`crate::Settings::max_limit`].
    pub limit: Option<usize>,
}

/// What decides which instances are on a page of a list. Their facts are fresh either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Read {
    /// The index, except where filters or order are about what only cells know for certain.
    #[default]
    Auto,
    /// The index alone, which costs the same however many cells there are, and may lag behind the cells.
    Index,
    /// The cells.
    Cells,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The instances, in the order asked for.
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
    /// Ids and names, in the order asked for.
    pub items: Vec<Named>,
    /// Where the next page begins, if there may be one.
    pub next: Option<InstanceId>,
    /// Names of cells on the page that do not answer.
    pub dark_cells: Vec<String>,
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
    /// Whether this process asks it no more, but for a probe each second.
    pub breaker_open: bool,
    /// Instances of which the index does not know the newest yet; nothing if it did not answer.
    pub behind: Option<i64>,
    /// For how long the oldest change has waited to be told to the index; nothing if it did not answer.
    pub lag: Option<Duration>,
    /// Hosts; none if it did not answer.
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
