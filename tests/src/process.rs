//! Processes under supervision: their logs are kept, and they die with their owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::eventually_blocking;

/// How many lines of a log are printed when a test fails.
const TAIL: usize = 60;

/// A signal that a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Term,
    /// Stand still, as a machine does that hangs.
    Stop,
    /// Go on.
    Cont,
    /// End at once.
    Kill,
}

/// A child process, killed on drop; the end of its log is printed if the test failed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both of its outputs appended to `folder/name.log`.
    ///
    /// # Panics
    /// If the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, folder: &Path, mut command: Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log);
        let (out, err) = match (open(), open()) {
            (Ok(out), Ok(err)) => (out, err),
            (Err(error), _) | (_, Err(error)) => panic!("cannot open {}: {error}", log.display()),
        };
        match command.stdin(Stdio::null()).stdout(out).stderr(err).spawn() {
            Ok(child) => Self { name: name.to_owned(), child, log },
            Err(error) => panic!("cannot start {name} ({command:?}): {error}"),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal. A process that has ended is left alone.
    ///
    /// # Panics
    /// If `kill` fails although the process runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        let flag = match signal {
            Signal::Term => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Cont => "-CONT",
            Signal::Kill => "-KILL",
        };
        // The child is not reaped before `ended` is called again, so this pid is still its own.
        let sent = Command::new("kill").args([flag, &self.pid().to_string()]).status();
        assert!(
            sent.as_ref().is_ok_and(ExitStatus::success),
            "cannot send {signal:?} to {}: {sent:?}",
            self.name
        );
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        // An error means that it was gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::Term);
        self.wait(deadline)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually_blocking(deadline, &what, || self.ended().ok_or_else(|| "a running process".into()))
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last `lines` lines that it wrote.
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let status = self.ended().map_or("unknown".into(), |status| status.to_string());
            eprintln!(
                "--- end of {} ({status}), all of it in {}\n{}",
                self.name,
                self.log.display(),
                self.tail(TAIL)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::place::Folder;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(folder: &Folder, script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("shell", folder.path(), command)
    }

    fn state(process: &Process) -> char {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap().chars().next().unwrap()
    }

    fn until_state(process: &Process, wanted: char) {
        eventually_blocking(SOON, "a process state", || match state(process) {
            found if found == wanted => Ok(()),
            found => Err(found.to_string()),
        });
    }

    #[test]
    fn both_outputs_are_logged() {
        let folder = Folder::new("process");
        let mut process = shell(&folder, "echo one; echo two >&2; exit 3");
        assert_eq!(process.wait(SOON).code(), Some(3));
        assert_eq!(process.log(), "one\ntwo\n");
        assert_eq!(process.tail(1), "two");
    }

    #[test]
    fn a_process_stands_still_and_goes_on() {
        let folder = Folder::new("process");
        let mut process = shell(&folder, "exec sleep 60");
        process.signal(Signal::Stop);
        until_state(&process, 'T');
        process.signal(Signal::Cont);
        until_state(&process, 'S');
        assert_eq!(process.terminate(SOON).signal(), Some(15));
    }

    #[test]
    fn a_process_dies_with_its_owner_even_when_it_stands_still() {
        let folder = Folder::new("process");
        let mut process = shell(&folder, "exec sleep 60");
        process.signal(Signal::Stop);
        let pid = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn waiting_has_a_deadline() {
        let folder = Folder::new("process");
        let mut process = shell(&folder, "exec sleep 60");
        let wait = std::panic::AssertUnwindSafe(|| process.wait(Duration::from_millis(50)));
        let panic = std::panic::catch_unwind(wait).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("the end of shell: not within 50ms"), "{text}");
    }
}
