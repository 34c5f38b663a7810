//! The engine's events, as exits.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::{Fault, HostId};

use super::super::Exit;
use super::fault::words;

/// Exits of the containers of `host`, until the connection breaks.
pub(super) fn stream(client: bollard::Docker, host: HostId) -> BoxStream<'static, Result<Exit, Fault>> {
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), vec!["die".to_owned()]),
        ("label".to_owned(), vec![format!("skep.host={host}")]),
    ]);
    let options = EventsOptions { filters: Some(filters), ..Default::default() };
    let events = client.events(Some(options)).boxed();
    events
        .filter_map(|event| async move {
            match event {
                Ok(event) => exit(event).map(Ok),
                Err(why) => Some(Err(words(why))),
            }
        })
        .boxed()
}

fn exit(event: EventMessage) -> Option<Exit> {
    let attributes = event.actor?.attributes?;
    let code = attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1);
    Some(Exit { name: attributes.get("name")?.parse().ok()?, code })
}
