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

use process::Node;

const NETWORK: &str = "second";

/// A node that lets its two peers vote: their keys are those of `VALIDATOR_SEEDS` in `live.py`.
/// It is no validator, so it relays votes only when their mode isn't validator-only.
const FLAGS: [&str; 4] = [
    "network.name=second",
    "network.validators=\
     884b8857f4eaa1613c61504db34d4beaf346517a0e31de3cddd4d9b4201d9d0b,\
     a09aa5f47a6759802ff955f8dc2d2a14a5c99d23be97f864127ff9383455a4f0",
    "relay.proposal=flood",
    "relay.vote=flood",
];

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

    /// The next line it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Waits for its end, which must be a good one. It gives up by itself when nothing comes for a minute.
    fn succeed(mut self, node: &Node) {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
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
        let node = Node::start(&FLAGS);
        let target = format!("{}@{}", node.id(), node.address());
        Second::start(&["dial", &target, NETWORK, suite]).succeed(&node);
    }
}

#[test]
fn a_node_dials_the_second_implementation() {
    for suite in ["hybrid", "classical"] {
        let node = Node::start(&FLAGS);
        let mut second = Second::start(&["listen", &node.id(), NETWORK, suite]);
        let targets = second.line();
        assert_eq!(targets.split(' ').count(), 2, "{targets}");
        for target in targets.split(' ') {
            node.cli(&["connect", target]);
        }
        second.succeed(&node);
    }
}
