//! Each fault of the proxy does what it says, and its end ends it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Faults, Proxy};
use crate::Folder;

/// A server that says back what it is told, and a proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::before(&format!("echo://somebody@{address}/")).await
}

async fn client(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// What comes back for `text`: nothing at the time limit, an error at an end.
async fn within(limit: u64, stream: &mut TcpStream, text: &[u8]) -> Option<Result<Vec<u8>, std::io::Error>> {
    let asked = async {
        stream.write_all(text).await?;
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    };
    tokio::time::timeout(Duration::from_millis(limit), asked).await.ok()
}

async fn ask(stream: &mut TcpStream, text: &[u8]) -> Option<Result<Vec<u8>, std::io::Error>> {
    within(30_000, stream, text).await
}

async fn works(stream: &mut TcpStream) -> bool {
    matches!(ask(stream, b"works").await, Some(Ok(back)) if back == b"works")
}

#[tokio::test]
async fn it_passes_on_and_knows_urls() {
    let proxy = echo().await;
    assert!(works(&mut client(&proxy).await).await);
    let url = proxy.url("amqp://guest:guest@127.0.0.1:5672/vhost");
    assert_eq!(url, format!("amqp://guest:guest@{}/vhost", proxy.address()));
}

#[tokio::test]
async fn it_refuses_and_resets() {
    let proxy = echo().await;
    let mut open = client(&proxy).await;
    assert!(works(&mut open).await);
    proxy.set(Faults { refuse: true, ..Faults::default() });
    assert!(works(&mut open).await, "what is open stays");
    assert!(matches!(ask(&mut client(&proxy).await, b"x").await, Some(Err(_))));
    proxy.reset();
    let mut rest = [0; 1];
    let end = tokio::time::timeout(Duration::from_secs(30), open.read(&mut rest)).await.unwrap();
    assert!(end.is_err(), "a reset is no orderly end: {end:?}");
    proxy.heal();
    assert!(works(&mut client(&proxy).await).await);
}

#[tokio::test]
async fn it_stalls_one_way_and_goes_on() {
    let proxy = echo().await;
    for faults in
        [Faults { stall_up: true, ..Faults::default() }, Faults { stall_down: true, ..Faults::default() }]
    {
        let mut stream = client(&proxy).await;
        proxy.set(faults);
        assert!(within(300, &mut stream, b"later").await.is_none(), "{faults:?}");
        proxy.heal();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"later", "nothing is lost");
        assert!(works(&mut stream).await);
    }
}

#[tokio::test]
async fn it_is_slow() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    let (delay, jitter) = (Duration::from_millis(200), Duration::from_millis(10));
    proxy.set(Faults { delay, jitter, ..Faults::default() });
    assert!(within(300, &mut stream, b"x").await.is_none(), "there and back again is 400 ms");
    proxy.heal();
    stream.read_exact(&mut [0; 1]).await.unwrap();
}

#[tokio::test]
async fn it_cuts_after_so_many_bytes_so_many_times() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    proxy.set(Faults { cut_after: Some(8), cuts: 1, ..Faults::default() });
    assert!(works(&mut stream).await);
    assert!(matches!(ask(&mut stream, b"works").await, Some(Err(_))));
    let mut stream = client(&proxy).await;
    assert!(works(&mut stream).await && works(&mut stream).await, "that was the one cut");
    assert_eq!(proxy.cuts(), 1);
}

#[tokio::test]
async fn it_loses_the_answer_to_a_word() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    proxy.set(Faults { lose_answer_to: Some(b"COMMIT"), cuts: 1, ..Faults::default() });
    assert!(works(&mut stream).await);
    stream.write_all(b"COM").await.unwrap();
    stream.read_exact(&mut [0; 3]).await.unwrap();
    assert!(matches!(ask(&mut stream, b"MIT").await, Some(Err(_))), "also in two packets");
    assert_eq!(proxy.cuts(), 1);
    let mut stream = client(&proxy).await;
    assert!(matches!(ask(&mut stream, b"COMMIT").await, Some(Ok(_))));
}

#[tokio::test]
async fn it_stands_before_unix_sockets_too() {
    let folder = Folder::new("proxy");
    let (at, server) = (folder.join("proxy"), folder.join("server"));
    let listener = UnixListener::bind(&server).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
    });
    let _proxy = Proxy::unix(&at, &server);
    let mut back = [0; 5];
    UnixStream::connect(&at).await.unwrap().read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}
