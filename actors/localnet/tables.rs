//! The report for eyes.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{
    plan::Part,
    report::{NodeReport, Report},
};

/// Digits of a hash or an id that are shown: enough to tell a few apart. Of a block's hash the
/// last ones, since it begins with zeros.
const DIGITS: usize = 10;

/// Everything, top to bottom.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let phases = report.phases;
    for replayed in &report.replayed {
        let _ = writeln!(
            text,
            "Replayed {}: block {} with {} transactions",
            replayed.name, replayed.hash, replayed.transactions
        );
    }
    let _ = writeln!(text, "\n{}\n", nodes(report));
    let _ = writeln!(
        text,
        "Nodes met in {} ms, transactions spread in {} ms, blocks and votes in {} ms, bans in {} ms",
        phases.meet_ms, phases.transactions_ms, phases.blocks_ms, phases.attack_ms
    );
    let _ = writeln!(text, "\nScores, as node 0's Admin actor gives them\n{}", scores(report));
    if let Some(hostile) = &report.hostile {
        let _ = writeln!(text, "\nWhy node 0 banned {}:\n", head(&hostile.node));
        let _ = writeln!(text, "{}", hostile.text.trim_end());
    }
    let verdict = if report.passed { "PASSED" } else { "FAILED" };
    let _ = writeln!(text, "\n{verdict} in {:.1} s", phases.total_ms as f64 / 1_000.0);
    for failure in &report.failures {
        let _ = writeln!(text, "  {failure}");
    }
    text
}

fn nodes(report: &Report) -> Table {
    let mut table = table(&[
        "node",
        "part",
        "peers",
        "transactions",
        "block",
        "first byte ms",
        "verified ms",
        "bytes in",
        "bytes out",
        "duplicates",
        "votes",
        "banned",
    ]);
    for node in &report.nodes {
        let last = node.blocks.last();
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let banned = match (&report.hostile, node.part) {
            (None, _) | (_, Part::Hostile) => "-",
            _ if node.banned_hostile => "yes",
            _ if !node.met_hostile => "-",
            _ => "no",
        };
        let row = [
            format!("node-{}", node.index),
            part(node).to_owned(),
            node.peers.to_string(),
            node.transactions.to_string(),
            cell(last.map(|block| tail(&block.hash))),
            cell(last.map(|block| block.first_byte_ms.to_string())),
            cell(last.map(|block| block.verified_ms.to_string())),
            node.bytes_in.to_string(),
            node.bytes_out.to_string(),
            node.duplicates.to_string(),
            node.votes.to_string(),
            banned.to_owned(),
        ];
        table.add_row(aligned(row, 2));
    }
    table
}

fn scores(report: &Report) -> Table {
    let mut table = table(&["agent", "peer", "standing", "score", "round trip ms"]);
    for row in &report.scores {
        let round_trip = row.round_trip_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let score = format!("{:+.3}", row.score);
        let cells = [row.agent.clone(), head(&row.peer), row.standing.clone(), score, round_trip];
        table.add_row(aligned(cells, 3));
    }
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

/// Texts to the left, numbers, from column `numbers` on, to the right.
fn aligned<const N: usize>(row: [String; N], numbers: usize) -> Vec<Cell> {
    let align = |column| if column < numbers { CellAlignment::Left } else { CellAlignment::Right };
    let cells = row.into_iter().enumerate();
    cells.map(|(column, text)| Cell::new(text).set_alignment(align(column))).collect()
}

fn part(node: &NodeReport) -> &'static str {
    match node.part {
        Part::Validator => "validator",
        Part::Observer => "observer",
        Part::Hostile => "hostile",
    }
}

fn head(text: &str) -> String {
    text.chars().take(DIGITS).collect()
}

fn tail(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(DIGITS);
    std::iter::once('…').chain(text.chars().skip(skipped)).collect()
}

/// What to try while the network is up.
pub(super) fn commands(report: &Report) -> String {
    let mut text = String::from("\nThe network is up until Ctrl-C. In another terminal, try:\n");
    let Some(first) = report.nodes.first() else { return text };
    let socket = first.socket.display();
    let mut line = |command: String| {
        let _ = writeln!(text, "  peerstage {command} --socket {socket}");
    };
    line("netinfo".to_owned());
    line("peers".to_owned());
    line("status".to_owned());
    if let Some(hostile) = &report.hostile {
        line(format!("explain {}", head(&hostile.node)));
        line(format!("unban {}", head(&hostile.node)));
        line(format!("ban {} --for 1m", head(&hostile.node)));
    }
    let _ = writeln!(text, "Every node has a socket of its own: {}", report.folder.display());
    text
}
