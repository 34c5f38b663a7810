//! The proxies of an estate: before the API database, and before all that its first cell has.

use super::config::Ways;
use crate::services::Docker;
use crate::{Folder, Proxy};

/// Every way of an estate that a story may hurt.
pub struct Proxies {
    /// Before the API database.
    pub api: Proxy,
    /// Before the first cell's database, for its conductors and for the API level.
    pub cell: Proxy,
    /// Before the first cell's vhost, for its agents and conductors and for the API level.
    pub broker: Proxy,
    /// Before the engine, for the first cell's agents; none if it is pretended.
    pub engine: Option<Proxy>,
}

impl Proxies {
    /// Starts them and leads the ways through them.
    pub async fn before(ways: &mut Ways, docker: Option<&Docker>, folder: &Folder) -> Self {
        let proxies = Self {
            api: Proxy::before(&ways.api).await,
            cell: Proxy::before(&ways.cells[0]).await,
            broker: Proxy::before(&ways.vhosts[1]).await,
            engine: docker.map(|docker| {
                let socket = docker.url().trim_start_matches("unix://");
                Proxy::unix(&folder.join("engine.sock"), socket.as_ref())
            }),
        };
        ways.api = proxies.api.url(&ways.api);
        ways.cells[0] = proxies.cell.url(&ways.cells[0]);
        ways.vhosts[1] = proxies.broker.url(&ways.vhosts[1]);
        if let (Some(engine), Some(way)) = (&proxies.engine, ways.engines.first_mut()) {
            *way = format!("unix://{}", engine.address());
        }
        proxies
    }
}
