//! What Nova tells of the inside of a server: diagnostics, topology, its password, consoles.

use axum::http::StatusCode;
use model::Power;

use crate::compute::servers;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// `GET /servers/{id}/diagnostics`: what is known without asking the host.
pub async fn diagnostics(call: Call) -> Answered {
    let instance = servers::fresh(&call).await?;
    if instance.power != Power::Running {
        return Err(Refused::new(
            StatusCode::CONFLICT,
            format!(
                "Cannot 'get_diagnostics' instance {} while it is in vm_state {}",
                instance.id,
                instance.vm_state()
            ),
        ));
    }
    let (nothing, none): (Option<i64>, [u8; 0]) = (None, []);
    let uptime = instance.launched.map(|at| call.shared.env.now().since(at).as_secs());
    let flavor = &instance.spec.flavor;
    if call.version < Version(48) {
        return Ok(answer(StatusCode::OK, |body| {
            body.put("memory", &(flavor.memory_mib * 1_024));
            body.put("uptime", &uptime);
        }));
    }
    let networked = !instance.spec.container.no_network;
    Ok(answer(StatusCode::OK, |body| {
        body.put("state", "running");
        body.put("driver", "docker");
        body.put("hypervisor", "docker");
        body.put("hypervisor_os", "linux");
        body.put("uptime", &uptime);
        body.put("config_drive", &false);
        body.put("num_cpus", &flavor.vcpus);
        body.put("num_nics", &i64::from(networked));
        body.put("num_disks", &0);
        body.put("cpu_details", &none);
        body.put("disk_details", &none);
        body.array("nic_details", networked.then_some(()), |nic, ()| {
            nic.put("mac_address", &instance.observed.mac);
            let names = ["rx_octets", "rx_errors", "rx_drop", "rx_packets", "rx_rate"];
            let more = ["tx_octets", "tx_errors", "tx_drop", "tx_packets", "tx_rate"];
            names.into_iter().chain(more).for_each(|name| nic.put(name, &nothing));
        });
        body.object("memory_details", |memory| {
            memory.put("maximum", &flavor.memory_mib);
            memory.put("used", &nothing);
        });
    }))
}

/// `GET /servers/{id}/topology` (2.78): containers are bound to no node.
pub async fn topology(call: Call) -> Answered {
    call.since(78)?;
    servers::fresh(&call).await?;
    let nothing: Option<i64> = None;
    Ok(answer(StatusCode::OK, |body| {
        body.put("nodes", &[0_u8; 0]);
        body.put("pagesize_kb", &nothing);
    }))
}

/// `GET /servers/{id}/os-server-password`: containers have none.
pub async fn password(call: Call) -> Answered {
    servers::fresh(&call).await?;
    Ok(answer(StatusCode::OK, |body| body.put("password", "")))
}

/// `DELETE /servers/{id}/os-server-password`: there is nothing to clear.
pub async fn clear_password(call: Call) -> Answered {
    servers::fresh(&call).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /servers/{id}/remote-consoles` (2.6): containers have no screen.
pub async fn console(call: Call) -> Answered {
    call.since(6)?;
    servers::fresh(&call).await?;
    Err(Refused::unsupported("remote consoles; a container has a log: os-getConsoleOutput"))
}
