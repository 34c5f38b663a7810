//! What an operator can set.

use std::fmt;
use std::time::Duration;

use crate::edge::policy::InForce;
use crate::tls::Tls;

/// Settings of the HTTP face.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where users reach it, as `https://cloud.example[/path]`, for links in answers; without it links
    /// are built from each request's `Host`.
    pub public_url: Option<String>,
    /// The region that this endpoint serves; empty for one that serves all.
    pub region: String,
    /// The tokens that are known.
    pub tokens: Vec<StaticToken>,
    /// Who may do what.
    pub policy: InForce,
    /// Certificate and key; without them plain HTTP is spoken.
    pub tls: Option<Tls>,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Tells whoever exports traces that a request's span continues the caller's trace, of which it gets the
    /// W3C `traceparent`; nobody if absent.
    pub trace: Option<fn(&tracing::Span, &str)>,
    /// How often a project may ask; as often as it likes if absent.
    pub project_rate: Option<Rate>,
    /// Most requests that are worked on at a time; an eighth as many places more are kept for deletes, and as
    /// many for administrators.
    pub max_in_flight: usize,
    /// How long a request may wait for a place; then, or if as many wait already, 503.
    pub queue_wait: Duration,
    /// Most bytes of bodies held at a time; beyond it, 503.
    pub body_memory: usize,
    /// Largest request body in bytes; beyond it, 413.
    pub body_limit: usize,
    /// Whether lists below microversion 2.69 leave out what is in cells that do not answer; otherwise they are
    /// refused with 503.
    pub skip_dark_cells: bool,
    /// Most connections at a time; beyond it, 503.
    pub max_connections: usize,
    /// How long a request's head may take, and how long a connection may idle.
    pub header_timeout: Duration,
    /// How long the next piece of a request's body may take; the whole may take four times as long.
    pub body_timeout: Duration,
    /// How long a request may be worked on; beyond it, 503.
    pub request_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            region: String::new(),
            tokens: Vec::new(),
            policy: InForce::default(),
            tls: None,
            handshake_timeout: Duration::from_secs(5),
            trace: None,
            project_rate: None,
            max_in_flight: 256,
            queue_wait: Duration::from_millis(50),
            body_memory: 64 * 1024 * 1024,
            body_limit: 1024 * 1024,
            max_connections: 12_288,
            skip_dark_cells: true,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(15),
            request_deadline: Duration::from_secs(60),
        }
    }
}

/// How often a project may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second in the long run; above 0.
    pub per_second: f64,
    /// Requests at once after a pause; at least 1.
    pub burst: f64,
}

/// A token and whom it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// What the caller sends as `X-Auth-Token`. Secret.
    pub token: String,
    /// The user's id.
    pub user: String,
    /// The project's id.
    pub project: String,
    /// Roles held in that project: `reader`, `member`, `admin`.
    pub roles: Vec<String>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("user", &self.user)
            .field("project", &self.project)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}
