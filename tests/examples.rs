//! Every example, as its built binary: it must end by itself, and say what its comment promises.
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail loudly")]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// Where cargo puts examples: `target/PROFILE/examples`, beside the `deps` this test runs from.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn run(name: &str) -> String {
    let Output { status, stdout, stderr } = Command::new(example(name)).output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{name}: {status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

#[test]
fn hello_spreads_a_block() {
    assert_eq!(run("hello"), "queued to 1 peer\nbob received: the first block\n");
}

#[test]
fn an_actor_judges_transactions() {
    assert_eq!(run("actix_handlers"), "\"alice pays bob 5\" is accepted\n\"\" is rejected\n");
}

#[test]
fn a_typed_payload_arrives_as_its_type() {
    assert_eq!(run("typed_payloads"), "Price(\"BTC/EUR\", 95000) arrived\naccepted\n");
}

#[test]
fn a_request_is_answered_or_its_failure_named() {
    assert_eq!(run("request_response"), "7: block 7\n1000: the peer failed to answer\n");
}

#[test]
fn votes_reach_exactly_the_validators() {
    let said = run("validator_mesh");
    let mut heard: Vec<&str> = said.lines().collect();
    heard.sort_unstable();
    let expected = [
        "anna heard: bert votes",
        "anna heard: cleo votes",
        "bert heard: anna votes",
        "bert heard: cleo votes",
        "cleo heard: anna votes",
        "cleo heard: bert votes",
        "the observer heard nothing and may not vote: true",
    ];
    assert_eq!(heard, expected);
}
