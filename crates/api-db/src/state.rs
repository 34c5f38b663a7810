//! The stored states of API-level tasks. These are wire types: variants are added, never changed, and
//! golden files of them are decoded for ever.

use model::instance::Action;
use model::{CellId, Fault, Incarnation, Size, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Kind and version of [`Build`] tasks.
pub const BUILD: &str = "build/1";

/// Kind and version of [`Delete`] tasks.
pub const DELETE: &str = "delete/1";

/// Kind and version of [`Resize`] tasks.
pub const RESIZE: &str = "resize/1";

/// A refusal by a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The cell.
    pub cell: CellId,
    /// Why.
    pub fault: Fault,
}

/// What a cell had published when it was asked whether it is full: what it read of its hosts for the version after
/// the next, it read after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The cell.
    pub cell: CellId,
    /// Its database's incarnation; versions of another cannot be compared.
    pub incarnation: Incarnation,
    /// The version of its summary.
    pub version: i64,
}

/// Building an instance: pick a cell, insert there, wait for the outcome; in the end bury in cell0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Build {
    /// A cell has to be picked; these have refused.
    Pick {
        /// Cells that cannot take it.
        refused: Vec<Refusal>,
        /// Cells that were asked whether they are full.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        asked: Vec<Asked>,
    },
    /// Bound to a cell: insert there (again), and wait for the outcome. Counts as unsettled there.
    Bound {
        /// The cell.
        cell: CellId,
        /// Cells that could not take it before.
        refused: Vec<Refusal>,
    },
    /// Bound to cell0: bury it there.
    Bury {
        /// The whole explanation, for the user.
        fault: Fault,
    },
}

/// Deleting an instance: write the intent in its cell, wait until it is observed gone, close the mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Delete {
    /// Write the intent (again) and wait for the tombstone.
    Cell {},
}

/// Changing an instance's size, confirming that or taking it back: write the wish in its cell, wait until it has come
/// to an end there, and count what the instance has then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Resize {
    /// Write the wish (again) and wait for the end. The task's id is the record of the action in the cell.
    Wish {
        /// What was asked for.
        action: Action,
        /// The size, for a resize.
        size: Option<Size>,
        /// Who asked.
        user: String,
        /// For which project.
        project: String,
    },
}

/// The cell in which a task counts as unsettled. Also of builds of later releases, which this one cannot read: as long
/// as they count, their states name that cell as `cell`, and only then.
pub fn unsettled_in(kind: &str, state: &Value) -> Option<CellId> {
    let cell = state.get("cell").filter(|_| kind.starts_with("build/"))?;
    serde_json::from_value(cell.clone()).ok()
}

/// A state as it is stored.
pub fn to_json<S: Serialize>(state: &S) -> Result<Value, sql::Error> {
    serde_json::to_value(state).map_err(|error| sql::Error::corrupt("a task state", error))
}

/// A stored state.
pub fn from_json<S: for<'de> Deserialize<'de>>(task: TaskId, state: Value) -> Result<S, sql::Error> {
    serde_json::from_value(state).map_err(|error| sql::Error::Corrupt(format!("state of {task:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_states_are_read_for_ever() {
        let id = TaskId(uuid::Uuid::nil());
        let cell = CellId::ZERO;
        let fault = Fault::invalid("no");
        let refused = vec![Refusal { cell, fault: fault.clone() }];
        let builds: Vec<Value> =
            serde_json::from_str(include_str!("../tests/golden/build-1.json")).expect("golden file");
        let asked = vec![Asked { cell, incarnation: Incarnation(uuid::Uuid::nil()), version: 7 }];
        let expected = [
            Build::Pick { refused: vec![], asked: vec![] },
            Build::Bound { cell, refused },
            Build::Bury { fault },
            Build::Pick { refused: vec![], asked },
        ];
        assert_eq!(builds.len(), expected.len());
        let counted = builds.iter().filter(|stored| unsettled_in(BUILD, stored) == Some(cell)).count();
        let bound = expected.iter().filter(|state| matches!(state, Build::Bound { .. })).count();
        assert_eq!((counted, bound), (1, 1));
        assert_eq!(unsettled_in("build/99", &builds[1]), Some(cell));
        for (stored, expected) in builds.into_iter().zip(expected) {
            assert_eq!(from_json::<Build>(id, stored.clone()).expect("is read"), expected);
            assert_eq!(to_json(&expected).expect("is written"), stored);
        }
        let delete: Value =
            serde_json::from_str(include_str!("../tests/golden/delete-1.json")).expect("golden file");
        assert_eq!(from_json::<Delete>(id, delete).expect("is read"), Delete::Cell {});
        let resizes: Vec<Value> =
            serde_json::from_str(include_str!("../tests/golden/resize-1.json")).expect("golden file");
        let actions = [Action::Resize, Action::ConfirmResize, Action::RevertResize];
        assert_eq!(resizes.len(), actions.len());
        for (stored, expected) in resizes.into_iter().zip(actions) {
            let state = from_json::<Resize>(id, stored.clone()).expect("is read");
            let Resize::Wish { action, size, .. } = &state;
            assert_eq!((*action, size.is_some()), (expected, expected == Action::Resize));
            assert_eq!(to_json(&state).expect("is written"), stored);
        }
    }
}
