//! An API that answers by rote and remembers what it was asked, for testing the commands alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<String>,
    pub body: Value,
}

/// What is answered: status, more headers, body.
pub type Answer = (u16, &'static str, Value);

/// The stub, listening until the test's process ends.
pub struct Stub {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// Answers each request with what `answer` makes of its request line ("GET /path") and of how many
    /// requests came before it.
    pub fn new(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("has an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { url, asked }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Runs `skep` with this stub as its endpoint.
    pub fn skep(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(line.split_whitespace()).env("SKEP_ENDPOINT", &self.url).env("SKEP_TOKEN", "t0k");
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        // Polled, so that a command that hangs fails the test instead of holding it up.
        for _ in 0..3_000 {
            if child.try_wait().expect("can be waited for").is_some() {
                return child.wait_with_output().expect("has output");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().expect("can be killed");
        panic!("'skep {line}' did not end within 30 s");
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&str, usize) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().expect("clones"));
    let mut writer = stream;
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let length =
            lines.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).expect("reads the body");
        let line = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let before = {
            let mut seen = seen.lock().expect("no panic");
            seen.push(Asked { line: line.clone(), headers: lines[1..].to_vec(), body });
            seen.len() - 1
        };
        let (status, headers, body) = answer(&line, before);
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let more = if headers.is_empty() { String::new() } else { format!("{headers}\r\n") };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{more}\r\n", text.len());
        writer.write_all((head + &text).as_bytes()).expect("answers");
    }
}
