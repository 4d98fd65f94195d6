//! What was sampled, and whether it grew.

use std::{collections::BTreeMap, fs, io, time::Duration};

/// The share of the run that is not judged: caches and the allocator fill.
const WARM_UP: f64 = 1.0 / 3.0;
/// Growth of resident memory that is accepted, MiB an hour. The slope is a least-squares fit; it
/// must exceed this by two standard errors, or a short run would fail by the allocator's noise.
const SLOPE_MAX_MIB_PER_HOUR: f64 = 1.0;
/// Connections that may be open or closing in one sample and not in another: those of the node
/// that comes and goes, at both ends, and its listener.
const DESCRIPTORS_NOISE: usize = 16;
/// Rows of the table.
const ROWS: usize = 24;

struct Sample {
    at: Duration,
    resident_bytes: u64,
    descriptors: usize,
    series: usize,
}

/// Samples of one run.
pub(crate) struct Samples {
    span: Duration,
    taken: Vec<Sample>,
    /// When each metric series was first seen.
    series: BTreeMap<String, Duration>,
}

impl Samples {
    pub(crate) fn new(span: Duration) -> Self {
        Samples { span, taken: Vec::new(), series: BTreeMap::new() }
    }

    /// Looks at this process, and at its metrics in the exposition format of Prometheus.
    pub(crate) fn take(&mut self, at: Duration, metrics: &str) -> io::Result<()> {
        let lines = metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (name, _) in lines.clone().filter_map(|line| line.rsplit_once(' ')) {
            self.series.entry(name.to_owned()).or_insert(at);
        }
        let series = lines.count();
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let kib = kib.ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))?;
        let descriptors = fs::read_dir("/proc/self/fd")?.count();
        self.taken.push(Sample { at, resident_bytes: kib * 1024, descriptors, series });
        Ok(())
    }

    /// Prints the table and the verdict; whether nothing grew.
    pub(crate) fn report(&self) -> bool {
        println!("{:>9} {:>13} {:>12} {:>7}", "minute", "resident MiB", "descriptors", "series");
        for sample in self.taken.iter().step_by((self.taken.len() / ROWS).max(1)) {
            let Sample { at, resident_bytes, descriptors, series } = sample;
            let (minute, mib) = (at.as_secs_f64() / 60.0, mib(*resident_bytes));
            println!("{minute:>9.1} {mib:>13.1} {descriptors:>12} {series:>7}");
        }
        let warm = self.span.mul_f64(WARM_UP);
        let judged: Vec<&Sample> = self.taken.iter().filter(|sample| sample.at > warm).collect();
        let (slope, error) = slope(&judged);
        let memory = slope - 2.0 * error <= SLOPE_MAX_MIB_PER_HOUR;
        println!("memory: {slope:+.2} MiB/h, standard error {error:.2}: {}", verdict(memory));
        let (early, late) = judged.split_at(judged.len() / 2);
        let most = |part: &[&Sample], of: fn(&Sample) -> usize| {
            part.iter().map(|sample| of(sample)).max().unwrap_or(0)
        };
        let of: fn(&Sample) -> usize = |sample| sample.descriptors;
        let (before, after) = (most(early, of), most(late, of));
        let descriptors = after <= before + DESCRIPTORS_NOISE;
        println!("descriptors: at most {before}, then {after}: {}", verdict(descriptors));
        let of: fn(&Sample) -> usize = |sample| sample.series;
        let (before, after) = (most(early, of), most(late, of));
        println!("series: at most {before}, then {after}: {}", verdict(after <= before));
        let late = self.series.iter().filter(|(_, first)| **first > warm);
        for (name, first) in late {
            println!("  since minute {:.1}: {name}", first.as_secs_f64() / 60.0);
        }
        memory && descriptors && after <= before
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn verdict(flat: bool) -> &'static str {
    if flat { "flat" } else { "GROWS" }
}

/// The slope of resident memory and its standard error, MiB an hour: ordinary least squares.
fn slope(samples: &[&Sample]) -> (f64, f64) {
    let count = samples.len() as f64;
    let point = |sample: &&Sample| (sample.at.as_secs_f64() / 3600.0, mib(sample.resident_bytes));
    let points: Vec<(f64, f64)> = samples.iter().map(point).collect();
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let both = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    let slope = both / spread;
    let rest = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}
