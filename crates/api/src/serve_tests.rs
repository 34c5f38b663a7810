//! Tests of the accept loop over real sockets.

use super::*;
use crate::settings::Settings;
use crate::testing;

const WITHIN: Duration = Duration::from_secs(60);

struct Server {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(settings: Settings, drain: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let shutdown = CancellationToken::new();
    let app = App::without_verbs(model::Env::system(), settings);
    let task = tokio::spawn(serve(listener, app, shutdown.clone(), drain));
    Server { address, shutdown, task }
}

async fn connect(server: &Server) -> TcpStream {
    timeout(WITHIN, TcpStream::connect(server.address)).await.expect("in time").expect("connect")
}

/// Sends `text` and reads until the other side closes.
async fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    timeout(WITHIN, stream.read_to_end(&mut answer)).await.expect("in time").expect("read");
    String::from_utf8(answer).expect("text")
}

#[test]
fn the_canned_answer_is_well_formed() {
    let text = std::str::from_utf8(FULL).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
}

#[tokio::test]
async fn answers_and_drains() {
    let server = start(testing::settings(), WITHIN).await;
    let answer =
        exchange(connect(&server).await, "GET /v2.1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let mut idle = connect(&server).await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let mut first = [0; 12];
    timeout(WITHIN, idle.read_exact(&mut first)).await.expect("in time").expect("read");
    assert_eq!(&first, b"HTTP/1.1 200");
    server.shutdown.cancel();
    timeout(WITHIN, server.task).await.expect("an idle connection does not hold the drain up").expect("join");
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let server = start(testing::settings(), Duration::from_millis(50)).await;
    let mut stuck = connect(&server).await;
    stuck
        .write_all(b"POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t-member\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await
        .expect("write");
    // The interim answer tells that the request has reached its handler.
    let mut first = [0; 12];
    timeout(WITHIN, stuck.read_exact(&mut first)).await.expect("in time").expect("read");
    assert_eq!(&first, b"HTTP/1.1 100");
    server.shutdown.cancel();
    timeout(WITHIN, server.task).await.expect("does not wait for the body").expect("join");
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_so() {
    let server = start(Settings { max_connections: 1, ..testing::settings() }, WITHIN).await;
    let mut first = connect(&server).await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let mut some = [0; 12];
    timeout(WITHIN, first.read_exact(&mut some)).await.expect("in time").expect("read");
    let answer = exchange(connect(&server).await, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("Retry-After: 1"), "{answer}");
}

#[tokio::test]
async fn one_address_leaves_some_to_others() {
    let server = start(Settings { max_connections: 8, ..testing::settings() }, WITHIN).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // Each has been answered something, so that all are known to be held.
    let mut held = Vec::new();
    for _ in 0..7 {
        let mut stream = connect(&server).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
        let mut first = [0; 12];
        timeout(WITHIN, stream.read_exact(&mut first)).await.expect("in time").expect("read");
        held.push(stream);
    }
    let more = exchange(connect(&server).await, request).await;
    assert!(more.starts_with("HTTP/1.1 503"), "{more}");
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other.bind("127.0.0.2:0".parse().expect("an address")).expect("binds");
    let other = timeout(WITHIN, other.connect(server.address)).await.expect("in time").expect("connects");
    let answer = exchange(other, request).await;
    assert!(answer.starts_with("HTTP/1.1 300") || answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_never_reads_is_cut_off() {
    let settings = Settings { write_timeout: Duration::from_millis(200), ..testing::settings() };
    let server = start(settings, WITHIN).await;
    let mut stream = connect(&server).await;
    // Answers pile up until nothing more fits between the two, and then the requests do.
    let endless = async { while stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {} };
    timeout(WITHIN, endless).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let settings = Settings { header_timeout: Duration::from_millis(50), ..testing::settings() };
    let server = start(settings, WITHIN).await;
    // Returns only because the server closes the connection.
    let answer = exchange(connect(&server).await, "GET / HTTP/1.1\r\nHost:").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let settings = Settings { body_timeout: Duration::from_millis(50), ..testing::settings() };
    let server = start(settings, WITHIN).await;
    let head =
        "POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t-member\r\nContent-Length: 5\r\n\r\n{";
    let answer = exchange(connect(&server).await, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
