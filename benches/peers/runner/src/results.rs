//! What the rounds gave, and the figures made of it.

use std::collections::BTreeMap;

use crate::{
    cases::{Case, Figure},
    measure::Sample,
};

/// Median, smallest and largest of some rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle one; the mean of the middle two if there is none.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Spread { median, min, max })
    }
}

/// All samples, by case and stack.
#[derive(Default)]
pub struct Results {
    samples: BTreeMap<(&'static str, &'static str), Vec<Sample>>,
    failures: BTreeMap<(&'static str, &'static str), (usize, String)>,
}

impl Results {
    /// One more round of a case and a stack.
    pub fn add(&mut self, case: &'static str, stack: &'static str, sample: Sample) {
        self.samples.entry((case, stack)).or_default().push(sample);
    }

    /// A round that failed.
    pub fn fail(&mut self, case: &'static str, stack: &'static str, why: String) {
        let (times, _) = self.failures.entry((case, stack)).or_insert((0, why));
        *times += 1;
    }

    /// The rounds of a case and a stack.
    pub fn of(&self, case: &str, stack: &str) -> &[Sample] {
        let found = self.samples.iter().find(|((c, s), _)| *c == case && *s == stack);
        found.map_or(&[], |(_, samples)| samples)
    }

    /// Every failure: case, stack, how often, why the first time.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str, usize, &str)> {
        self.failures.iter().map(|((case, stack), (times, why))| (*case, *stack, *times, &**why))
    }

    /// What is compared: the case's figure.
    pub fn figure(&self, case: &Case, stack: &str) -> Option<Spread> {
        Spread::of(self.of(case.name, stack).iter().map(|sample| figure(case, sample)))
    }

    /// Another value of the same samples.
    pub fn other(&self, case: &Case, stack: &str, value: fn(&Case, &Sample) -> f64) -> Option<f64> {
        let spread = Spread::of(self.of(case.name, stack).iter().map(|sample| value(case, sample)));
        spread.map(|spread| spread.median)
    }
}

/// CPU time of both processes, µs.
fn cpu_us(sample: &Sample) -> f64 {
    let driver = sample.driver.map_or(0, |usage| usage.user_us + usage.system_us);
    (sample.server.user_us + sample.server.system_us + driver) as f64
}

/// Bytes of the user's payload in a case, as often as they were delivered.
fn payload(case: &Case, sample: &Sample) -> f64 {
    use kit::Task::{Broadcast, Fanout, Handshake, Idle, Request, Send};
    let size = match case.task {
        Send { size, .. } | Broadcast { size, .. } | Fanout { size, .. } => size as f64,
        Request { size, .. } => 2.0 * size as f64,
        Handshake { .. } | Idle { .. } => 0.0,
    };
    size * sample.units as f64
}

fn figure(case: &Case, sample: &Sample) -> f64 {
    let units = sample.units as f64;
    match case.figure {
        Figure::SecondsPerGigabyte => cpu_us(sample) * 1e3 / payload(case, sample),
        Figure::MicrosPerUnit => cpu_us(sample) / units,
        Figure::SecondsPerHundred => {
            let kit::Task::Broadcast { nodes, .. } = case.task else { return f64::NAN };
            let messages = units / (nodes as f64 - 1.0);
            cpu_us(sample) / 1e6 * 100.0 / messages
        }
        Figure::KibPerConnection => {
            let server = &sample.server;
            server.rss_stop_kib.saturating_sub(server.rss_ready_kib) as f64 / units
        }
        Figure::SenderMicrosPerUnit => {
            (sample.server.user_us + sample.server.system_us) as f64 / units
        }
    }
}

/// Bytes on the wire for each byte of payload delivered; bytes a unit where there is no payload.
pub fn wire(case: &Case, sample: &Sample) -> f64 {
    let payload = payload(case, sample);
    let by = if payload > 0.0 { payload } else { sample.units as f64 };
    sample.wire.bytes as f64 / by
}

/// Packets for each unit.
pub fn packets(_: &Case, sample: &Sample) -> f64 {
    sample.wire.packets as f64 / sample.units as f64
}

/// Times a thread of either process waited, for each unit.
pub fn waits(_: &Case, sample: &Sample) -> f64 {
    let driver = sample.driver.map_or(0, |usage| usage.waits);
    (sample.server.waits + driver) as f64 / sample.units as f64
}

/// Resident memory of the server at the end, MiB.
pub fn server_mib(_: &Case, sample: &Sample) -> f64 {
    sample.server.rss_stop_kib as f64 / 1024.0
}

/// Resident memory of the driver at the end, MiB.
pub fn driver_mib(_: &Case, sample: &Sample) -> f64 {
    sample.driver.map_or(f64::NAN, |usage| usage.rss_stop_kib as f64 / 1024.0)
}

/// Units a second of wall-clock time; CPU ms a minute of both sides where nothing happens.
pub fn rate(case: &Case, sample: &Sample) -> f64 {
    let seconds = sample.server.wall_us as f64 / 1e6;
    match case.task {
        kit::Task::Idle { .. } => cpu_us(sample) / 1e3 * 60.0 / seconds,
        _ => sample.units as f64 / seconds,
    }
}
