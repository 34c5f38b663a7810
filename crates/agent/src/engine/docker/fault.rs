//! The engine's errors as faults, in the engine's own words.

use bollard::errors::Error;
use model::image::ImageRef;
use model::{Fault, FaultKind};

/// Words by which an engine says that something below it is away for the moment.
const PASSING: [&str; 6] = [
    "context deadline exceeded",
    "connection refused",
    "transport is closing",
    "i/o timeout",
    "try again",
    "toomanyrequests",
];

/// The status that the engine answered with, if it answered.
pub(super) fn status(why: &Error) -> Option<u16> {
    match why {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether a create failed because the image is not there.
pub(super) fn is_no_image(why: &Error) -> bool {
    match why {
        Error::DockerResponseServerError { status_code: 404, message } => {
            message.to_lowercase().contains("no such image") || message.contains("image not known")
        }
        _ => false,
    }
}

/// Whether a start failed because the container's network was removed.
pub(super) fn is_no_network(why: &Error) -> bool {
    match why {
        Error::DockerResponseServerError { status_code: 404 | 500, message } => {
            message.contains("network") && message.contains("not found")
        }
        _ => false,
    }
}

/// The fault for an error.
pub(super) fn words(why: Error) -> Fault {
    let kind = match &why {
        Error::DockerResponseServerError { status_code, message } => match status_code {
            404 => FaultKind::NotFound,
            502..=504 => FaultKind::Unavailable,
            _ if passing(message) => FaultKind::Unavailable,
            _ => FaultKind::Engine,
        },
        Error::DockerStreamError { error } if !passing(error) => FaultKind::Engine,
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => FaultKind::Engine,
        Error::RequestTimeoutError => FaultKind::Timeout,
        _ => FaultKind::Unavailable,
    };
    let message = match why {
        Error::DockerResponseServerError { message, .. } => message,
        Error::DockerStreamError { error } => error,
        why => format!("the engine does not answer: {why}"),
    };
    Fault::new(kind, message.trim())
}

/// The fault for an image that could not be pulled.
pub(super) fn pull(image: &ImageRef, why: Error) -> Fault {
    let fault = words(why);
    let kind = if fault.kind == FaultKind::NotFound { FaultKind::Engine } else { fault.kind };
    Fault::new(kind, format!("cannot pull image {image}: {fault}"))
}

fn passing(message: &str) -> bool {
    PASSING.iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn kinds_tell_passing_from_final() {
        let kind = |status, message| words(answered(status, message)).kind;
        assert_eq!(kind(500, "driver failed: port is already allocated"), FaultKind::Engine);
        assert_eq!(kind(500, "dial unix containerd.sock: connection refused"), FaultKind::Unavailable);
        assert_eq!(kind(503, "shutting down"), FaultKind::Unavailable);
        assert_eq!(kind(404, "No such container: x"), FaultKind::NotFound);
        assert_eq!(words(Error::RequestTimeoutError).kind, FaultKind::Timeout);
        assert!(is_no_image(&answered(404, "No such image: nothing:1")));
        assert!(!is_no_image(&answered(404, "No such container: x")));
        assert!(is_no_network(&answered(404, "network 0123 not found")));
        let image: ImageRef = "nothing:1".parse().expect("legal");
        let fault = pull(&image, answered(404, "pull access denied for nothing"));
        assert_eq!(fault.kind, FaultKind::Engine);
        assert!(fault.message.contains("pull access denied"), "{fault}");
    }
}
