//! Gathers the report: views of the nodes, and what their Admin actors answer.

use peerstage_core::time::Time;

use super::{
    LocalnetError,
    drive::Drive,
    member::View,
    plan::{NodePlan, Part},
    remote::Explained,
    replay::Replay,
    report::{
        BlockTimes, Expected, HostileReport, NodeReport, Phases, ReplayReport, Report, ScoreRow,
    },
};

/// Everything about a run that is over. `met` is how it looked when everybody had met.
pub(super) async fn report(
    drive: &Drive<'_>,
    met: &[View],
    replays: &[Replay],
    transactions: usize,
    phases: Phases,
) -> Result<Report, LocalnetError> {
    let plan = drive.plan;
    let views = drive.views();
    let taken: Vec<Time> = replays.iter().map(|replay| taken(&views, replay)).collect();
    let mut nodes = Vec::new();
    for node in &plan.nodes {
        let view = views.get(node.index).cloned().unwrap_or_default();
        let peers = met.get(node.index).map_or(0, |view| view.peers.len());
        nodes.push(node_report(drive, node, &view, peers, replays, &taken).await);
    }
    let explained = match plan.hostile() {
        Some(hostile) => drive.remote(0)?.explain(hostile.node).await.ok(),
        None => None,
    };
    let scores = scores(drive, explained.as_ref()).await?;
    let hostile = plan.hostile().map(|hostile| {
        let Explained { explanation, text } = explained.unwrap_or_default();
        HostileReport { node: hostile.node.to_string(), explanation, text }
    });
    let replayed = |replay: &Replay| ReplayReport {
        name: replay.name.clone(),
        hash: replay.hash.to_string(),
        transactions: replay.block.txdata.len(),
    };
    let report = Report {
        passed: false,
        failures: Vec::new(),
        folder: plan.folder.clone(),
        phases,
        replayed: replays.iter().map(replayed).collect(),
        nodes,
        scores,
        hostile,
        expected: Expected {
            transactions,
            validators: plan.validators(),
            degree_min: plan.degree_min(),
            degree_max: plan.nodes.iter().map(|node| plan.degree_max(node)).collect(),
        },
    };
    Ok(report.judged())
}

/// When the first node took a block.
fn taken(views: &[View], replay: &Replay) -> Time {
    let blocks = views.first().map(|view| view.facts.blocks.as_slice()).unwrap_or_default();
    let block = blocks.iter().find(|block| block.hash == replay.hash);
    block.map_or(Time::NEVER, |block| block.first_byte)
}

async fn node_report(
    drive: &Drive<'_>,
    node: &NodePlan,
    view: &View,
    peers: usize,
    replays: &[Replay],
    taken: &[Time],
) -> NodeReport {
    let mut problems = view.problems.clone();
    problems.extend(view.ended.clone());
    let status = match drive.remote(node.index) {
        Ok(remote) => remote.status().await,
        Err(error) => Err(error),
    };
    // A node that doesn't answer is part of the result, not the end of it.
    let status = status.map_err(|error| problems.push(error.to_string())).ok();
    let kinds = status.as_ref().map(|status| status.kinds.clone()).unwrap_or_default();
    let received = |name: &str| kinds.get(name).map_or(0, |kind| kind.received);
    let traffic = status.as_ref().map(|status| status.traffic).unwrap_or_default();
    let times = |block: &super::bitcoin::ledger::BlockFacts| {
        let place = replays.iter().position(|replay| replay.hash == block.hash);
        let taken = place.and_then(|place| taken.get(place)).copied().unwrap_or(Time::NEVER);
        BlockTimes {
            hash: block.hash.to_string(),
            first_byte_ms: block.first_byte.since(taken),
            verified_ms: block.verified.since(taken),
            known: block.known,
            votes: block.votes,
        }
    };
    let hostile = drive.plan.hostile().map(|hostile| hostile.node);
    NodeReport {
        index: node.index,
        part: node.part,
        node: node.node.to_string(),
        socket: node.socket(),
        process: drive.launched.process(node.index),
        peers,
        transactions: view.facts.transactions,
        blocks: view.facts.blocks.iter().map(times).collect(),
        proposals: view.facts.proposals,
        votes: view.facts.votes,
        consensus_messages: received("proposal").saturating_add(received("vote")),
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        duplicates: kinds.values().map(|kind| kind.duplicates).sum(),
        refused: view.facts.refused,
        banned_hostile: hostile.is_some_and(|hostile| view.banned.contains(&hostile)),
        problems,
    }
}

/// Node 0's peers as its Admin actor shows them, and the hostile node, which is none any more.
async fn scores(
    drive: &Drive<'_>,
    explained: Option<&Explained>,
) -> Result<Vec<ScoreRow>, LocalnetError> {
    let peers = drive.remote(0)?.peers().await?;
    let mut rows: Vec<ScoreRow> = peers
        .into_iter()
        .map(|peer| ScoreRow {
            agent: peer.agent,
            peer: peer.peer.to_string(),
            standing: peer.standing,
            score: peer.score,
            round_trip_ms: peer.round_trip_ms,
            connected: true,
        })
        .collect();
    let hostile = drive.plan.nodes.iter().find(|node| node.part == Part::Hostile);
    if let (Some(hostile), Some(Explained { explanation, .. })) = (hostile, explained) {
        let id = hostile.node.to_string();
        let standing = explanation.get("standing").and_then(|standing| standing.as_str());
        let score = explanation.get("score").and_then(serde_json::Value::as_f64);
        if !rows.iter().any(|row| row.peer == id) {
            rows.push(ScoreRow {
                agent: format!("node-{}, the hostile one", hostile.index),
                peer: id,
                standing: standing.unwrap_or("unknown").to_owned(),
                score: score.unwrap_or(f64::NAN),
                round_trip_ms: None,
                connected: false,
            });
        }
    }
    Ok(rows)
}
