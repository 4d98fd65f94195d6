//! The main job as a user sees it: the command, its exit code, its report, and what it leaves.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on must fail loudly"
)]

use std::{
    os::fd::OwnedFd,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, test_kill_process},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long anything may take before a test gives up; the runs themselves take seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn localnet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerstage"));
    command.args(["localnet", "--json"]).args(args).kill_on_drop(true);
    command
}

async fn run(args: &[&str]) -> (Option<i32>, Value, String) {
    let Output { status, stdout, stderr } =
        timeout(PATIENCE, localnet(args).output()).await.expect("in time").unwrap();
    let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (status.code(), report, String::from_utf8_lossy(&stderr).into_owned())
}

fn nodes(report: &Value) -> &Vec<Value> {
    report["nodes"].as_array().unwrap()
}

/// Four nodes, two of them validators, one hostile: what every such run must come to.
fn assert_the_main_job_was_done(report: &Value) {
    let hash = "000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae";
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    assert_eq!(report["passed"], true);
    assert_eq!(report["replayed"][0]["hash"], hash);
    let parts: Vec<&str> = nodes(report).iter().map(|n| n["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["validator", "validator", "observer", "hostile"]);
    for node in &nodes(report)[..3] {
        assert_eq!(node["transactions"], 2_499);
        assert_eq!(node["blocks"][0]["hash"], hash);
        assert_eq!(node["blocks"][0]["known"], 2_499);
        assert_eq!(node["banned_hostile"], true);
        assert_eq!(node["votes"], if node["part"] == "validator" { 2 } else { 0 });
    }
    let text = report["hostile"]["text"].as_str().unwrap();
    for reason in ["invalid_transaction", "spam: a note without postage", "invalid_block"] {
        assert!(text.contains(reason), "{reason} is not explained:\n{text}");
    }
    let standings = report["scores"].as_array().unwrap().iter().map(|row| &row["standing"]);
    assert_eq!(standings.filter(|standing| *standing == "banned").count(), 1);
}

#[tokio::test]
async fn processes_relay_the_block_vote_and_ban_the_liar() {
    let (code, report, errors) = run(&["--nodes", "4", "--validators", "2"]).await;
    assert_eq!(code, Some(0), "{errors}\n{report:#}");
    assert_the_main_job_was_done(&report);
    assert!(nodes(&report).iter().all(|node| node["process"].is_u64()));
    let folder = report["folder"].as_str().unwrap();
    assert!(!Path::new(folder).exists(), "{folder} is left");
}

#[tokio::test]
async fn one_process_does_the_same() {
    let (code, report, errors) = run(&["--nodes", "4", "--validators", "2", "--in-process"]).await;
    assert_eq!(code, Some(0), "{errors}\n{report:#}");
    assert_the_main_job_was_done(&report);
}

#[tokio::test]
async fn a_block_file_that_is_no_valid_block_fails_and_says_where() {
    let raw = bitcoin_test_data::blocks::mainnet_702861();
    let mut block: bitcoin::Block = bitcoin::consensus::deserialize(raw).unwrap();
    block.txdata.truncate(20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("block.raw");
    std::fs::write(&file, bitcoin::consensus::serialize(&block)).unwrap();
    let logs = folder.path().join("nodes");
    let args = ["--nodes", "3", "--validators", "1", "--no-hostile"];
    let files = ["--dir", logs.to_str().unwrap(), "--replay", file.to_str().unwrap()];
    let (code, report, _) = run(&[&args[..], &files[..]].concat()).await;
    assert_eq!(code, Some(1));
    let failures = report["failures"].to_string();
    assert!(failures.contains("node 0: merkle root does not match"), "{failures}");
    assert!(failures.contains("node 2: did not verify block"), "{failures}");
    assert!(logs.join("node-2/node.log").exists(), "logs are kept for who asks why");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_anything_starts() {
    let (code, _, errors) = run(&["--nodes", "3"]).await;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("--nodes takes 4 to 64, not 3"), "{errors}");
    let (code, _, errors) = run(&["--replay", "/no/such/block"]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("/no/such/block"), "{errors}");
    let (code, _, errors) = run(&["--replay", "bitcoin:1"]).await;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("the program holds no such block; write bitcoin:702861"), "{errors}");
    for (flag, value, part) in [
        ("--config", "node.toml", "--config makes no sense with localnet: --set"),
        ("--data-dir", "here", "--data-dir makes no sense with localnet: --dir"),
        ("--socket", "admin.sock", "it asks no running node"),
        ("--admin", "http://127.0.0.1:1", "it asks no running node"),
        ("--set", "gossip.fanuot=3", "flag gossip.fanuot=3: unknown key"),
        ("--set", "network.listen=127.0.0.1:1", "a localnet decides that for each of its nodes"),
        ("--set", "gossip.ttl=1h", "flag gossip.ttl=1h: gossip.ttl = 1h is longer than"),
    ] {
        let (code, report, errors) = run(&[flag, value]).await;
        assert_eq!((code, report), (Some(2), Value::Null), "{flag} {value}: {errors}");
        assert!(errors.contains(part), "{flag} {value}: {errors}");
    }
    let (code, _, errors) = run(&["--replay", "bitcoin:702861", "bitcoin:702861"]).await;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("is the block of --replay bitcoin:702861 again"), "{errors}");
}

/// A flag goes over the configuration of every node, in processes and in threads.
#[tokio::test]
async fn a_flag_sets_a_key_of_all_nodes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [("processes", &[][..]), ("threads", &["--in-process"])] {
        let dir = folder.path().join(name);
        let args = ["--nodes", "2", "--validators", "1", "--no-hostile", "--dir"];
        let set = ["--set", "store.path=elsewhere"];
        let args = [&args[..], &[dir.to_str().unwrap()], &set, more].concat();
        let (code, report, errors) = run(&args).await;
        assert_eq!(code, Some(0), "{errors}\n{report:#}");
        for node in ["node-0", "node-1"] {
            assert!(dir.join(node).join("elsewhere").is_dir(), "{name} {node}");
        }
    }
}

/// A network that stays up, and the processes of its nodes.
async fn kept_running() -> (Child, Vec<Pid>, Value) {
    let args = ["--nodes", "4", "--validators", "2", "--keep-running"];
    let mut command = localnet(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap().unwrap();
    let report: Value = serde_json::from_str(&line).unwrap();
    let process = |node: &Value| Pid::from_raw(node["process"].as_i64().unwrap() as i32).unwrap();
    let pids = nodes(&report).iter().map(process).collect();
    (child, pids, report)
}

async fn explains_its_liar(report: &Value) {
    let socket = nodes(report)[1]["socket"].as_str().unwrap();
    let liar = &report["hostile"]["node"].as_str().unwrap()[..8];
    let mut explain = Command::new(env!("CARGO_BIN_EXE_peerstage"));
    let explained = explain.args(["explain", liar, "--socket", socket]).output().await.unwrap();
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("invalid_block"), "{text}");
}

#[tokio::test]
async fn it_can_be_explored_and_ctrl_c_leaves_no_process() {
    let (mut child, pids, report) = kept_running().await;
    explains_its_liar(&report).await;
    assert!(pids.iter().all(|pid| test_kill_process(*pid).is_ok()), "all nodes are up");
    let launcher = Pid::from_raw(child.id().unwrap() as i32).unwrap();
    kill_process(launcher, Signal::INT).unwrap();
    let status = timeout(PATIENCE, child.wait()).await.expect("in time").unwrap();
    assert_eq!(status.code(), Some(0), "the run had passed");
    assert!(pids.iter().all(|pid| test_kill_process(*pid).is_err()), "a node is left");
    assert!(!Path::new(report["folder"].as_str().unwrap()).exists());
}

#[tokio::test]
async fn nodes_end_when_their_launcher_is_killed() {
    let (mut child, pids, report) = kept_running().await;
    let watch = |pid: &Pid| pidfd_open(*pid, PidfdFlags::NONBLOCK).unwrap();
    let handles: Vec<OwnedFd> = pids.iter().map(watch).collect();
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    let all_ended = tokio::task::spawn_blocking(move || {
        let limit = Timespec::try_from(PATIENCE).unwrap();
        // A process handle becomes readable when its process ends.
        handles.iter().all(|handle| {
            let mut waiting = [PollFd::new(handle, PollFlags::IN)];
            poll(&mut waiting, Some(&limit)).unwrap() == 1
        })
    });
    assert!(all_ended.await.unwrap(), "a node is left");
    // Nobody was left to tidy up.
    std::fs::remove_dir_all(report["folder"].as_str().unwrap()).unwrap();
}
