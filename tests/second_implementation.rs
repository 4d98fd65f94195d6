//! A node and the second implementation (`tests/noise`, Python, written from `docs/protocol.md`
//! alone) talk over TCP: handshake, greeting, and one of everything through the node.
//!
//! Needs `python3`; its two packages are installed beside the build, by `scripts/cross-check`.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

#[path = "process/mod.rs"]
mod process;

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use peerstage::identity_file;
use peerstage_core::identity::{Keypair, hex};
use process::Node;
use tempfile::TempDir;

const NETWORK: &str = "second";

/// The seeds of the validators: the node's, then those of its two peers, as `live.py` has them.
const VALIDATOR_SEEDS: [[u8; 32]; 3] = [[0x20; 32], [0x21; 32], [0x22; 32]];

/// A validator's node, so that it relays votes; it pushes a transaction to one peer, so that a few
/// peers are enough to see announcements.
fn start() -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let validators = VALIDATOR_SEEDS.map(|seed| Keypair::from_seed(&seed));
    identity_file::create(&folder.path().join("validator.key"), &validators[0]).unwrap();
    let keys = validators.map(|validator| hex(&validator.public().0)).join(",");
    let node = Node::start_in(
        folder.path(),
        &[
            "network.name=second",
            "node.role=validator",
            "node.validator_key_file=validator.key",
            &format!("network.validators={keys}"),
            "relay.eager_transactions=1",
        ],
    );
    (folder, node)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Python that has what the second implementation needs.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new(root().join("scripts/cross-check"))
            .arg("--python")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "scripts/cross-check --python failed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

/// The second implementation, running; killed when it is dropped.
struct Second {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Second {
    fn start(arguments: &[&str]) -> Second {
        let mut child = Command::new(python())
            .arg(root().join("tests/noise/live.py"))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Second { child, out }
    }

    /// The addresses it prints, one for each of its peers.
    fn targets(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let targets: Vec<_> = line.split_whitespace().map(ToOwned::to_owned).collect();
        let errors = if targets.len() == 2 { String::new() } else { self.errors() };
        assert_eq!(targets.len(), 2, "the addresses: {line:?}: {errors}");
        targets
    }

    /// Everything it says until its end.
    fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }

    /// Waits for its end, which must be a good one. It gives up by itself (`DEADLINE_S` in `live.py`).
    fn succeed(mut self, node: &Node) {
        let errors = self.errors();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the second implementation: {errors}\nthe node: {}", node.log());
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_second_implementation_dials_a_node() {
    for suite in ["hybrid", "classical"] {
        let (_folder, node) = start();
        let target = format!("{}@{}", node.id(), node.address());
        Second::start(&["dial", &target, NETWORK, suite]).succeed(&node);
    }
}

#[test]
fn a_node_dials_the_second_implementation() {
    for suite in ["hybrid", "classical"] {
        let (_folder, node) = start();
        let mut second = Second::start(&["listen", &node.id(), NETWORK, suite]);
        for target in second.targets() {
            node.cli(&["connect", &target]);
        }
        second.succeed(&node);
    }
}
