//! What an operator can set.

use std::time::Duration;

use identity::{Backend, StaticToken};

use crate::edge::policy::InForce;
use crate::tls::Tls;

/// The region of an endpoint that serves all regions, in the catalog: clients want one.
pub const REGION: &str = "RegionOne";

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
    /// Where users are kept, beside those tokens.
    pub identity: Backend,
    /// What the catalog shows: each region with the address under which users reach it; without an address the
    /// one that the request came to.
    pub regions: Vec<(String, Option<String>)>,
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
    /// Most connections at a time, seven eighths of them of one address; beyond it, 503.
    pub max_connections: usize,
    /// How long a request's head may take, and how long a connection may idle.
    pub header_timeout: Duration,
    /// How long a client may read nothing of an answer that is being sent to it.
    pub write_timeout: Duration,
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
            identity: Backend::default(),
            regions: vec![(REGION.to_owned(), None)],
            policy: InForce::default(),
            tls: None,
            handshake_timeout: Duration::from_secs(5),
            trace: None,
            project_rate: None,
            max_in_flight: 256,
            queue_wait: Duration::from_millis(70),
            body_memory: 64 * 1024 * 1024,
            body_limit: 1024 * 1024,
            max_connections: 12_288,
            skip_dark_cells: true,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
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
