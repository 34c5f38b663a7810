//! The probe: whether a container really runs here.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, RemoveContainerOptions, StartContainerOptions,
    WaitContainerOptions,
};
use bytes::Bytes;
use futures::StreamExt;
use model::{Fault, FaultKind, HostId};

use super::facts::Facts;
use super::fault::{status, words};
use super::network::Networks;
use super::order;

/// An image without any file. The engine mounts its static init into containers, and that is run.
const IMAGE: (&str, &str) = ("skep/probe", "1");
/// An archive without entries is two blocks of zeros (POSIX pax interchange format, ustar).
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// Runs the engine's init with `--version`, on a bridge network of ours, and removes it. True if the engine can
/// limit what a container writes; it tells nobody that, and refuses only who asks for it.
pub(super) async fn run(
    client: &bollard::Docker,
    facts: &Facts,
    networks: &Networks,
    host: HostId,
) -> Result<bool, Fault> {
    let name = format!("skep-probe-{}", host.uuid().simple());
    remove(client, &name).await?;
    let network = networks.ensure(client, facts, host, "").await?;
    let mut limited = create(client, &name, &network, host, true).await;
    if limited.as_ref().is_err_and(|why| why.kind == FaultKind::NotFound) {
        import(client).await?;
        limited = create(client, &name, &network, host, true).await;
    }
    let made = match limited {
        Ok(()) => Ok(true),
        Err(why) => {
            remove(client, &name).await?;
            let plain = create(client, &name, &network, host, false).await;
            plain
                .inspect(
                    |()| tracing::warn!(%why, "the engine cannot limit what containers write to its disk"),
                )
                .map(|()| false)
        }
    };
    let result = match made {
        Ok(disk) => finish(client, &name).await.map(|()| disk),
        Err(why) => Err(why),
    };
    remove(client, &name).await?;
    result.map_err(|why| Fault::new(why.kind, format!("the engine cannot run a container: {why}")))
}

async fn create(
    client: &bollard::Docker,
    name: &str,
    network: &str,
    host: HostId,
    limited: bool,
) -> Result<(), Fault> {
    let storage_opt = limited.then(|| order::size(1));
    let body = ContainerCreateBody {
        image: Some(format!("{}:{}", IMAGE.0, IMAGE.1)),
        entrypoint: Some(vec!["/sbin/docker-init".to_owned()]),
        cmd: Some(vec!["--version".to_owned()]),
        labels: Some(HashMap::from([("skep.probe".to_owned(), host.to_string())])),
        host_config: Some(HostConfig { storage_opt, ..order::hardened(network.to_owned()) }),
        ..Default::default()
    };
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
    client.create_container(Some(options), body).await.map(drop).map_err(words)
}

async fn finish(client: &bollard::Docker, name: &str) -> Result<(), Fault> {
    client.start_container(name, None::<StartContainerOptions>).await.map_err(words)?;
    match client.wait_container(name, None::<WaitContainerOptions>).next().await {
        Some(Ok(_)) | None => Ok(()),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, error })) => Err(Fault::new(
            FaultKind::Engine,
            format!("the probe container ended with {code} {error}").trim().to_owned(),
        )),
        Some(Err(why)) => Err(words(why)),
    }
}

async fn import(client: &bollard::Docker) -> Result<(), Fault> {
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(IMAGE.0.to_owned()),
        tag: Some(IMAGE.1.to_owned()),
        ..Default::default()
    };
    let body = bollard::body_full(Bytes::from_static(&EMPTY_TAR));
    let mut progress = client.create_image(Some(options), Some(body), None);
    while let Some(step) = progress.next().await {
        step.map_err(words)?;
    }
    Ok(())
}

async fn remove(client: &bollard::Docker, name: &str) -> Result<(), Fault> {
    let options = RemoveContainerOptions { force: true, ..Default::default() };
    match client.remove_container(name, Some(options)).await {
        Err(why) if !matches!(status(&why), Some(404 | 409)) => Err(words(why)),
        _ => Ok(()),
    }
}
