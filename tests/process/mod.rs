//! Nodes as processes: started, asked and stopped the way an operator does it.

#![allow(dead_code, unreachable_pub, reason = "each suite uses a part of it")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here is the test"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// What fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every node here is started with: loopback, free ports, ready with one peer.
const FLAGS: [&str; 5] = [
    "network.listen=127.0.0.1:0",
    "network.allow_private_addresses=true",
    "network.min_peers=1",
    "metrics.listen=127.0.0.1:0",
    "log.format=json",
];

/// A command of the real binary, without the environment's layers.
pub fn peerstage() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerstage"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    peerstage().args(arguments).output().expect("the binary runs")
}

/// Standard output and standard error of a command, and its exit code.
pub fn read(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr), output.status.code().expect("no signal"))
}

/// A running node; killed when it is dropped.
pub struct Node {
    child: Child,
    out: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
    folder: Option<TempDir>,
    path: PathBuf,
    /// What it said when it was started.
    pub started: Value,
}

impl Node {
    /// Starts a node in a folder of its own.
    pub fn start(flags: &[&str]) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = Node::start_in(folder.path(), flags);
        node.folder = Some(folder);
        node
    }

    /// Starts a node in `path`, and waits until it listens.
    pub fn start_in(path: &Path, flags: &[&str]) -> Node {
        let mut command = peerstage();
        command.args(["run", "--json", "--data-dir"]).arg(path);
        for flag in FLAGS.iter().chain(flags) {
            command.args(["--set", flag]);
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while errors.read_line(&mut line).is_ok_and(|length| length > 0) {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let mut line = String::new();
        out.read_line(&mut line).expect("readable");
        let started = serde_json::from_str(&line);
        let started =
            started.unwrap_or_else(|_| panic!("it did not start: {}", log.lock().unwrap()));
        let path = path.to_owned();
        Node { child, out, log, reader: Some(reader), folder: None, path, started }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn id(&self) -> String {
        self.text("node")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A field of its first line.
    pub fn text(&self, key: &str) -> String {
        self.started[key].as_str().expect(key).to_owned()
    }

    /// Where peers reach it.
    pub fn address(&self) -> String {
        self.started["listen"][0].as_str().expect("an address").to_owned()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A command about this node.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = peerstage();
        command.args(arguments).arg("--data-dir").arg(&self.path);
        command
    }

    /// Runs a command about this node; it must succeed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the binary runs");
        let (out, errors, code) = read(&output);
        assert_eq!(code, 0, "{arguments:?}: {out}{errors}");
        out
    }

    /// As [`Node::cli`], with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.cli(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// Runs a command about this node; it must fail. Its exit code and error.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().expect("the binary runs");
        let (_, errors, code) = read(&output);
        assert_ne!(code, 0, "{arguments:?}");
        (code, errors)
    }

    /// Follows events of these names; returns when the stream is open.
    pub fn follow(&self, names: &[&str]) -> Events {
        let mut command = self.command(&["events", "--json", "--only", "subscribed"]);
        for name in names {
            command.args(["--only", name]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut events = Events { child, lines };
        assert_eq!(events.next()["event"], "subscribed");
        events
    }

    /// Connects to another node; returns when it has become a peer.
    pub fn meet(&self, other: &Node) {
        let mut events = self.follow(&["peer_connected"]);
        self.cli(&["connect", &format!("{}@{}", other.id(), other.address())]);
        assert_eq!(events.next()["peer"], other.id().as_str());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it lives");
    }

    /// Waits for its end: the exit code, the rest of its output, and its log.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let status = self.child.wait().expect("our child");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("UTF-8");
        self.reader.take().expect("once").join().expect("no panic");
        (status.code(), rest, self.log())
    }

    /// One raw request to its socket, without a token.
    pub fn raw(&self, request: &str) -> Reply {
        let stream = UnixStream::connect(self.text("socket")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        exchange(stream, request.as_bytes())
    }

    /// A request with a JSON body to its socket.
    pub fn post(&self, path: &str, body: &str) -> Reply {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// A `GET` of its socket.
    pub fn get(&self, path: &str) -> Reply {
        self.raw(&get(path))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `GET` as a client of this machine sends it.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// How many answers there were on the connection.
    pub answers: usize,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One raw request over TCP.
pub fn raw_tcp(address: &str, request: &str) -> Reply {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    exchange(stream, request.as_bytes())
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Reply {
    // A server that refuses early closes while we write; its answer is what counts.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_ref(), ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        head: head.to_lowercase(),
        body: unchunked(head, body),
        answers: text.matches("HTTP/1.1 ").count(),
    }
}

fn unchunked(head: &str, body: &str) -> String {
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a chunk");
        whole.push_str(&after[..length]);
        rest = after.get(length + 2..).unwrap_or("");
    }
    whole
}

/// A stream of events.
pub struct Events {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Events {
    /// The next event.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).expect("an event")
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
