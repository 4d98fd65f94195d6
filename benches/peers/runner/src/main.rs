//! Builds every stack, runs every case of every stack in turn, round by round, and prints one
//! table. `make bench` at the root of the repository; README.md says how to read it.

mod calibration;
mod cases;
mod compile;
mod machine;
mod measure;
mod report;
mod results;
mod stacks;
mod targets;
mod wire;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};

use crate::{
    cases::{CASES, Case, shortened},
    compile::Programs,
    report::Report,
    results::{Results, Spread},
    stacks::{STACKS, Stack},
};

/// Rounds unless `BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// Where the report begins in a document, and where it ends.
const BEGIN: &str = "<!-- make bench: begin -->";
/// See [`BEGIN`].
const END: &str = "<!-- make bench: end -->";
/// A case that failed so often for a stack is not tried again.
const FAILURES_MAX: usize = 2;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let rounds = match std::env::var("BENCH_ROUNDS") {
        Ok(text) => text.parse().context("BENCH_ROUNDS is not a number")?,
        Err(_) => ROUNDS,
    };
    let stacks: Vec<&Stack> = chosen("BENCH_STACKS", STACKS, |stack| stack.name)?;
    let cases: Vec<&Case> = chosen("BENCH_CASES", &CASES, |case| case.name)?;
    let programs = compile::build(&stacks)?;
    for (name, built) in &programs {
        if let Err(why) = built {
            eprintln!("  {name} is left out: {why}");
        }
    }
    let (results, calibration) = measure_all(rounds, &stacks, &cases, &programs);
    let report = Report {
        results: &results,
        programs: &programs,
        stacks: &stacks,
        cases: &cases,
        rounds,
        calibration: Spread::of(calibration),
        command: command(),
    };
    let text = report.markdown();
    println!("{text}");
    if let Some(file) = std::env::var_os("BENCH_REPORT").map(PathBuf::from) {
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, placed(&kept, &text)).with_context(|| file.display().to_string())?;
        eprintln!("written to {}", file.display());
    }
    Ok(())
}

/// The report in its place in a document that says more; the place is marked.
fn placed(document: &str, report: &str) -> String {
    let (before, rest) = document.split_once(BEGIN).unwrap_or(("# Performance\n\n", END));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    format!("{before}{BEGIN}\n{report}{END}{after}")
}

/// The rows of a table that an environment variable names, comma-separated; all without it.
fn chosen<T>(variable: &str, all: &'static [T], name: fn(&T) -> &str) -> Result<Vec<&'static T>> {
    let Ok(wanted) = std::env::var(variable) else { return Ok(all.iter().collect()) };
    let wanted: BTreeSet<&str> = wanted.split(',').map(str::trim).collect();
    for one in &wanted {
        let known = all.iter().any(|row| name(row) == *one);
        let names: Vec<_> = all.iter().map(name).collect();
        ensure!(known, "{variable}: there is no {one}; there are {}", names.join(", "));
    }
    Ok(all.iter().filter(|row| wanted.contains(name(row))).collect())
}

/// How this run can be repeated.
fn command() -> String {
    let mut words = Vec::new();
    for name in ["BENCH_ROUNDS", "BENCH_CASES", "BENCH_STACKS"] {
        if let Ok(value) = std::env::var(name) {
            words.push(format!("{name}={value}"));
        }
    }
    words.push("make bench".to_owned());
    words.join(" ")
}

fn measure_all(
    rounds: usize,
    stacks: &[&'static Stack],
    cases: &[&'static Case],
    programs: &Programs,
) -> (Results, Vec<f64>) {
    let mut results = Results::default();
    let mut calibration = vec![calibration::calibrate()];
    for round in 0..rounds {
        for case in cases {
            // Another stack goes first in each round.
            let turn = round % stacks.len().max(1);
            let order = stacks[turn..].iter().chain(&stacks[..turn]);
            for stack in order.filter(|stack| stack.takes_part(case.name)) {
                let Some(Ok(program)) = programs.get(&stack.program()) else { continue };
                let failed = |(c, s, times, _): (&str, &str, usize, &str)| {
                    c == case.name && s == stack.name && times >= FAILURES_MAX
                };
                if results.failures().any(failed) {
                    continue;
                }
                let task = shortened(case.task, stack.divisor(case.name));
                eprint!("round {} {} {} ", round + 1, case.name, stack.name);
                match measure::measure(program, stack.variant, task) {
                    Ok(sample) => {
                        eprintln!("{} ms", sample.server.wall_us / 1_000);
                        results.add(case.name, stack.name, sample);
                    }
                    Err(error) => {
                        eprintln!("failed: {error:#}");
                        results.fail(case.name, stack.name, format!("{error:#}"));
                    }
                }
            }
            calibration.push(calibration::calibrate());
        }
    }
    (results, calibration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_the_last_one_and_leaves_the_rest() {
        let first = placed("", "one\n");
        assert!(first.starts_with("# Performance"));
        let second = placed(&format!("{first}more\n"), "two\n");
        assert!(!second.contains("one") && second.contains("two") && second.ends_with("more\n"));
    }
}
