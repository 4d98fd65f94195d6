//! The table, as Markdown: what the terminal shows and what `docs/performance.md` keeps.

use std::fmt::Write;

use crate::{
    cases::{CASES, Case},
    compile::Programs,
    machine::{machine, revision, versions},
    results::{Results, Spread, driver_mib, packets, rate, server_mib, waits, wire},
    stacks::{OURS, STACKS, Stack},
    targets::{Against, Outcome, TARGETS, Target},
};

/// Everything that a run gave.
pub struct Report<'a> {
    /// The figures.
    pub results: &'a Results,
    /// What was built.
    pub programs: &'a Programs,
    /// The stacks that were wanted.
    pub stacks: &'a [&'static Stack],
    /// The cases that were wanted.
    pub cases: &'a [&'static Case],
    /// Rounds.
    pub rounds: usize,
    /// Spread of the calibration loop, ms.
    pub calibration: Option<Spread>,
    /// The command.
    pub command: String,
}

impl Report<'_> {
    /// All of it.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        for case in self.cases {
            self.case(&mut text, case);
        }
        self.targets(&mut text);
        self.left_out(&mut text);
        self.settings(&mut text);
        text
    }

    fn head(&self, text: &mut String) {
        let calibration = self.calibration.map_or_else(String::new, |spread| {
            format!(
                " A fixed piece of work between measurements took {} ms of CPU time ({} to {}).",
                number(spread.median),
                number(spread.min),
                number(spread.max)
            )
        });
        let _ = writeln!(
            text,
            "Machine: {}. Peerstage {}. Command: `{}`; {} rounds, all stacks in turn in each.{}\n\n\
             Figures are medians (smallest to largest). CPU time is user and system time of both \
             processes over the measured phase (getrusage). Wire: bytes on the loopback interface, \
             headers and acknowledgements included, for each byte of payload delivered, or for each \
             unit where there is no payload. Waits: times a thread of either process gave its \
             processor up (ru_nvcsw). Rates are wall-clock, as information only. The ratio \
             is Peerstage's figure by the peer's: below 1 Peerstage is better.\n",
            machine(),
            revision(),
            self.command,
            self.rounds,
            calibration
        );
    }

    fn case(&self, text: &mut String, case: &Case) {
        let rate_unit = match case.task {
            kit::Task::Idle { .. } => "CPU ms / minute, both sides".to_owned(),
            _ => format!("{} / s", plural(case.unit)),
        };
        let _ = writeln!(
            text,
            "### {}: {}\n\n| stack | {} | peerstage / it | wire | packets / {unit} | waits / {unit} | memory: server, driver MiB | {} |\n\
             |---|---|---|---|---|---|---|---|",
            case.name,
            case.about,
            case.figure.unit(case),
            rate_unit,
            unit = case.unit
        );
        let ours = self.results.figure(case, OURS);
        for stack in self.stacks.iter().filter(|stack| stack.takes_part(case.name)) {
            let Some(spread) = self.results.figure(case, stack.name) else { continue };
            let ratio = ours.map_or_else(String::new, |ours| number(ours.median / spread.median));
            let other = |value| self.results.other(case, stack.name, value).unwrap_or(f64::NAN);
            let part = match stack.divisor(case.name) {
                1 => String::new(),
                divisor => format!(" (1/{divisor} of the messages)"),
            };
            let _ = writeln!(
                text,
                "| {}{part} | {} ({} to {}) | {ratio} | {} | {} | {} | {}, {} | {} |",
                stack.name,
                number(spread.median),
                number(spread.min),
                number(spread.max),
                number(other(wire)),
                number(other(packets)),
                number(other(waits)),
                number(other(server_mib)),
                number(other(driver_mib)),
                number(other(rate)),
            );
        }
        text.push('\n');
    }

    fn targets(&self, text: &mut String) {
        text.push_str(
            "### Targets\n\n| case | stack | compared with | at most | reached | |\n|---|---|---|---|---|---|\n",
        );
        for target in TARGETS {
            let against = match target.against {
                Against::Stack(peer) => peer,
                Against::Absolute => "(itself)",
            };
            let (value, outcome) = match target.judge(self.results) {
                Outcome::Reached(value) => (number(value), "pass"),
                Outcome::Missed(value) => (number(value), "FAIL"),
                Outcome::Unknown => ("-".to_owned(), "not measured"),
            };
            let Target { case, ours, at_most, .. } = *target;
            let _ = writeln!(
                text,
                "| {case} | {ours} | {against} | {} | {value} | {outcome} |",
                number(at_most)
            );
        }
        text.push('\n');
    }

    fn left_out(&self, text: &mut String) {
        text.push_str("### Left out\n\n");
        for stack in STACKS {
            match self.programs.get(&stack.program()) {
                Some(Err(why)) => {
                    let _ = writeln!(text, "- {}: not built: {why}", stack.name);
                }
                Some(Ok(_)) if self.stacks.iter().any(|wanted| wanted.name == stack.name) => {
                    let missing: Vec<_> = CASES
                        .iter()
                        .filter(|case| !stack.takes_part(case.name))
                        .map(|case| case.name)
                        .collect();
                    if !missing.is_empty() {
                        let missing = missing.join(", ");
                        let _ = writeln!(text, "- {}: has no part in {missing}", stack.name);
                    }
                }
                _ => {
                    let _ = writeln!(text, "- {}: not asked for in this run", stack.name);
                }
            }
        }
        for (case, stack, times, why) in self.results.failures() {
            let _ = writeln!(text, "- {stack}, {case}: failed in {times} rounds: {why}");
        }
        text.push('\n');
    }

    fn settings(&self, text: &mut String) {
        let versions = versions();
        text.push_str("### Stacks\n\n| stack | versions | settings |\n|---|---|---|\n");
        for stack in self.stacks {
            let crates: Vec<_> = stack
                .crates
                .iter()
                .map(|name| format!("{name} {}", versions.get(*name).map_or("?", |v| v)))
                .collect();
            let _ =
                writeln!(text, "| {} | {} | {} |", stack.name, crates.join(", "), stack.settings);
        }
    }
}

fn plural(unit: &str) -> String {
    unit.strip_suffix('y').map_or_else(|| format!("{unit}s"), |stem| format!("{stem}ies"))
}

/// A number with three significant digits, or all of an integer.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
