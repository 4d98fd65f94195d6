//! What is printed, for people and for programs.

use peerstage::core::kinds::{KINDS, Kind};
use rustix::process::Signal;

use crate::process::{Node, peerstage, read, run};

/// As `head` does: it has seen enough and closes the pipe.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let shown = peerstage().args(["config", "show"]).stdout(writer).output().unwrap();
    assert_eq!((read(&shown).1.as_str(), read(&shown).2), ("", 0));
}

/// With `--json` errors are JSON too: one object on standard error, whatever went wrong.
#[test]
fn errors_are_json_where_answers_are() {
    let node = Node::start(&[]);
    let error_of = |arguments: &[&str]| {
        let output = node.command(&[arguments, &["--json"]].concat()).output().unwrap();
        let (out, errors, code) = read(&output);
        assert_eq!((out.as_str(), errors.lines().count()), ("", 1), "{arguments:?}: {errors}");
        let error: serde_json::Value = serde_json::from_str(&errors).unwrap();
        let text = error["error"].as_str().unwrap().to_owned();
        assert!(error["hint"].is_string() && !text.is_empty(), "{arguments:?}: {error}");
        (code, text, error)
    };
    let (code, text, error) = error_of(&["peer", "abcd"]);
    assert_eq!((code, text.as_str()), (1, "no peer is known by abcd"));
    assert_eq!(error["hint"], "`peerstage peers` lists the connected ones");
    assert!(error_of(&["unban", &"ab".repeat(32)]).1.contains("is not banned"));
    let (code, text, _) = error_of(&["status", "--socket", "/nowhere/admin.sock"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("no node is running at /nowhere/admin.sock"), "{text}");
    let (code, _, error) = error_of(&["status", "--set", "network.max_pears=1"]);
    assert_eq!(code, 2);
    assert_eq!(error["problems"][0]["origin"]["from"], "flag", "{error}");
    let (code, text, _) = error_of(&["peer"]);
    assert_eq!(code, 2);
    assert!(text.contains("required arguments"), "{text}");
    assert!(error_of(&["netinfo", "9"]).1.contains("9 is not in 0..=4"));
}

#[test]
fn the_log_is_json_lines_when_asked() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    node.meet(&other);
    node.signal(Signal::TERM);
    let (_, _, log) = node.end();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(log.contains("\"message\":\"peer connected\""), "{log}");
}

#[test]
fn the_table_of_kinds_needs_no_node() {
    let (text, _, code) = read(&run(["explain", "kinds"]));
    assert_eq!((text.lines().count(), code), (KINDS.len() + 1, 0));
    let (text, _, _) = read(&run(["explain", "kinds", "--json"]));
    let kinds: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(kinds[Kind::Block.index()]["name"], "block");
}
