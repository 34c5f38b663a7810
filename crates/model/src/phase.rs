//! What an instance undergoes that outlasts one container: another size that waits for the user's word, and being
//! set aside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flavor::{Flavor, Resources};
use crate::instance::Stage;
use crate::spec::RequestSpec;

/// Where such a thing stands. It begins and ends in [`Phase::Plain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing of the kind.
    #[default]
    Plain,
    /// Another size is wanted: the cell's conductors have to claim it.
    ResizeWanted,
    /// It is claimed, beside the old one, and the host makes the container anew.
    Resizing,
    /// The container has the new size; the old one stays claimed until the user confirms or reverts.
    Resized,
    /// Confirmed: the conductors have to give the old size back.
    Confirming,
    /// The old size is wanted again, by the user or because the new one failed.
    RevertWanted,
    /// The host makes the container anew in its old size.
    Reverting,
    /// It is being stopped, to be set aside.
    Shelving,
    /// It is set aside: stopped, on its host, with all that is in its container.
    Shelved,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::ResizeWanted,
        Self::Resizing,
        Self::Resized,
        Self::Confirming,
        Self::RevertWanted,
        Self::Reverting,
        Self::Shelving,
        Self::Shelved,
    ];

    /// The word stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::ResizeWanted => "resize-wanted",
            Self::Resizing => "resizing",
            Self::Resized => "resized",
            Self::Confirming => "confirming",
            Self::RevertWanted => "revert-wanted",
            Self::Reverting => "reverting",
            Self::Shelving => "shelving",
            Self::Shelved => "shelved",
        }
    }

    /// Reads the word stored.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// Whether the cell's conductors have to do something about it.
    pub fn is_due(self) -> bool {
        matches!(self, Self::ResizeWanted | Self::Confirming | Self::RevertWanted)
    }

    /// Whether nothing is under way.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Plain | Self::Resized | Self::Shelved)
    }

    /// Nova's `vm_state`, where it is of this and not of the container.
    pub(crate) fn vm_state(self, stage: Stage) -> Option<&'static str> {
        match (stage, self) {
            (Stage::Settled, Self::Resized | Self::Confirming | Self::RevertWanted | Self::Reverting) => {
                Some("resized")
            }
            (Stage::Settled, Self::Shelved) => Some("shelved"),
            _ => None,
        }
    }
}

/// A size: a flavor with its extra specs, as they were at the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// The flavor.
    pub flavor: Flavor,
    /// Its extra specs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_specs: BTreeMap<String, String>,
    /// Whether the user says `AUTO` of its disk, if that goes with the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_auto: Option<bool>,
}

impl Size {
    /// The size that a request spec has.
    pub fn of(spec: &RequestSpec) -> Self {
        Self { flavor: spec.flavor.clone(), extra_specs: spec.extra.extra_specs.clone(), disk_auto: None }
    }

    /// Whether a request spec has this size already.
    pub fn is_of(&self, spec: &RequestSpec) -> bool {
        self.flavor == spec.flavor
            && self.extra_specs == spec.extra.extra_specs
            && self.disk_auto.is_none_or(|auto| auto == spec.extra.disk_auto)
    }

    /// Gives a request spec this size, and hands back the one that it had.
    #[must_use]
    pub fn swap_into(self, spec: &mut RequestSpec) -> Self {
        let mut before = Self::of(spec);
        if let Some(auto) = self.disk_auto {
            before.disk_auto = Some(std::mem::replace(&mut spec.extra.disk_auto, auto));
        }
        (spec.flavor, spec.extra.extra_specs) = (self.flavor, self.extra_specs);
        spec.extra.amendments += 1;
        before
    }
}

/// The larger of both in each amount: what has room for either.
pub fn either(one: Resources, other: Resources) -> Resources {
    Resources {
        vcpus_milli: one.vcpus_milli.max(other.vcpus_milli),
        memory_mib: one.memory_mib.max(other.memory_mib),
        slots: one.slots.max(other.slots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
            assert!(!(phase.is_due() && phase.is_at_rest()), "{phase:?}");
        }
        assert_eq!(Phase::parse("grown"), None);
    }

    #[test]
    fn either_has_room_for_both() {
        let (low, wide) = (
            Resources { vcpus_milli: 1, memory_mib: 9, slots: 1 },
            Resources { vcpus_milli: 5, memory_mib: 2, slots: 1 },
        );
        let both = either(low, wide);
        assert!(low.fits(both) && wide.fits(both));
        assert_eq!((both.vcpus_milli, both.memory_mib, both.slots), (5, 9, 1));
    }
}
