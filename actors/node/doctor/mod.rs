//! `peerstage doctor`: looks at everything a node needs, in the order in which one thing needs the
//! other, and says what to do about what is wrong.

mod machine;
mod reach;
mod seeds;
mod time;

use std::time::Duration;

use peerstage_core::config::Config;
use serde::Serialize;
use serde_json::json;

use super::{
    cli::Target,
    client::{Client, ClientError},
    failure::Failure,
    query::{endpoint, print},
    settings::Layered,
    table::{Style, Tone, tame},
};
use crate::status::Status;

/// How long anything on the network may take before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As it should be.
    Good,
    /// The node runs, and could do better.
    Warning,
    /// The node can't do its work.
    Bad,
    /// Not looked at; what was found says why.
    Skipped,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    outcome: Outcome,
    found: String,
    /// What to do; empty if nothing.
    advice: String,
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, found: impl Into<String>) -> Self {
        Finding { check, outcome, found: found.into(), advice: String::new() }
    }

    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Finding::new(check, Outcome::Good, found)
    }

    fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Finding::new(check, Outcome::Skipped, why)
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding::new(check, Outcome::Warning, found).advise(advice)
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding::new(check, Outcome::Bad, found).advise(advice)
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Finding { advice: advice.into(), ..self }
    }

    fn text(&self, style: Style) -> String {
        let (mark, tone) = match self.outcome {
            Outcome::Good => ("ok  ", Tone::Good),
            Outcome::Warning => ("look", Tone::Bold),
            Outcome::Bad => ("BAD ", Tone::Bad),
            Outcome::Skipped => ("-   ", Tone::Plain),
        };
        let advice = match self.advice.as_str() {
            "" => String::new(),
            advice => format!("\n{:20}-> {advice}", ""),
        };
        // Routers and peers say some of it.
        let found = tame(&self.found);
        format!("{} {:<14} {found}{advice}", style.paint(mark, tone), self.check)
    }
}

/// What the checks look at.
struct Patient<'a> {
    config: &'a Config,
    /// The node's own words, if it runs.
    running: Option<Status>,
    /// Why a node that may run could not be asked.
    unasked: Option<String>,
}

/// Where findings go: to the terminal one by one, so that a slow check shows that it is at work.
struct Findings {
    json: bool,
    style: Style,
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> Result<(), Failure> {
        for finding in findings {
            if !self.json {
                print(&finding.text(self.style))?;
            }
            self.all.push(finding);
        }
        Ok(())
    }
}

/// Runs all checks.
///
/// # Errors
/// [`Failure::Unwell`] if one is bad; the configuration's errors.
pub(super) fn doctor(
    layered: &Layered,
    target: &Target,
    time_server: &str,
    json: bool,
) -> Result<(), Failure> {
    let resolved = layered.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = Findings { json, style: Style::of_stdout(), all: Vec::new() };
    let examined = runtime.block_on(async {
        let (running, unasked) = match status(layered, target).await {
            Ok(running) => (running, None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let patient = Patient { config: &resolved.config, running, unasked };
        examine(&patient, time_server, &mut findings).await
    });
    // A name server that is silent is not waited for any longer.
    runtime.shutdown_background();
    examined?;
    let bad = findings.all.iter().filter(|finding| finding.outcome == Outcome::Bad).count();
    if json {
        print(&json!({ "well": bad == 0, "checks": findings.all }).to_string())?;
    }
    if bad > 0 { Err(Failure::Unwell(bad)) } else { Ok(()) }
}

/// The running node's own words; `None` if none runs.
async fn status(layered: &Layered, target: &Target) -> Result<Option<Status>, Failure> {
    match Client::new(endpoint(layered, target)?).get("/v1/status").await {
        Ok(status) => Ok(Some(serde_json::from_value(status)?)),
        Err(ClientError::NoNode(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn examine(
    patient: &Patient<'_>,
    time_server: &str,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let node = match (&patient.running, &patient.unasked) {
        (Some(status), _) => {
            Finding::good("node", format!("{} runs, {} peers", status.node, status.peers))
        }
        (None, Some(why)) => Finding::warning(
            "node",
            format!("it can't be told whether one runs: {why}"),
            "run this as the user that runs the node, with the same version",
        ),
        (None, None) => Finding::skipped("node", "not running: what only it can tell is left out"),
    };
    findings.add([node])?;
    findings.add([time::clock(time_server).await])?;
    findings.add([machine::file_limit(patient)])?;
    findings.add(machine::ports(patient))?;
    findings.add([machine::interfaces()])?;
    findings.add(reach::address_and_nat(patient).await)?;
    findings.add([reach::port_mapping(patient).await])?;
    findings.add(reach::reachability(patient))?;
    findings.add(seeds::dns_seeds(patient).await)?;
    findings.add(reach::bootstrap(patient).await)?;
    findings.add([machine::disk(patient), machine::database(patient)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_advice_another() {
        let style = Style::with_colours(false);
        let good = Finding::good("disk", "93 GiB free");
        assert_eq!(good.text(style), "ok   disk           93 GiB free");
        let bad = Finding::bad("disk", "full", "make room");
        assert_eq!(bad.text(style), "BAD  disk           full\n                    -> make room");
    }
}
