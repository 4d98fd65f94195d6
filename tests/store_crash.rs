//! A node that is killed under load comes back with every ban it acknowledged.
//!
//! Each story runs this same test binary a second time as the node: the child writes bans
//! through the store and prints a line for each one that is acknowledged, the parent reads the
//! lines and kills it. `PEERSTAGE_CRASH_ROUNDS` sets the number of kills for each backend; the
//! full size is `PEERSTAGE_CRASH_ROUNDS=1000 cargo test --test store_crash`.
//!
//! A kill leaves the operating system running, so this proves nothing about a power cut.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use peerstage::store::{
    BackendChoice, OpenError, StoreError, Table, WriteBatch, open,
    writer::{Busy, QueueLimits, StoreHealth, StoreWriter},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROLE: &str = "PEERSTAGE_CRASH_ROLE";
const DIRECTORY: &str = "PEERSTAGE_CRASH_DIRECTORY";
const BACKEND: &str = "PEERSTAGE_CRASH_BACKEND";
const FIRST: &str = "PEERSTAGE_CRASH_FIRST";
const ROUNDS: &str = "PEERSTAGE_CRASH_ROUNDS";
const ROUNDS_DEFAULT: u32 = 20;
/// More bans than a child can write before it is killed; it ends by itself after them.
const BANS_MAX: u64 = 20_000;
/// The most acknowledged bans before the kill.
const ACKNOWLEDGED_MAX: u32 = 40;
/// How many synced writes the child has under way, so that kills hit commits of several.
const UNDER_WAY: usize = 4;

/// Every backend of this build that keeps files, with the name of its database.
const ON_DISK: &[(BackendChoice, &str)] = &[
    #[cfg(feature = "redb")]
    (BackendChoice::Redb, "peers.redb"),
    #[cfg(feature = "rocksdb")]
    (BackendChoice::Rocksdb, "peers.rocksdb"),
];

/// What the child's writer tells it.
enum Event {
    Safe,
    Health(StoreHealth),
}

/// What the parent knows of one ban: what was tried last, and what was acknowledged last.
#[derive(Default)]
struct Told {
    tried: Option<bool>,
    acknowledged: Option<bool>,
}

/// Attack row 48 and the promise of the store: no acknowledged ban is lost to kill -9, nor an
/// acknowledged pardon, and the store opens.
#[test]
fn no_acknowledged_ban_is_lost_to_a_kill() {
    let rounds = env::var(ROUNDS).map_or(ROUNDS_DEFAULT, |text| text.parse().unwrap());
    for (choice, _) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(48);
        let mut told = BTreeMap::new();
        for round in 0..rounds {
            let wanted = random.random_range(0..=ACKNOWLEDGED_MAX);
            let first = u64::from(round) * BANS_MAX;
            let mut child = start("writer", directory.path(), *choice, first);
            listen_then_kill(&mut child, wanted, &mut told);
            check_bans(directory.path(), *choice, &told, round);
        }
        let acknowledged = told.values().filter(|told| told.acknowledged.is_some()).count();
        println!("{choice}: {rounds} kills, {acknowledged} acknowledged bans, none lost");
    }
}

/// Attack row 48: the same with the database destroyed after the kill: bans have a file of
/// their own.
#[test]
fn no_acknowledged_ban_is_lost_to_a_kill_and_a_damaged_database() {
    for (choice, name) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        let mut told = BTreeMap::new();
        for round in 0..3 {
            let first = u64::from(round) * BANS_MAX;
            let mut child = start("writer", directory.path(), *choice, first);
            listen_then_kill(&mut child, 20, &mut told);
            let database = directory.path().join(name);
            let file = if database.is_dir() { database.join("CURRENT") } else { database };
            fs::write(file, b"not a database").unwrap();
            let opened = open(directory.path(), *choice).unwrap();
            assert!(opened.moved_aside.is_some() && opened.restored_bans > 0);
            opened.backend.close().unwrap();
            check_bans(directory.path(), *choice, &told, round);
        }
    }
}

/// Attack row 48: the store of a living process is refused with its path, and nothing is moved.
#[test]
fn a_store_held_by_another_process_is_refused() {
    for (choice, _) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        let mut child = start("holder", directory.path(), *choice, 0);
        let mut lines = lines(&mut child);
        assert!(lines.any(|line| line == "open"));
        match open(directory.path(), *choice) {
            Err(error @ OpenError::Held { .. }) => {
                let text = error.to_string();
                assert!(text.contains(&directory.path().display().to_string()), "{text}");
                assert!(text.contains("in use by another process"), "{text}");
            }
            Err(other) => panic!("refused for the wrong reason: {other}"),
            Ok(_) => panic!("two processes on one store"),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(open(directory.path(), *choice).unwrap().moved_aside.is_none());
    }
}

/// Attack row 48: the operating system refuses to let the files grow; the node raises the alarm,
/// lives on, and writes what waited when there is space again.
#[test]
fn a_full_disk_is_survived_and_recovered_from() {
    for (choice, _) in ON_DISK {
        let directory = tempfile::tempdir().unwrap();
        let mut child = start("full", directory.path(), *choice, 0);
        let mut told = BTreeMap::new();
        let mut said = Vec::new();
        for line in lines(&mut child) {
            note(&line, &mut told);
            said.extend(["full", "healthy"].into_iter().find(|word| line == *word));
        }
        assert!(child.wait().unwrap().success(), "{choice}");
        assert_eq!(said, ["full", "healthy"], "{choice}");
        check_bans(directory.path(), *choice, &told, 0);
    }
}

/// Not a story of its own: what the parents above start. Without a role there is nothing to do.
#[test]
fn the_node_that_is_killed() {
    let Ok(role) = env::var(ROLE) else { return };
    say(""); // ends a line that the test harness may have begun
    let directory = env::var(DIRECTORY).unwrap();
    let choice: BackendChoice = env::var(BACKEND).unwrap().parse().unwrap();
    let first: u64 = env::var(FIRST).unwrap().parse().unwrap();
    let opened = open(Path::new(&directory), choice).unwrap();
    assert!(opened.moved_aside.is_none());
    let (events, happened) = mpsc::channel();
    let alarm = events.clone();
    let changed = Box::new(move |now: &StoreHealth| {
        alarm.send(Event::Health(now.clone())).unwrap_or(());
    });
    let writer = StoreWriter::spawn(opened.backend, QueueLimits::default(), changed).unwrap();
    say("open");
    match role.as_str() {
        "writer" => write_until_killed(&writer, &events, &happened, first),
        "full" => fill_the_disk(&writer, &events, &happened),
        // The parent kills it; a parent that dies closes the pipe.
        _ => drop(std::io::stdin().read_line(&mut String::new())),
    }
    writer.shutdown().unwrap();
}

/// Bans under load: every ban comes with a buffered peer record, every fifth one is lifted.
fn write_until_killed(
    writer: &StoreWriter,
    events: &mpsc::Sender<Event>,
    happened: &mpsc::Receiver<Event>,
    first: u64,
) {
    let mut under_way = 0;
    for n in first..first + BANS_MAX {
        let mut record = WriteBatch::new();
        record.put(Table::Peers, (n % 500).to_be_bytes().to_vec(), vec![n as u8; 2000]).unwrap();
        writer.write(&record);
        ban(writer, n, Some(vec![b'x'; 100]), events.clone());
        under_way += 1;
        if n % 5 == 0 {
            ban(writer, n, None, events.clone());
            under_way += 1;
        }
        while under_way > UNDER_WAY {
            assert!(matches!(happened.recv().unwrap(), Event::Safe));
            under_way -= 1;
        }
    }
}

/// Writes until the limit on file sizes stops it, lifts the limit, and waits for what waited.
fn fill_the_disk(
    writer: &StoreWriter,
    events: &mpsc::Sender<Event>,
    happened: &mpsc::Receiver<Event>,
) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut next = 0;
    let health = loop {
        // One at a time: either it is acknowledged or the store is in trouble.
        ban(writer, next, Some(vec![b'x'; 100_000]), events.clone());
        next += 1;
        if let Event::Health(health) = happened.recv().unwrap() {
            break health;
        }
    };
    let degraded = matches!(health, StoreHealth::Degraded { error: StoreError::Full(_), .. });
    assert!(degraded, "{health:?}");
    say("full");
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    writer.retry();
    let mut after = std::iter::from_fn(|| happened.recv().ok());
    assert!(after.any(|event| matches!(event, Event::Health(StoreHealth::Healthy))));
    say("healthy");
}

/// Bans (or with `None` lifts the ban of) `n`; prints when it is tried and when it is safe.
fn ban(writer: &StoreWriter, n: u64, reason: Option<Vec<u8>>, events: mpsc::Sender<Event>) {
    let word = if reason.is_some() { "ban" } else { "lift" };
    let mut batch = WriteBatch::new();
    batch.set(Table::Bans, n.to_be_bytes().to_vec().into(), reason.map(Into::into)).unwrap();
    say(&format!("try {word} {n}"));
    let done = Box::new(move |result: Result<(), StoreError>| {
        result.unwrap();
        say(&format!("safe {word} {n}"));
        events.send(Event::Safe).unwrap_or(());
    });
    if let Err(Busy(_)) = writer.write_synced(batch, done) {
        panic!("never more than {UNDER_WAY} under way");
    }
}

/// Prints a line; a parent that is gone ends the child.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn start(role: &str, directory: &Path, choice: BackendChoice, first: u64) -> Child {
    let this = env::current_exe().unwrap();
    let mut command = if role == "full" {
        // A limit on file sizes is a full disk that needs no file system of its own. Ignored,
        // the signal that comes with it becomes an error of the write.
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -S -f 6000; exec \"$0\" \"$@\""]).arg(this);
        shell
    } else {
        Command::new(this)
    };
    command
        .args(["--exact", "the_node_that_is_killed", "--nocapture"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .env(BACKEND, choice.to_string())
        .env(FIRST, first.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

/// Reads until `wanted` bans are acknowledged, kills, and reads what was printed before the end.
fn listen_then_kill(child: &mut Child, wanted: u32, told: &mut BTreeMap<u64, Told>) {
    let mut acknowledged = 0;
    let mut killed = false;
    for line in lines(child) {
        acknowledged += u32::from(note(&line, told));
        if acknowledged >= wanted && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
}

/// Notes what a line says; whether it acknowledges something.
fn note(line: &str, told: &mut BTreeMap<u64, Told>) -> bool {
    let mut words = line.split(' ');
    let (Some(verb), Some(what), Some(n), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let Ok(n) = n.parse() else { return false };
    let told: &mut Told = told.entry(n).or_default();
    match verb {
        "try" => told.tried = Some(what == "ban"),
        "safe" => told.acknowledged = Some(what == "ban"),
        _ => return false,
    }
    verb == "safe"
}

fn check_bans(directory: &Path, choice: BackendChoice, told: &BTreeMap<u64, Told>, round: u32) {
    let opened = open(directory, choice).unwrap();
    assert!(opened.moved_aside.is_none(), "round {round}: a kill damages nothing");
    // The journal is ahead of the database by what was under way, never by what was safe.
    assert!(opened.restored_bans <= UNDER_WAY + 2, "{choice}, round {round}");
    for (n, told) in told {
        let banned = opened.backend.get(Table::Bans, &n.to_be_bytes()).unwrap().is_some();
        // What was tried last and not acknowledged may have happened or not.
        if told.acknowledged.is_some() && told.acknowledged == told.tried {
            assert_eq!(Some(banned), told.acknowledged, "{choice}, round {round}, ban {n}");
        }
    }
    opened.backend.close().unwrap();
}
