//! Whom an https endpoint may be: the system's certificates, or those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::exit::Failure;

/// The certificates that are trusted: those of `file` alone, or else the system's.
pub fn trusted(file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
            let text = std::fs::read(file).map_err(|why| wrong(format!("cannot read it: {why}")))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|why| wrong(format!("is no PEM: {why}")))?;
                roots
                    .add(certificate)
                    .map_err(|why| wrong(format!("holds no certificate to trust: {why}")))?;
            }
            if roots.is_empty() {
                return Err(wrong("holds no certificate".to_owned()));
            }
        }
        None => {
            // Some of a system's certificates may be unusable; the others do.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Failure::usage("this system has no certificates to trust: give --ca-file"));
            }
        }
    }
    Ok(roots)
}

/// A client that trusts `roots`, with the one TLS provider that we have.
pub fn config(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::new(format!("cannot prepare https: {why}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
