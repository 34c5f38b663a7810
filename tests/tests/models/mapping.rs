//! The instance's mapping and its fencing counter: the guards of `api_db::mappings`.

use crate::mutant::Mutant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Live,
    Deleting,
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    pub cell: Option<u8>,
    pub epoch: u8,
    pub saga_token: u8,
    pub state: State,
}

impl Mapping {
    pub fn new() -> Self {
        Self { cell: None, epoch: 0, saga_token: 0, state: State::Live }
    }

    /// `mappings::lease`: gives the new counter.
    pub fn lease(&mut self) -> u8 {
        self.saga_token += 1;
        self.saga_token
    }

    /// `mappings::bind`, which is also the flip of a move: to `epoch`, from the one before.
    pub fn bind(&mut self, cell: u8, (from, to): (u8, u8), saga_token: u8, mutant: Mutant) -> bool {
        let live = self.state == State::Live || mutant == Mutant::SupersedeKeepsToken;
        let allowed = self.saga_token == saga_token && self.epoch == from && live;
        if !allowed && mutant != Mutant::MappingIgnoresToken {
            return false;
        }
        (self.cell, self.epoch) = (Some(cell), to);
        true
    }

    /// `mappings::unbind`.
    pub fn unbind(&mut self, epoch: u8, saga_token: u8) {
        if self.saga_token == saga_token && self.epoch == epoch && self.state == State::Live {
            self.cell = None;
        }
    }

    /// `mappings::request_delete`.
    pub fn request_delete(&mut self, mutant: Mutant) -> bool {
        if self.state != State::Live {
            return false;
        }
        self.state = State::Deleting;
        match mutant {
            Mutant::SupersedeKeepsToken => {}
            Mutant::TokenPerTask => self.saga_token = 0,
            _ => self.saga_token += 1,
        }
        true
    }

    /// `mappings::close` of one instance.
    pub fn close(&mut self, saga_token: u8) {
        if self.saga_token == saga_token && self.state == State::Deleting {
            self.state = State::Deleted;
        }
    }
}
