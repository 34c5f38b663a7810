//! Who asks: whom a token stands for, wherever users are kept.
//!
//! There is one seam, [`Identity::validate`], and three kinds behind it: tokens that the configuration names
//! ([`Fixed`]), users of our own in the API database ([`Embedded`]), and a real Keystone ([`Keystone`]). Fixed
//! tokens are good beside either of the others. Nothing here knows HTTP's server side or what callers may do.

mod access;
mod embedded;
mod fixed;
mod keystone;
mod known;

use std::sync::Arc;

use model::{Env, Fault};

pub use access::AccessRule;
pub use embedded::assignments::{Assigned, AssignmentQuery, Grant};
pub use embedded::bootstrap::{Bootstrap, Bootstrapped};
pub use embedded::credentials::{NewCredential, Shown as Credential};
pub use embedded::entities::{Entity, Filter, Kind};
pub use embedded::issue::{Issued, Method, Request, ScopeWish, UserRef, Within};
pub use embedded::{By, Embedded, Refusal, Settings};
pub use fixed::{Fixed, StaticToken};
pub use keystone::{Keystone, Settings as KeystoneSettings};

pub use known::{CredentialOf, InDomain, Known, Role, Scope};

/// Where users are kept, beside the fixed tokens.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// Nowhere: only fixed tokens are known.
    #[default]
    Fixed,
    /// In the API database.
    Embedded(Embedded),
    /// In a real Keystone.
    Keystone(Keystone),
}

/// The seam: whom a token stands for.
#[derive(Clone, Debug)]
pub struct Identity {
    fixed: Arc<Fixed>,
    backend: Backend,
}

impl Identity {
    /// Fixed tokens beside a backend.
    pub fn new(tokens: &[StaticToken], backend: Backend, env: &Env) -> Self {
        Self { fixed: Arc::new(Fixed::new(tokens, env)), backend }
    }

    /// Whom `token` stands for now, if it is known and good.
    ///
    /// # Errors
    /// If nobody can tell: what knows does not answer.
    pub async fn validate(&self, token: &str) -> Result<Option<Arc<Known>>, Fault> {
        if let Some(known) = self.fixed.validate(token.as_bytes()) {
            return Ok(Some(known));
        }
        if token.is_empty() {
            return Ok(None);
        }
        match &self.backend {
            Backend::Fixed => Ok(None),
            Backend::Embedded(embedded) => embedded.validate(token).await,
            Backend::Keystone(keystone) => keystone.validate(token).await,
        }
    }

    /// Whom `token` stands for, which a service brings with a token of its own (`X-Service-Token`): with a real
    /// Keystone also if it has ended meanwhile. Nothing if the service's token is not good. Other backends have no
    /// services, and do not look at it.
    ///
    /// # Errors
    /// As [`Identity::validate`].
    pub async fn validate_for(&self, token: &str, service: &str) -> Result<Option<Arc<Known>>, Fault> {
        match &self.backend {
            Backend::Keystone(keystone) if !token.is_empty() => match self.fixed.validate(token.as_bytes()) {
                Some(known) => Ok(Some(known)),
                None => keystone.validate_for(token, service).await,
            },
            _ => self.validate(token).await,
        }
    }

    /// The backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Our own users, if this cloud keeps them.
    pub fn embedded(&self) -> Option<&Embedded> {
        match &self.backend {
            Backend::Embedded(embedded) => Some(embedded),
            _ => None,
        }
    }
}
