//! A host's own user of the broker, and who makes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user of the broker. Its password is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerUser {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for BrokerUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BrokerUser").field(&self.name).finish()
    }
}
