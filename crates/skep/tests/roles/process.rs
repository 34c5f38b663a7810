//! A `skep` process, its directory, and what can be asked of it from outside.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

/// A directory of its own, removed at the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("skep-roles-{}", model::Env::system().uuid().simple()));
        std::fs::create_dir(&path).expect("is made");
        Self(path)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("is written");
        path.display().to_string()
    }

    /// The file's text, empty if there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command to its end.
pub fn skep(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skep")).args(line.split_whitespace()).output().expect("runs")
}

/// An address that nobody listens on.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("is found")
}

/// A process that is killed at the end of its test.
pub struct Process(Child);

impl Process {
    /// Starts one whose standard output and error go to the files `out` and `log`.
    pub fn start(line: &str, out: &Path, log: &Path) -> Self {
        let [out, log] = [out, log].map(|path| std::fs::File::create(path).expect("is made"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        let child = command.args(line.split_whitespace()).stdout(out).stderr(log).spawn();
        Self(child.expect("starts"))
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status();
        assert!(kill.expect("runs").success());
    }

    /// Its exit code, once it has ended.
    pub fn code(&mut self) -> i32 {
        let mut code = None;
        until("the process ends", || {
            code = self.0.try_wait().expect("can be waited for").map(|status| status.code());
            code.is_some()
        });
        code.flatten().expect("was not killed by a signal")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so, at most 20 s.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited 20 s in vain: {what}");
}

/// Status and body of a GET; status 0 if nobody answers.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut request = String::new();
        let _ = write!(request, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
