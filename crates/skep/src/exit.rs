//! How a command ends: exit codes, and the one sentence that goes with a failure.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Exit codes. Scripts rely on them; `docs/operations.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All of it was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line, the environment or the configuration is wrong. clap uses the same number.
    Usage = 2,
    /// It was done as far as cells answered; at least one did not.
    Partial = 3,
    /// It was not finished in the time allowed; it may still finish.
    Timeout = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What was wrong and what to do.
    pub message: String,
}

impl Failure {
    /// It failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: Code::Failed, message: message.into() }
    }

    /// The command line, the environment or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into() }
    }

    /// It was not finished in the time allowed.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { code: Code::Timeout, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<model::Fault> for Failure {
    fn from(fault: model::Fault) -> Self {
        Self::new(fault.message)
    }
}

/// Writes a complaint to standard error, one line with our name before it.
pub fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "skep: {message}");
}

/// Writes `text` to standard output. A reader that has gone away (`skep ps | head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {why}")))
        }
        _ => Ok(()),
    }
}
