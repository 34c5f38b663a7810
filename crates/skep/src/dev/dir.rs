//! The directory of a development cloud: who uses it, what lies in it, and its end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::Env;

use super::plan::Plan;
use crate::exit::Failure;

/// Says that a directory is ours, and holds the plan.
const PLAN: &str = "dev.toml";
/// Everything that we ever put into it.
const OURS: [&str; 8] =
    ["api.db", "cell0.db", "hosts", "token", "password", "clouds.yaml", "skep.env", "control.sock"];

/// A directory that this process alone uses, until it is dropped.
pub struct Dir {
    /// Its absolute path.
    pub path: PathBuf,
    /// The plan that it was made for.
    pub plan: Plan,
    /// Whether it was there before.
    pub resumed: bool,
    _lock: File,
}

impl Dir {
    /// Makes the directory, or resumes it with the plan that lies in it.
    pub fn open(path: &Path, wanted: impl FnOnce() -> Result<Plan, Failure>) -> Result<Self, Failure> {
        let at = path.display();
        let wrong = |what: &str, why: std::io::Error| Failure::new(format!("cannot {what} in {at}: {why}"));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|why| Failure::new(format!("cannot make {at}: {why}")))?;
        let path = path.canonicalize().map_err(|why| wrong("find my way", why))?;
        let known = std::fs::read_to_string(path.join(PLAN));
        let foreign = |name: std::ffi::OsString| name != "lock";
        let filled = || -> std::io::Result<bool> {
            Ok(std::fs::read_dir(&path)?.filter_map(Result::ok).any(|entry| foreign(entry.file_name())))
        };
        if known.is_err() && filled().map_err(|why| wrong("look", why))? {
            return Err(Failure::usage(format!(
                "{at} is not empty and no development cloud lies in it: give another --dir"
            )));
        }
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|why| wrong("make a lock", why))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(format!(
                    "another `skep dev` uses {at}: stop it, or give another --dir (and another --listen)"
                )));
            }
            Err(TryLockError::Error(why)) => return Err(wrong("take the lock", why)),
        }
        let (plan, resumed) = match known {
            Ok(text) => {
                let plan = toml::from_str(&text).map_err(|why| {
                    Failure::new(format!(
                        "{at}/{PLAN} cannot be read ({}): remove {at} to begin anew",
                        why.message()
                    ))
                })?;
                (plan, true)
            }
            Err(why) if why.kind() == ErrorKind::NotFound => (wanted()?, false),
            Err(why) => return Err(wrong("read the plan", why)),
        };
        let dir = Self { path, plan, resumed, _lock: lock };
        dir.keep_plan()?;
        Ok(dir)
    }

    /// Writes the plan down.
    pub fn keep_plan(&self) -> Result<(), Failure> {
        let text = toml::to_string(&self.plan).map_err(|why| Failure::new(why.to_string()))?;
        self.write(PLAN, &text)
    }

    /// A path inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The URL of a SQLite database inside.
    pub fn database(&self, name: &str) -> String {
        // '%' and '?' mean something in these URLs.
        let path = self.join(&format!("{name}.db")).display().to_string();
        format!("sqlite:{}", path.replace('%', "%25").replace('?', "%3F"))
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let aside = self.join(&format!("{name}.new"));
        let write = || {
            let mut file =
                OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(text.as_bytes())?;
            std::fs::rename(&aside, self.join(name))
        };
        write().map_err(|why| Failure::new(format!("cannot write {}: {why}", self.join(name).display())))
    }

    /// The token, made at the first start.
    pub fn token(&self, env: &Env) -> Result<String, Failure> {
        match std::fs::read_to_string(self.join("token")) {
            Ok(token) if !token.trim().is_empty() => Ok(token.trim().to_owned()),
            _ => {
                let token: String = (0..4).map(|_| format!("{:016x}", env.random())).collect();
                self.write("token", &format!("{token}\n"))?;
                Ok(token)
            }
        }
    }

    /// The administrator's password, if there was one.
    pub fn password(&self) -> Option<String> {
        let kept = std::fs::read_to_string(self.join("password")).ok()?;
        Some(kept.trim().to_owned()).filter(|password| !password.is_empty())
    }

    /// Removes what we made, and the directory if nothing else lies in it.
    pub fn remove(self) {
        let databases = self.plan.cells().into_iter().map(|cell| format!("{}.db", cell.name));
        let names = OURS.map(str::to_owned).into_iter().chain(databases);
        for name in names {
            let _ = std::fs::remove_dir_all(self.join(&name));
            for end in ["", "-wal", "-shm", ".new"] {
                let _ = std::fs::remove_file(self.join(&format!("{name}{end}")));
            }
        }
        let _ = std::fs::remove_file(self.join(PLAN));
        let _ = std::fs::remove_file(self.join("lock"));
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Result<Plan, Failure> {
        Ok(Plan { regions: 1, cells: 2, hosts: 1, engine: "scripted".into() })
    }

    fn fresh() -> PathBuf {
        std::env::temp_dir().join(format!("skep-dir-{}", Env::system().uuid()))
    }

    #[test]
    fn one_user_at_a_time_and_resumed() {
        let path = fresh();
        let dir = Dir::open(&path, plan).expect("is made");
        let token = dir.token(&Env::system()).expect("is made");
        assert!(!dir.resumed && token.len() == 64);
        let why = Dir::open(&path, plan).err().expect("is used").message;
        assert!(why.contains("another `skep dev` uses"), "{why}");
        drop(dir);
        let dir = Dir::open(&path, || Err(Failure::new("not asked"))).expect("is resumed");
        assert!(dir.resumed && dir.plan.cells == 2);
        assert_eq!(dir.token(&Env::system()).expect("is read"), token);
        dir.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let path = fresh();
        std::fs::create_dir(&path).expect("is made");
        std::fs::write(path.join("precious"), "x").expect("is written");
        assert!(Dir::open(&path, plan).is_err_and(|why| why.message.contains("not empty")));
        std::fs::remove_file(path.join("precious")).expect("is removed");
        let dir = Dir::open(&path, plan).expect("an empty directory is taken");
        std::fs::write(path.join("precious"), "x").expect("is written");
        dir.remove();
        assert_eq!(std::fs::read_dir(&path).expect("is there").count(), 1, "only the precious file is left");
        std::fs::remove_dir_all(&path).expect("cleans up");
    }
}
