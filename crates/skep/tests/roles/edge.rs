//! The API's certificate and policy: read at the start, read again while it runs, and refused when they
//! cannot be used. And the command line over https.

use super::process::{Dir, Process, free, skep, until};
use super::{code, err, out};

const TOKEN: &str = "0123456789abcdef";

/// Writes a certificate for 127.0.0.1 that vouches for itself, and its key; returns the certificate.
fn certificate(dir: &Dir) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("is made");
    dir.file("key.pem", &made.signing_key.serialize_pem());
    dir.file("cert.pem", &made.cert.pem());
    made.cert.pem()
}

#[test]
fn certificate_and_policy_are_read_again() {
    let dir = Dir::new();
    let (at, listen) = (dir.0.display(), free());
    let first = certificate(&dir);
    dir.file("first.pem", &first);
    dir.file("policy.yaml", "# nothing yet\n");
    let config = dir.file(
        "api.toml",
        &format!(
            "[api]\nlisten = '{listen}'\ntls_cert = '{at}/cert.pem'\ntls_key = '{at}/key.pem'\n\
             policy_file = '{at}/policy.yaml'\n\
             tokens = [{{ token = '{TOKEN}', user = 'u', project = 'p', roles = ['member'] }}]\n\
             [api_database]\nurl = 'sqlite:{at}/api.db'\n[cell0.database]\nurl = 'sqlite:{at}/cell0.db'\n"
        ),
    );
    let synced = skep(&format!("db sync --config {config}"));
    assert_eq!(code(&synced), 0, "{}", err(&synced));
    dir.file("token", TOKEN);
    let ask = |command: &str, trusted: &str| {
        skep(&format!(
            "{command} --endpoint https://{listen} --token-file {at}/token --ca-file {at}/{trusted}"
        ))
    };
    let mut api = Process::start(&format!("api --config {config}"), &dir.0.join("out"), &dir.0.join("log"));
    until("the API answers over https", || code(&ask("ps", "first.pem")) == 0);
    let denied = ask("status", "first.pem");
    assert_eq!(code(&denied), 1);
    assert!(err(&denied).contains("Policy doesn't allow skep:status"), "{}", err(&denied));

    dir.file("policy.yaml", "\"skep:status\": \"role:member\"\n");
    until("the policy is read again", || code(&ask("status", "first.pem")) != 1);
    dir.file("policy.yaml", "\"skep:status\": \"role:member\"\n\"skep:statsu\": \"!\"\n");
    until("a bad one is complained of", || {
        dir.read("log").contains("policy.yaml:2: there is no rule 'skep:statsu'")
    });
    assert_ne!(code(&ask("status", "first.pem")), 1, "the old one stays");

    let second = certificate(&dir);
    dir.file("second.pem", &second);
    until("the certificate is read again", || code(&ask("ps", "second.pem")) == 0);
    let stale = ask("ps", "first.pem");
    assert_eq!(code(&stale), 1);
    assert!(err(&stale).contains("--ca-file"), "{}", err(&stale));
    dir.file("cert.pem", &first);
    until("a pair that does not match is complained of", || dir.read("log").contains("cannot be used"));
    assert_eq!(code(&ask("ps", "second.pem")), 0, "the old pair stays");
    let complaints = || dir.read("log").matches("the old stays in force").count();
    let before = complaints();
    api.signal("HUP");
    until("SIGHUP reads them again", || complaints() >= before + 2);
    api.signal("TERM");
    assert_eq!(api.code(), 0);
}

#[test]
fn a_bad_certificate_or_policy_is_refused_at_the_start() {
    let dir = Dir::new();
    let at = dir.0.display();
    certificate(&dir);
    let start = |more: &str| {
        let text = format!(
            "[api]\nlisten = '127.0.0.1:0'\ntokens = [{{ token = '{TOKEN}', user = 'u', project = 'p' }}]\n{more}\n\
             [api_database]\nurl = 'sqlite:{at}/api.db'\n"
        );
        let config = dir.file("api.toml", &text);
        let ended = skep(&format!("api --config {config}"));
        (code(&ended), err(&ended))
    };
    dir.file("policy.yaml", "\n\"skep:statsu\": \"!\"\n");
    for (more, why) in [
        (format!("tls_cert = '{at}/cert.pem'"), "belong together"),
        (format!("tls_cert = '{at}/cert.pem'\ntls_key = '{at}/none'"), "api.tls_key: cannot read"),
        (format!("tls_cert = '{at}/cert.pem'\ntls_key = '{at}/cert.pem'"), "no private key"),
        (format!("policy_file = '{at}/policy.yaml'"), "policy.yaml:2: there is no rule 'skep:statsu'"),
        (format!("policy_file = '{at}/none.yaml'"), "api.policy_file: cannot read"),
    ] {
        let (code, said) = start(&more);
        assert_eq!(code, 2, "{more}: {said}");
        assert!(said.contains(why), "{more}: {said}");
    }
}

#[test]
fn the_policy_is_listed_and_asked() {
    let dir = Dir::new();
    let listed = out(&skep("policy list"));
    assert!(listed.contains("\"os_compute_api:servers:delete\": \"role:member\"\n"), "{listed}");
    // What is listed is a file again, but for the rules that no file may change: they are for everybody.
    let file: String =
        listed.lines().filter(|line| !line.ends_with("\"@\"")).map(|l| format!("{l}\n")).collect();
    let policy = dir.file(
        "policy.yaml",
        &file.replace(
            "\"os_compute_api:servers:delete\": \"role:member\"",
            "\"os_compute_api:servers:delete\": \"role:member and user_id:%(user_id)s\"",
        ),
    );
    let config = dir.file("api.toml", &format!("[api]\npolicy_file = '{policy}'\n"));
    let check = |more: &str| {
        let asked =
            skep(&format!("policy check --config {config} --rule os_compute_api:servers:delete {more}"));
        (code(&asked), out(&asked))
    };
    assert_eq!(check("--role member"), (0, "allowed\n".to_owned()));
    assert_eq!(check("--role member --target-user somebody"), (1, "denied\n".to_owned()));
    assert_eq!(check("--role reader"), (1, "denied\n".to_owned()));
    let unknown = skep("policy check --role admin --rule os_compute_api:servers:delte");
    assert_eq!(code(&unknown), 2, "{}", err(&unknown));
}

#[test]
fn a_rule_may_ask_whose_a_server_is() {
    let dir = Dir::new();
    let (at, listen) = (dir.0.display(), free());
    dir.file("policy.yaml", "\"os_compute_api:servers:delete\": \"user_id:%(user_id)s\"\n");
    let token = |user: &str| {
        let token = format!("{TOKEN}{user}");
        dir.file(user, &token);
        format!("{{ token = '{token}', user = '{user}', project = 'p', roles = ['member'] }}")
    };
    let tokens = [token("alice"), token("bob")].join(", ");
    let config = dir.file(
        "api.toml",
        &format!(
            "[api]\nlisten = '{listen}'\npolicy_file = '{at}/policy.yaml'\ntokens = [{tokens}]\n\
             [api_database]\nurl = 'sqlite:{at}/api.db'\n[cell0.database]\nurl = 'sqlite:{at}/cell0.db'\n"
        ),
    );
    assert_eq!(code(&skep(&format!("db sync --config {config}"))), 0);
    let ask = |user: &str, command: &str| {
        skep(&format!("{command} --endpoint http://{listen} --token-file {at}/{user}"))
    };
    let _api = Process::start(&format!("api --config {config}"), &dir.0.join("out"), &dir.0.join("log"));
    until("the API answers", || code(&ask("alice", "ps")) == 0);
    let made = skep(&format!("run --name web --endpoint http://{listen} --token-file {at}/alice busybox"));
    assert_eq!(code(&made), 0, "{}", err(&made));
    let denied = ask("bob", "rm web");
    assert_eq!(code(&denied), 1);
    assert!(err(&denied).contains("Policy doesn't allow os_compute_api:servers:delete"), "{}", err(&denied));
    let log = dir.read("log");
    let refused = log.lines().find(|line| line.contains("status=403")).expect("is logged");
    assert!(refused.contains("request_id"), "{refused}");
    assert_eq!(code(&ask("bob", "show web")), 0, "the project's others see it");
    let removed = ask("alice", "rm web");
    assert_eq!(code(&removed), 0, "{}", err(&removed));
}
