//! What came out, and whether it is what should have.

use std::path::PathBuf;

use peerstage_core::time::Millis;
use serde::Serialize;

use super::plan::Part;

/// The result of a run, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Everything is as it should be.
    pub passed: bool,
    /// What is not, in words.
    pub failures: Vec<String>,
    /// Where the nodes' folders are while the network runs.
    pub folder: PathBuf,
    /// How long it took.
    pub phases: Phases,
    /// What was replayed.
    pub replayed: Vec<ReplayReport>,
    /// The nodes.
    pub nodes: Vec<NodeReport>,
    /// The scores that node 0's Admin actor gave.
    pub scores: Vec<ScoreRow>,
    /// The hostile node, unless there was none.
    pub hostile: Option<HostileReport>,
    /// What the run should have come to.
    #[serde(skip)]
    pub(super) expected: Expected,
}

/// How long each part took, ms.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Phases {
    /// Until everybody had enough peers.
    pub meet_ms: Millis,
    /// Until everybody had every transaction.
    pub transactions_ms: Millis,
    /// Until everybody had verified the blocks and every validator had every vote.
    pub blocks_ms: Millis,
    /// Until everybody had banned the hostile node.
    pub attack_ms: Millis,
    /// All of it, from the first node's start to the last ban.
    pub total_ms: Millis,
}

/// One replayed block.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// As the command line names it.
    pub name: String,
    /// Its hash.
    pub hash: String,
    /// Its transactions, coinbase included.
    pub transactions: usize,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Which.
    pub index: usize,
    /// What for.
    pub part: Part,
    /// Its id.
    pub node: String,
    /// Its admin socket.
    pub socket: PathBuf,
    /// Its process, unless all nodes share one.
    pub process: Option<u32>,
    /// Peers when everybody had met.
    pub peers: usize,
    /// Transactions that came as messages and were valid.
    pub transactions: usize,
    /// The blocks it verified.
    pub blocks: Vec<BlockTimes>,
    /// Proposals it has, its own included.
    pub proposals: usize,
    /// Votes it has, its own included.
    pub votes: usize,
    /// Consensus messages that reached it, whatever became of them.
    pub consensus_messages: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Messages that it had already.
    pub duplicates: u64,
    /// Messages it refused.
    pub refused: u64,
    /// Whether it was connected to the hostile node, and so could judge it.
    pub met_hostile: bool,
    /// Whether it has banned the hostile node.
    pub banned_hostile: bool,
    /// What went wrong with its orders, or that it ended.
    pub problems: Vec<String>,
}

/// When a node had a block, ms after the first node took it.
#[derive(Clone, Debug, Serialize)]
pub struct BlockTimes {
    /// Which block.
    pub hash: String,
    /// When the first byte arrived.
    pub first_byte_ms: Millis,
    /// When it was verified.
    pub verified_ms: Millis,
    /// Its transactions that had come before it.
    pub known: usize,
    /// Votes for it.
    pub votes: usize,
}

/// A line of node 0's score table.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreRow {
    /// Who, as its agent says.
    pub agent: String,
    /// Its id.
    pub peer: String,
    /// How it is treated.
    pub standing: String,
    /// Points.
    pub score: f64,
    /// The last measured round trip, ms.
    pub round_trip_ms: Option<Millis>,
    /// Whether it is connected.
    pub connected: bool,
}

/// The hostile node, as node 0 explains it.
#[derive(Clone, Debug, Serialize)]
pub struct HostileReport {
    /// Its id.
    pub node: String,
    /// For programs.
    pub explanation: serde_json::Value,
    /// For people.
    pub text: String,
}

/// What should come out.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Transactions at each honest node.
    pub(super) transactions: usize,
    /// The validators.
    pub(super) validators: usize,
    /// Peers at least and, for each node, at most.
    pub(super) degree_min: usize,
    /// By node.
    pub(super) degree_max: Vec<usize>,
    /// Whether everybody had room for the hostile node.
    pub(super) all_meet_hostile: bool,
}

impl Report {
    /// Compares what came out with what should have.
    pub(super) fn judged(mut self) -> Self {
        let failures: Vec<String> =
            self.nodes.iter().flat_map(|node| self.failures_of(node)).collect();
        self.passed = failures.is_empty();
        self.failures = failures;
        self
    }

    fn failures_of(&self, node: &NodeReport) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |what: String| failures.push(format!("node {}: {what}", node.index));
        node.problems.iter().for_each(|problem| fail(problem.clone()));
        let (peers, least) = (node.peers, self.expected.degree_min);
        let most = self.expected.degree_max.get(node.index).copied().unwrap_or(usize::MAX);
        if !(least..=most).contains(&peers) {
            fail(format!("has {peers} peers, not {least} to {most}"));
        }
        if node.part == Part::Hostile {
            return failures;
        }
        if node.transactions != self.expected.transactions {
            let (has, all) = (node.transactions, self.expected.transactions);
            fail(format!("has {has} of {all} transactions"));
        }
        for replayed in &self.replayed {
            if !node.blocks.iter().any(|block| block.hash == replayed.hash) {
                fail(format!("did not verify block {}", replayed.hash));
            }
        }
        let extra = node.blocks.len().saturating_sub(self.replayed.len());
        if extra > 0 {
            fail(format!("verified {extra} blocks that nobody replayed"));
        }
        self.check_votes(node, &mut fail);
        let must_ban = node.met_hostile || self.expected.all_meet_hostile;
        if self.hostile.is_some() && must_ban && !node.banned_hostile {
            fail("did not ban the hostile node".to_owned());
        }
        failures
    }

    /// Every vote at every validator, and none anywhere else.
    fn check_votes(&self, node: &NodeReport, fail: &mut impl FnMut(String)) {
        let (validators, blocks) = (self.expected.validators, self.replayed.len());
        if node.part == Part::Validator {
            if node.proposals != blocks {
                fail(format!("has {} of {blocks} proposals", node.proposals));
            }
            for block in node.blocks.iter().filter(|block| block.votes != validators) {
                let (votes, hash) = (block.votes, &block.hash);
                fail(format!("has {votes} of {validators} votes for {hash}"));
            }
        } else if node.votes > 0 || node.proposals > 0 || node.consensus_messages > 0 {
            let NodeReport { votes, proposals, consensus_messages, .. } = node;
            fail(format!(
                "is no validator and has {votes} votes, {proposals} proposals, \
                 {consensus_messages} consensus messages"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(index: usize, part: Part) -> NodeReport {
        let validator = part == Part::Validator;
        let block = BlockTimes {
            hash: "00ff".to_owned(),
            first_byte_ms: 1,
            verified_ms: 2,
            known: 9,
            votes: if validator { 2 } else { 0 },
        };
        NodeReport {
            index,
            part,
            node: format!("id{index}"),
            socket: PathBuf::new(),
            process: None,
            peers: 3,
            transactions: 9,
            blocks: vec![block],
            proposals: usize::from(validator),
            votes: if validator { 2 } else { 0 },
            consensus_messages: u64::from(validator),
            bytes_in: 0,
            bytes_out: 0,
            duplicates: 0,
            refused: 0,
            met_hostile: true,
            banned_hostile: true,
            problems: Vec::new(),
        }
    }

    fn report() -> Report {
        let parts = [Part::Validator, Part::Validator, Part::Observer, Part::Hostile];
        let hash = "00ff".to_owned();
        Report {
            passed: false,
            failures: Vec::new(),
            folder: PathBuf::new(),
            phases: Phases::default(),
            replayed: vec![ReplayReport { name: "block".to_owned(), hash, transactions: 10 }],
            nodes: parts.into_iter().enumerate().map(|(index, part)| node(index, part)).collect(),
            scores: Vec::new(),
            hostile: Some(HostileReport {
                node: "id3".to_owned(),
                explanation: serde_json::Value::Null,
                text: String::new(),
            }),
            expected: Expected {
                transactions: 9,
                validators: 2,
                degree_min: 3,
                degree_max: vec![3; 4],
                all_meet_hostile: true,
            },
        }
    }

    fn failures(change: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = report();
        change(&mut report);
        report.judged().failures
    }

    #[test]
    fn a_run_as_it_should_be_passes() {
        assert!(report().judged().passed);
        assert!(failures(|report| report.nodes[3].blocks.clear()).is_empty(), "the liar is free");
    }

    #[test]
    fn everything_that_is_missing_is_named_with_its_node() {
        type Change = fn(&mut Report);
        let missing: [(&str, Change); 8] = [
            ("node 1: has 8 of 9 transactions", |report| report.nodes[1].transactions = 8),
            ("node 2: did not verify block 00ff", |report| report.nodes[2].blocks.clear()),
            ("node 0: has 1 of 2 votes for 00ff", |report| report.nodes[0].blocks[0].votes = 1),
            ("node 0: has 0 of 1 proposals", |report| report.nodes[0].proposals = 0),
            ("node 1: did not ban the hostile node", |r| r.nodes[1].banned_hostile = false),
            ("node 2: has 2 peers, not 3 to 3", |report| report.nodes[2].peers = 2),
            ("node 2: ended", |report| report.nodes[2].problems.push("ended".to_owned())),
            (
                "node 2: is no validator and has 1 votes, 0 proposals, 0 consensus messages",
                |report| report.nodes[2].votes = 1,
            ),
        ];
        for (expected, change) in missing {
            assert_eq!(failures(change), [expected]);
        }
    }
}
