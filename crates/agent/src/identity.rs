//! Who a host is: its id and its key, each in a file of its own beside the journal.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::{Env, Fault, HostId};
use rpc::{BrokerUser, HostKey, JoinToken};

/// Reads the host's id from the file `host-id` in `dir`, or makes one and keeps it there. A host is
/// known by this id alone; its name may change.
///
/// # Errors
/// If the file cannot be read, written or understood.
pub fn host_id(dir: &Path, env: &Env) -> Result<HostId, Fault> {
    let text = kept(dir, "host-id", || format!("{}\n", env.id::<HostId>()))?;
    let wrong = |why| cannot("understand the host id in", &dir.join("host-id"), &why);
    text.trim().parse().map_err(|why| wrong(format!("{why}")))
}

/// Reads the host's own key from the file `host-key` in `dir`, or makes one and keeps it there, readable by its
/// owner alone. The key never leaves the host; its cell learns the public half when the host enrols.
///
/// # Errors
/// As of [`host_id`].
pub fn host_key(dir: &Path, env: &Env) -> Result<HostKey, Fault> {
    let text = kept(dir, "host-key", || {
        let words: String = (0..4).map(|_| format!("{:016x}", env.random())).collect();
        words + "\n"
    })?;
    let wrong = || cannot("understand the key in", &dir.join("host-key"), &"it is not 64 hexadecimal digits");
    let digits = text.trim();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut seed = [0; 32];
    for (n, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
    }
    HostKey::from_seed(&seed)
}

/// The join token in a file, if there is such a file.
///
/// # Errors
/// If it is there and cannot be read.
pub(crate) fn join_token(path: &Path) -> Result<Option<JoinToken>, Fault> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(JoinToken::new(text.trim()))),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(cannot("read the join token in", path, &why)),
    }
}

/// The host's own user of the broker, if it was given one: name and password in the file `broker-user` in `dir`.
///
/// # Errors
/// If the file is there and cannot be read.
pub(crate) fn broker_user(dir: &Path) -> Result<Option<BrokerUser>, Fault> {
    let path = dir.join("broker-user");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(cannot("read", &path, &why)),
    };
    let user = text.trim_end().split_once('\n');
    // What cannot be understood is asked for again.
    Ok(user.map(|(name, password)| BrokerUser { name: name.to_owned(), password: password.to_owned() }))
}

/// Keeps the host's own user of the broker, readable by its owner alone, in the place of what was kept.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn keep_broker_user(dir: &Path, user: &BrokerUser) -> Result<(), Fault> {
    let path = dir.join("broker-user");
    let written = || -> std::io::Result<()> {
        let aside = aside(dir, "broker-user", &format!("{}\n{}\n", user.name, user.password))?;
        std::fs::rename(aside, &path)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|why| cannot("write", &path, &why))
}

/// Writes a text, readable by its owner alone, into a file beside the one of that name.
fn aside(dir: &Path, name: &str, text: &str) -> std::io::Result<PathBuf> {
    let path = dir.join(format!("{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

/// The text of a file, which is made if it is not there.
fn kept(dir: &Path, name: &str, make: impl FnOnce() -> String) -> Result<String, Fault> {
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(text),
        Err(why) if why.kind() == ErrorKind::NotFound => {}
        Err(why) => return Err(cannot("read", &path, &why)),
    }
    let written = || -> std::io::Result<String> {
        std::fs::create_dir_all(dir)?;
        // Written aside and linked, so that a crash leaves either no file or a whole one, and of two who begin at
        // the same time one wins.
        let aside = aside(dir, name, &make())?;
        let linked = match std::fs::hard_link(&aside, &path) {
            Err(why) if why.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        };
        std::fs::remove_file(&aside)?;
        linked?;
        File::open(dir)?.sync_all()?;
        let mut text = String::new();
        File::open(&path)?.read_to_string(&mut text)?;
        Ok(text)
    };
    written().map_err(|why| cannot("write", &path, &why))
}

fn cannot(what: &str, path: &Path, why: &dyn std::fmt::Display) -> Fault {
    Fault::internal(format!("cannot {what} {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn id_and_key_stay() {
        let env = Env::system();
        let dir = std::env::temp_dir().join(format!("skep-host-{}", env.uuid()));
        let (id, key) = (host_id(&dir, &env).expect("an id"), host_key(&dir, &env).expect("a key"));
        assert_eq!(host_id(&dir, &env).expect("the id is read"), id);
        assert_eq!(host_key(&dir, &env).expect("the key is read").public(), key.public());
        let mode = std::fs::metadata(dir.join("host-key")).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut names: Vec<_> =
            std::fs::read_dir(&dir).expect("lists").map(|e| e.expect("is there").file_name()).collect();
        names.sort();
        assert_eq!(names, ["host-id", "host-key"]);
        for (name, rubbish) in
            [("host-id", "rubbish"), ("host-key", "rubbish"), ("host-key", "é".repeat(32).as_str())]
        {
            std::fs::write(dir.join(name), rubbish).expect("writes");
        }
        assert!(host_id(&dir, &env).is_err(), "rubbish must not become a new identity");
        assert!(host_key(&dir, &env).is_err(), "nor a new key");
        std::fs::remove_dir_all(dir).expect("cleans up");
    }

    #[test]
    fn a_user_is_kept_and_replaced() {
        let dir = std::env::temp_dir().join(format!("skep-user-{}", Env::system().uuid()));
        assert_eq!(broker_user(&dir).expect("nothing"), None);
        std::fs::create_dir(&dir).expect("makes it");
        for password in ["one", "two"] {
            let user = BrokerUser { name: "/.host.1".into(), password: password.into() };
            keep_broker_user(&dir, &user).expect("is kept");
            assert_eq!(broker_user(&dir).expect("is read"), Some(user));
        }
        let files: Vec<_> = std::fs::read_dir(&dir).expect("lists").map(|e| e.expect("is there")).collect();
        let mode = files[0].metadata().expect("is there").permissions().mode();
        assert_eq!((files.len(), mode & 0o777), (1, 0o600));
        std::fs::write(dir.join("broker-user"), "rubbish\n").expect("writes");
        assert_eq!(broker_user(&dir).expect("is asked for again"), None);
        std::fs::remove_dir_all(dir).expect("cleans up");
    }

    #[test]
    fn a_token_may_be_missing() {
        let path = std::env::temp_dir().join(format!("skep-join-{}", Env::system().uuid()));
        assert_eq!(join_token(&path).expect("nothing"), None);
        std::fs::write(&path, "\n").expect("writes");
        assert_eq!(join_token(&path).expect("nothing"), None);
        std::fs::write(&path, "abc\n").expect("writes");
        assert_eq!(join_token(&path).expect("a token"), Some(JoinToken::new("abc")));
        std::fs::remove_file(path).expect("cleans up");
    }
}
