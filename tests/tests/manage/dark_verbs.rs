//! Every verb with one cell frozen, one refused and cell0 frozen: it answers in time, with a documented exit code and
//! without a trace. The verbs are those that the help tells of; one without its line here fails.

use std::net::TcpListener;

use super::PROMPT;
use super::bed::{Bed, CANARY, beds};

/// Verbs of `skep`, a line for each, with the exit codes that it may end with.
const PEOPLE: &[(&str, &[i32])] = &[
    ("cell list -o wide", &[3]),
    ("cell list", &[0]),
    ("cell show frozen", &[3]),
    ("cell show good", &[0]),
    ("cell create --name n --region r --database-url FROZEN --transport-url BROKER", &[1]),
    ("cell set frozen --name frozen --dry-run", &[0]),
    ("cell rotate frozen --database-url REFUSED", &[1]),
    ("cell cordon frozen", &[0]),
    ("cell testing frozen --project p", &[0]),
    ("cell cordon frozen", &[0]),
    ("cell uncordon frozen", &[0]),
    ("cell activate refused", &[0, 1]),
    ("cell drain frozen", &[0]),
    ("cell retire frozen", &[1]),
    ("cell rotate-keys", &[1]),
    ("cell delete refused --yes", &[1]),
    ("cell test frozen", &[1]),
    ("cell test good", &[1]),
    ("cell preflight refused", &[1]),
    ("cell sync frozen", &[3]),
    ("cell sync good", &[0, 1, 3]),
    ("host list", &[3]),
    ("host show h1", &[0]),
    ("host show nobody", &[1]),
    ("host disable h1 --reason x", &[0]),
    ("host enable h1", &[0]),
    ("host maintenance h1 --reason x", &[0]),
    ("host maintenance h1 --off", &[0]),
    ("host discover", &[3]),
    ("host join-token --cell good", &[0]),
    ("host join-token --cell frozen", &[1]),
    ("host revoke h1 --yes", &[1]),
    ("host delete h1 --yes", &[0]),
    ("instance list", &[3]),
    ("instance show INSTANCE", &[3]),
    ("task list", &[0]),
    ("task show INSTANCE", &[1]),
    ("task retry INSTANCE", &[1]),
    ("index rebuild", &[3]),
    ("doctor", &[2]),
];

/// Verbs of `skep-manage`, by Nova's codes.
const NOVA: &[(&str, &[i32])] = &[
    ("cell_v2 simple_cell_setup --transport-url BROKER", &[1, 255]),
    ("cell_v2 map_cell0 --database_connection FROZEN", &[0]),
    ("cell_v2 map_cell_and_hosts --name frozen --transport-url BROKER", &[1, 255]),
    ("cell_v2 map_instances --cell_uuid frozen", &[255]),
    ("cell_v2 verify_instance --uuid INSTANCE", &[255]),
    ("cell_v2 create_cell --name c --database_connection FROZEN --transport-url BROKER", &[0]),
    ("cell_v2 discover_hosts", &[255]),
    ("cell_v2 list_cells", &[0]),
    ("cell_v2 list_hosts", &[0]),
    ("cell_v2 update_cell --cell_uuid refused --disable", &[0]),
    ("cell_v2 delete_cell --cell_uuid frozen", &[255]),
    ("cell_v2 delete_host --cell_uuid frozen --host h1", &[2]),
    ("api_db sync", &[0]),
    ("api_db version", &[0]),
    ("api_db rotate_keys", &[255]),
    ("api_db restored", &[0]),
    ("api_db restored --confirm", &[1, 3]),
    ("db sync", &[1]),
    ("db version", &[255]),
    ("db archive_deleted_rows --all-cells", &[0]),
    ("db purge --all --all-cells", &[255]),
    ("db restored --cell-uuid frozen", &[1, 255]),
    ("placement audit", &[1]),
    ("status upgrade check", &[1]),
];

/// The verbs below a command, as its help lists them.
fn verbs(help: &dyn Fn(&str) -> String, above: &str) -> Vec<String> {
    let text = help(above);
    let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let verb = format!("{above} {name}").trim().to_owned();
        let below = verbs(help, &verb);
        if below.is_empty() { found.push(verb) } else { found.extend(below) }
    }
    found
}

fn all_have_lines(verbs: Vec<String>, lines: &[(&str, &[i32])]) {
    let missing: Vec<&String> = verbs
        .iter()
        .filter(|verb| !lines.iter().any(|(line, _)| line == verb || line.starts_with(&format!("{verb} "))))
        .collect();
    assert!(missing.is_empty(), "verbs without a line: {missing:?}");
    assert!(verbs.len() > 20, "the help was read: {verbs:?}");
}

/// Most of it is waiting: both engines at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_answers_while_cells_do_not() {
    let both = beds().await.into_iter().map(|bed| tokio::spawn(all(bed)));
    for ended in futures::future::join_all(both).await {
        ended.expect("a story");
    }
}

async fn all(mut bed: Bed) {
    let direct = |above: &str| bed.finish(bed.command(above, "--help"), above).out;
    let nouns = ["cell", "host", "instance", "task", "index"];
    all_have_lines(nouns.iter().flat_map(|noun| verbs(&direct, noun)).collect(), PEOPLE);
    all_have_lines(verbs(&|above: &str| bed.manage(&format!("{above} --help")).out, ""), NOVA);

    // It accepts and says nothing, as a frozen server does.
    let silence = TcpListener::bind("127.0.0.1:0").expect("listens");
    let at = |name: &str, port: u16| format!("postgres://u:{CANARY}@127.0.0.1:{port}/{name}");
    let frozen = at("frozen", silence.local_addr().expect("has an address").port());
    let refused = at("refused", 1);
    bed.map("frozen", &frozen);
    bed.map("refused", &refused);
    let cell0 = bed
        .manage(&format!("cell_v2 map_cell0 --database_connection {}", frozen.replace("/frozen", "/cell0")));
    assert_eq!(cell0.code, 0, "{cell0:?}");
    let good = bed.cell("good").await;
    bed.host(&good, "h1", true).await;
    let lost = bed.unbound().await;
    bed.bind(lost, bed.mapping("frozen").await.id).await;
    bed.write_config(&format!("[cell0.database]\nurl = '{frozen}'\n[cell.database]\nurl = '{frozen}'\n"));

    let words = [
        ("FROZEN", frozen.replace("/frozen", "/other")),
        ("REFUSED", refused.replace("/refused", "/other")),
        ("BROKER", bed.broker()),
        ("INSTANCE", lost.to_string()),
    ];
    let filled = |line: &str| words.iter().fold(line.to_owned(), |line, (word, is)| line.replace(word, is));
    let mut wrong = Vec::new();
    let mut look = |run: &dyn Fn(&Bed, &str) -> super::bed::Ended, lines: &[(&str, &[i32])]| {
        for (line, codes) in lines {
            let ended = run(&bed, &filled(line));
            let said = format!("{}{}", ended.out, ended.err);
            let trace = said.contains("panicked") || said.lines().count() > 30;
            if !codes.contains(&ended.code) || ended.took > PROMPT || trace {
                wrong.push(format!("{line}: {} after {:?}, not {codes:?}: {said}", ended.code, ended.took));
            }
        }
    };
    look(&|bed, line| bed.direct(line), PEOPLE);
    look(&|bed, line| bed.manage(line), NOVA);
    assert!(wrong.is_empty(), "{}: {}", bed.engine, wrong.join("\n"));
}
