//! TLS at the listener: one certificate, which may be replaced while connections are open.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Certificate and key of the listener. Clones share them.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Takes a chain of certificates, the server's own first, and its key, both as PEM.
    ///
    /// # Errors
    /// A sentence that says what is wrong: no certificate, no key, or the two do not belong together.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self { config: Arc::new(RwLock::new(config(certificates, key)?)) })
    }

    /// Replaces both for connections to come. What is wrong, as in [`Tls::new`], changes nothing.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), String> {
        let new = config(certificates, key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn config(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("the certificate is no PEM: {why}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in the certificate's file".to_owned());
    }
    // The library's own words might quote what it read; a key is not to be found in a log.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "there is no private key that can be read in the key's file".to_owned())?;
    let wrong = |why: rustls::Error| format!("certificate and key cannot be used: {why}");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(wrong)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
