//! Counts the instructions of hot functions: `scripts/bench-instructions` runs this program
//! under `valgrind --tool=callgrind`, once for each case, and compares with `pinned.tsv`.
//!
//! `instructions list` prints the cases, `instructions CASE` runs one. Callgrind collects inside
//! [`measured`] alone, so that neither preparation nor a first call (detection of the CPU, lazy
//! tables) counts.

mod cases;

use std::process::ExitCode;

use cases::{CASES, Case};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => {
            for Case { name, section, .. } in CASES {
                println!("{name}\t{section}");
            }
            ExitCode::SUCCESS
        }
        [wanted] => match CASES.iter().find(|case| case.name == *wanted) {
            Some(case) => {
                (case.run)();
                ExitCode::SUCCESS
            }
            None => usage(&format!("no case named {wanted}")),
        },
        _ => usage("one argument"),
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("instructions: {problem}; use: instructions list | instructions CASE");
    ExitCode::from(2)
}

/// Runs `work` where callgrind collects. Its name is what the script toggles collection with.
#[inline(never)]
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}
