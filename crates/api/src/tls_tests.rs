//! Tests of TLS over real sockets, with certificates made for each test.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::app::App;
use crate::settings::Settings;
use crate::testing;

const WITHIN: Duration = Duration::from_secs(60);

/// A certificate for `localhost` that vouches for itself, and its key.
struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("is made");
    Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

fn tls(pair: &Pair) -> Tls {
    Tls::new(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("legal")
}

/// Serves TLS; whoever drops the guard ends it.
async fn start(settings: Settings) -> (std::net::SocketAddr, tokio_util::sync::DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let shutdown = CancellationToken::new();
    let app = App::without_verbs(model::Env::system(), settings);
    tokio::spawn(crate::serve(listener, app, shutdown.clone(), WITHIN));
    (address, shutdown.drop_guard())
}

/// Connects, trusting `trusted` alone.
async fn connect(address: std::net::SocketAddr, trusted: &Pair) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.certificate.as_bytes()).expect("PEM"))
        .expect("is a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("connect");
    let name = "localhost".try_into().expect("name");
    timeout(WITHIN, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("in time")
}

/// Asks for the versions on an open connection and returns as much of the answer as the links need.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /v2.1/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("write");
    let mut answer = String::new();
    while !answer.contains("/v2.1/\"") {
        let mut some = [0; 4096];
        let count = timeout(WITHIN, stream.read(&mut some)).await.expect("in time").expect("read");
        assert!(count > 0, "closed after: {answer}");
        answer.push_str(std::str::from_utf8(&some[..count]).expect("text"));
    }
    answer
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (old, new) = (pair(), pair());
    let tls = tls(&old);
    let (address, _guard) = start(Settings { tls: Some(tls.clone()), ..testing::settings() }).await;
    let mut open = connect(address, &old).await.expect("the old one is trusted");
    let answer = ask(&mut open).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("https://localhost/v2.1/"), "links follow the scheme: {answer}");

    tls.replace(new.certificate.as_bytes(), new.key.as_bytes()).expect("legal");
    assert!(connect(address, &old).await.is_err(), "the old one is not shown any more");
    let mut fresh = connect(address, &new).await.expect("the new one is");
    assert!(ask(&mut fresh).await.starts_with("HTTP/1.1 200 OK"));
    assert!(ask(&mut open).await.starts_with("HTTP/1.1 200 OK"), "an open connection stays");
}

#[tokio::test]
async fn a_bad_pair_is_refused_and_changes_nothing() {
    let (good, other) = (pair(), pair());
    let tls = tls(&good);
    let (address, _guard) = start(Settings { tls: Some(tls.clone()), ..testing::settings() }).await;
    for (certificate, key, why) in [
        (other.certificate.as_str(), good.key.as_str(), "cannot be used"),
        ("", good.key.as_str(), "no certificate"),
        (other.key.as_str(), other.key.as_str(), "no certificate"),
        (other.certificate.as_str(), "", "no private key"),
        (other.certificate.as_str(), other.certificate.as_str(), "no private key"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", good.key.as_str(), "no PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            good.key.as_str(),
            "cannot be used",
        ),
    ] {
        let refused = tls.replace(certificate.as_bytes(), key.as_bytes()).expect_err(why);
        assert!(refused.contains(why), "{refused}");
    }
    let mut stream = connect(address, &good).await.expect("the good one stays");
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn who_does_not_shake_hands_is_cut_off() {
    let settings = Settings {
        tls: Some(tls(&pair())),
        handshake_timeout: Duration::from_millis(50),
        ..testing::settings()
    };
    let (address, _guard) = start(settings).await;
    let mut silent = TcpStream::connect(address).await.expect("connect");
    let mut answer = Vec::new();
    // Returns only because the server closes the connection.
    timeout(WITHIN, silent.read_to_end(&mut answer)).await.expect("in time").expect("read");
    assert!(answer.is_empty());
    let mut plain = TcpStream::connect(address).await.expect("connect");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let _ = timeout(WITHIN, plain.read_to_end(&mut answer)).await.expect("in time");
    assert!(!answer.starts_with(b"HTTP/"), "plain HTTP is not answered");
}
