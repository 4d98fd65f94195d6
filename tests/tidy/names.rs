//! Names that may not appear, and where.

use crate::source::{Breach, Source, has_word, sources};

/// Who must not use a name.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// All of `src/`, its tests too: nothing there may differ between two runs.
    Core,
    /// `src/` without its tests.
    CoreShipped,
    /// Every file.
    Everywhere,
}

/// A banned name and why; the reason is what a failure prints.
const BANNED: &[(&str, Where, &str)] = &[
    ("Instant", Where::CoreShipped, "src/ has no clock: take `now: Time`"),
    ("SystemTime", Where::CoreShipped, "src/ has no clock: take `now: Time`"),
    ("tokio", Where::Core, "src/ knows no runtime"),
    ("actix", Where::Core, "src/ knows no actors"),
    ("actix_rt", Where::Core, "src/ knows no actors"),
    ("async fn", Where::Core, "src/ is synchronous: answer with an action"),
    ("async move", Where::Core, "src/ is synchronous: answer with an action"),
    (".await", Where::Core, "src/ is synchronous: answer with an action"),
    ("getrandom", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("OsRng", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("SysRng", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("thread_rng", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("ThreadRng", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("rand::rng", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("rand::random", Where::Core, "src/ draws no entropy: hold a seeded generator"),
    ("TcpStream", Where::Core, "src/ does no IO: answer with an action"),
    ("TcpListener", Where::Core, "src/ does no IO: answer with an action"),
    ("UdpSocket", Where::Core, "src/ does no IO: answer with an action"),
    ("std::process", Where::Core, "src/ does no IO: answer with an action"),
    ("std::env", Where::CoreShipped, "src/ does no IO: configuration is an argument"),
    ("HashMap", Where::CoreShipped, "order would depend on a hasher: use BTreeMap"),
    ("HashSet", Where::CoreShipped, "order would depend on a hasher: use BTreeSet"),
    ("std::fs", Where::CoreShipped, "src/ does no IO: answer with an action"),
    ("fs::read", Where::CoreShipped, "src/ does no IO: answer with an action"),
    ("std::io", Where::CoreShipped, "src/ does no IO: answer with an action"),
    ("std::thread", Where::CoreShipped, "src/ has no threads"),
    ("Mutex", Where::CoreShipped, "src/ has no threads"),
    ("println!", Where::CoreShipped, "src/ does no IO: answer with an action"),
    ("eprintln!", Where::CoreShipped, "src/ does no IO: answer with an action"),
    ("do_send", Where::Everywhere, "ignores the mailbox's bound: use the shell's tell"),
    ("unbounded_channel", Where::Everywhere, "every queue is bounded"),
    ("UnboundedSender", Where::Everywhere, "every queue is bounded"),
    ("todo!", Where::Everywhere, "what is shipped is finished"),
    ("unimplemented!", Where::Everywhere, "what is shipped is finished"),
    ("thread::sleep", Where::Everywhere, "wait for the event, not for time to pass"),
];

/// Left in a comment they mean: not finished. Split, so that this file does not break its rule.
const UNFINISHED: [&str; 3] = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];

/// Words in a test file that mean its time is virtual.
const VIRTUAL_TIME: [&str; 4] = ["start_paused", "pause()", "testkit", "transport::sim"];

/// Names that a file, or a part of it, must not use.
pub(crate) fn banned(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let core = source.path.starts_with("src/");
    for (line, text) in source.code.iter().enumerate() {
        for &(name, place, rule) in BANNED {
            let applies = match place {
                Where::Everywhere => true,
                Where::Core => core,
                Where::CoreShipped => core && !source.test[line],
            };
            if applies && has_word(text, name) {
                breaches.push(source.breach(line, rule));
            }
        }
    }
    breaches
}

/// Marks of unfinished work, in comments as well.
pub(crate) fn unfinished(source: &Source) -> Vec<Breach> {
    let marked = |text: &String| UNFINISHED.iter().any(|mark| has_word(text, mark));
    let lines = source.raw.iter().enumerate().filter(|(_, text)| marked(text));
    lines.map(|(line, _)| source.breach(line, "unfinished work is an issue, not a mark")).collect()
}

/// Tests that are skipped, or that wait for real time to pass.
pub(crate) fn unreliable_tests(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let simulator = ["/testkit/", "/sim/"].iter().any(|folder| source.path.contains(folder));
    let virtual_time = simulator
        || source.code.iter().any(|text| VIRTUAL_TIME.iter().any(|word| text.contains(word)));
    for (line, text) in source.code.iter().enumerate() {
        if text.contains("#[ignore") {
            breaches.push(source.breach(line, "no ignored tests: make it pass or remove it"));
        }
        let sleeps = has_word(text, "time::sleep") || has_word(text, "sleep(Duration");
        if source.test[line] && sleeps && !virtual_time {
            breaches.push(source.breach(line, "a test sleeps in virtual time only"));
        }
    }
    breaches
}

#[test]
fn banned_names_are_used_nowhere() {
    let breaches: Vec<Breach> = sources().iter().flat_map(banned).collect();
    crate::source::report(&breaches);
}

#[test]
fn nothing_is_left_unfinished() {
    let breaches: Vec<Breach> = sources().iter().flat_map(unfinished).collect();
    crate::source::report(&breaches);
}

#[test]
fn tests_are_neither_ignored_nor_asleep() {
    let breaches: Vec<Breach> = sources().iter().flat_map(unreliable_tests).collect();
    crate::source::report(&breaches);
}
