//! Processes that start otherwise than before.

use std::process::Command;

use model::Env;

use super::Estate;
use crate::skep;

/// Shows a file in place of the kernel's boot id to a program, and to no other.
const BOOTED: &str = r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;

impl Estate {
    /// Has a process be given one more variable, which overrides the file, from its next start on.
    pub fn vary(&mut self, name: &str, variable: &'static str, value: &str) {
        self.role(name).variables.push((variable, value.to_owned()));
    }

    /// Starts a process that is dead as after a boot of its machine: it reads another boot id than before. It is not
    /// waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_booted(&mut self, name: &str) {
        let id = self.put("boot-id", &format!("{}\n", Env::system().uuid()));
        // Its variables are none but those of a role, so that programs are named by their paths.
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", BOOTED]).arg(id).arg(skep());
        self.run_by(name, command);
    }
}
