//! Where a story lives: folders, ports, names, and the binary under test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Once;

use model::Env;

/// A folder that is removed on drop, unless the test failed or `SKEP_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a folder whose name starts with `hint`.
    ///
    /// # Panics
    /// If the folder cannot be created.
    pub fn new(hint: &str) -> Self {
        let path = std::env::temp_dir().join(unique(hint));
        if let Err(error) = std::fs::create_dir_all(&path) {
            panic!("cannot create {}: {error}", path.display());
        }
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it now, whatever became of the test.
    pub(crate) fn remove(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
        std::mem::forget(self);
    }

    /// The path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() || environment("SKEP_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A port of 127.0.0.1 on which nothing listens now.
///
/// It lies below those that the kernel gives to outgoing connections and an engine to published ports, so
/// that a process which is killed finds it free again. Where the subject can listen on port 0 and say
/// where it listens, prefer that.
///
/// # Panics
/// If a thousand ports that were tried are all in use.
pub fn free_port() -> u16 {
    let env = Env::system();
    let port = (0..1_000)
        .map(|_| 10_000 + env.below(10_000) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    port.unwrap_or_else(|| panic!("no free port between 10000 and 19999 of 127.0.0.1"))
}

/// A name that no other test uses: `hint`, a dash, twelve hexadecimal digits.
pub fn unique(hint: &str) -> String {
    format!("{hint}-{:012x}", Env::system().random() & 0xffff_ffff_ffff)
}

/// The `skep` binary under test: what `SKEP_TEST_BINARY` names, or the one of this build.
///
/// # Panics
/// If it is not there. It warns if a source file is newer than it.
pub fn skep() -> PathBuf {
    if let Some(path) = environment("SKEP_TEST_BINARY") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/stories-0123456789abcdef lies beside target/debug/skep.
    let binary = test.ancestors().nth(2).unwrap_or(Path::new(".")).join("skep");
    let Ok(built) = binary.metadata().and_then(|data| data.modified()) else {
        panic!(
            "{} is missing: run cargo build --workspace --all-targets, or deploy/test.sh",
            binary.display()
        );
    };
    let newer = sources(&root().join("crates"))
        .into_iter()
        .find(|path| path.metadata().and_then(|data| data.modified()).is_ok_and(|at| at > built));
    if let Some(path) = newer {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let (binary, path) = (binary.display(), path.display());
            eprintln!("{binary} is older than {path}: run cargo build --workspace --all-targets");
        });
    }
    binary
}

/// The folder of the whole repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// All Rust source files under a folder, sorted; build output is left out.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A variable of the environment, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the suite is told by its environment where services are")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_with_their_owner() {
        let folder = Folder::new("place");
        std::fs::write(folder.join("file"), "x").unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    }

    #[test]
    fn names_differ() {
        assert_ne!(unique("a"), unique("a"));
    }

    #[test]
    fn sources_are_found() {
        assert!(sources(&root().join("tests")).iter().any(|path| path.ends_with("src/place.rs")));
    }
}
