//! What an estate makes in the Docker Engine of the run, and its removal.

use model::HostId;

use crate::services::Docker;

/// What an estate has in an engine that others use too.
pub struct Containers {
    /// The engine.
    pub docker: Docker,
    /// The hosts whose containers are ours.
    pub hosts: Vec<HostId>,
}

impl Drop for Containers {
    fn drop(&mut self) {
        // The processes are dead, so nothing is added any more. A failure leaves containers behind, and
        // the story has its own verdict.
        let wanted: Vec<String> = self.hosts.iter().map(HostId::to_string).collect();
        let ours = |format: &str, list: &[&str]| -> Vec<String> {
            let listed = self.docker.try_cli(&[list, &["--format", format]].concat()).unwrap_or_default();
            let mine = |line: &&str| wanted.iter().any(|host| line.contains(host.as_str()));
            listed.lines().filter(mine).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
        };
        let labels = r#"{{.ID}} {{.Label "skep.host"}} {{.Label "skep.probe"}}"#;
        for (list, remove) in
            [(&["ps", "-a", "--no-trunc"][..], &["rm", "-f"][..]), (&["network", "ls"], &["network", "rm"])]
        {
            let ids = ours(labels, list);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            if !ids.is_empty()
                && let Err(error) = self.docker.try_cli(&[remove, &ids].concat())
            {
                eprintln!("{error}");
            }
        }
    }
}
