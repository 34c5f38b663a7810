//! The API's certificate: read at the start, and again when its files change.

use std::path::Path;

use api::Tls;

use super::files::Watch;
use crate::config::Api as Section;
use crate::exit::Failure;

/// Reads certificate and key, if the section names them, and the watch over them.
pub fn open(section: &Section) -> Result<(Option<Tls>, Option<Watch>), Failure> {
    let (certificate, key) = match (&section.tls_cert, &section.tls_key) {
        (None, None) => return Ok((None, None)),
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => {
            return Err(Failure::usage("api.tls_cert and api.tls_key belong together: set both, or neither"));
        }
    };
    let watch = Watch::new("api.tls_cert and api.tls_key", vec![certificate.clone(), key.clone()]);
    let (chain, secret) = read(&certificate, &key).map_err(Failure::usage)?;
    let place = format!("{}, {}", certificate.display(), key.display());
    let tls = Tls::new(&chain, &secret).map_err(|why| Failure::usage(format!("{place}: {why}")))?;
    let shared = tls.clone();
    let watch = watch.on_change(move || {
        let (chain, secret) = read(&certificate, &key)?;
        shared.replace(&chain, &secret).map_err(|why| format!("{place}: {why}"))
    });
    Ok((Some(tls), Some(watch)))
}

fn read(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |name: &str, path: &Path| {
        std::fs::read(path).map_err(|why| format!("{name}: cannot read {}: {why}", path.display()))
    };
    Ok((read("api.tls_cert", certificate)?, read("api.tls_key", key)?))
}
