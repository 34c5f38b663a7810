//! A server as the API shows it, with what is read from it. Fields may be missing: a server in a cell
//! that does not answer has only a few.

use serde_json::Value;

use super::table::clean;

/// One server.
#[derive(Clone, Debug)]
pub struct Server(pub Value);

impl Server {
    /// Its id.
    pub fn id(&self) -> &str {
        self.text("/id")
    }

    /// What a list shows of its id: the last 12 hex digits, as the first ones are the time.
    pub fn short_id(&self) -> String {
        let id = self.id();
        clean(id.get(id.len().saturating_sub(12)..).unwrap_or(id))
    }

    /// Its name; of one in a dark cell it is told beside Nova's fields.
    pub fn name(&self) -> String {
        clean(self.plain_name())
    }

    /// Its name as it is, for comparing.
    pub fn plain_name(&self) -> &str {
        let names = ["/name", "/skep/name"];
        names.iter().map(|at| self.text(at)).find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// Nova's status.
    pub fn status(&self) -> &str {
        self.text("/status")
    }

    /// What is being done to it.
    pub fn task(&self) -> Option<&str> {
        self.0.get("OS-EXT-STS:task_state").and_then(Value::as_str)
    }

    /// Status and task, for people; of one in a dark cell what was last heard of it.
    pub fn state(&self) -> String {
        let last = self.text("/skep/last_status");
        match (self.task(), self.exit_code()) {
            _ if !last.is_empty() => {
                let age = self.0.pointer("/skep/last_status_age_seconds").and_then(Value::as_u64);
                let age = age.map(|seconds| format!(" {seconds} s ago")).unwrap_or_default();
                clean(&format!("{} (was {last}{age})", self.status()))
            }
            (Some(task), _) => clean(&format!("{} ({task})", self.status())),
            (None, Some(code)) if self.status() == "SHUTOFF" => format!("SHUTOFF ({code})"),
            (None, _) => clean(self.status()),
        }
    }

    /// Why it is in error.
    pub fn fault(&self) -> Option<String> {
        self.0.pointer("/fault/message").and_then(Value::as_str).map(clean)
    }

    /// Exit code of the last run that ended.
    pub fn exit_code(&self) -> Option<i64> {
        self.0.pointer("/skep/exit_code").and_then(Value::as_i64)
    }

    /// The image's reference, or its id where there is nothing better.
    pub fn image(&self) -> String {
        let reference = ["/skep/image", "/image/name", "/image/id", "/image"];
        clean(reference.iter().map(|at| self.text(at)).find(|text| !text.is_empty()).unwrap_or_default())
    }

    /// When it was asked for.
    pub fn created(&self) -> &str {
        self.text("/created")
    }

    /// Published ports, `0.0.0.0:32768->80/tcp`; as wished for while nothing is published.
    pub fn ports(&self) -> String {
        let list = |at: &str| self.0.pointer(at).and_then(Value::as_array).filter(|ports| !ports.is_empty());
        let ports = list("/skep/bindings").or_else(|| list("/skep/ports"));
        let shown = ports.into_iter().flatten().map(|port| {
            if let Some(text) = port.as_str() {
                return clean(text);
            }
            let number = |key: &str| port.get(key).and_then(Value::as_u64).unwrap_or_default();
            let text = |key: &str| port.get(key).and_then(Value::as_str).unwrap_or_default();
            let inner = format!("{}/{}", number("container"), clean(text("protocol")));
            match (number("host"), text("address")) {
                (0, _) => inner,
                (host, "") => format!("{host}->{inner}"),
                (host, address) => format!("{}:{host}->{inner}", clean(address)),
            }
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The cell and the host, which administrators see.
    pub fn place(&self) -> (String, String) {
        let host = match self.text("/skep/host") {
            "" => self.text("/OS-EXT-SRV-ATTR:host"),
            host => host,
        };
        (clean(self.text("/skep/cell")), clean(host))
    }

    /// The text at a JSON pointer, empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_and_partial_servers() {
        let whole = Server(json!({
            "id": "019a0000-0000-7000-8000-0123456789ab", "name": "web", "status": "ACTIVE", "image": {"id": "i"},
            "OS-EXT-STS:task_state": null, "OS-EXT-SRV-ATTR:host": "h1",
            "skep": {"cell": "c1", "ports": ["80/tcp", "53/udp"], "bindings": [
                {"container": 80, "protocol": "tcp", "address": "10.0.0.1", "host": 32768},
                {"container": 53, "protocol": "udp", "address": "", "host": 0}]}
        }));
        assert_eq!(whole.short_id(), "0123456789ab");
        assert_eq!(whole.ports(), "10.0.0.1:32768->80/tcp, 53/udp");
        assert_eq!(whole.place(), ("c1".into(), "h1".into()));
        assert_eq!(whole.image(), "i");
        let wished = Server(json!({"skep": {"ports": ["80/tcp"], "bindings": []}}));
        assert_eq!(wished.ports(), "80/tcp");
        let partial = Server(json!({"id": "019a0000-0000-7000-8000-0123456789ab", "status": "UNKNOWN",
            "skep": {"name": "web", "last_status": "ACTIVE", "last_status_age_seconds": 12}}));
        assert_eq!((partial.name(), partial.ports()), ("web".into(), String::new()));
        assert_eq!(partial.state(), "UNKNOWN (was ACTIVE 12 s ago)");
    }
}
