//! What was sampled, and whether it grew.

use std::{collections::BTreeMap, fs, io, time::Duration};

/// The share of the run that is not judged: caches and the allocator fill.
const WARM_UP: f64 = 1.0 / 3.0;
/// Growth of what is allocated that is accepted, MiB an hour. The slope is a least-squares fit; it
/// must exceed this by two standard errors, or a short run would fail by what caches hold just now.
const SLOPE_MAX_MIB_PER_HOUR: f64 = 1.0;
/// Means of so many stretches are fitted: single samples follow one another too closely to count as
/// so many observations, and the error would come out far too small (batch means, Law and Kelton,
/// Simulation Modeling and Analysis, section 9.5.3).
const STRETCHES: usize = 16;
/// Growth of the median of what was resident, from the first half of what is judged to the second,
/// that is accepted, in hundredths. malloc keeps much of what busy moments have needed, and what it
/// gives back again was no leak; a leak shows in what is allocated.
const RESIDENT_GROWTH_MAX_PERCENT: u64 = 5;
/// Connections that may be open or closing in one sample and not in another: those of the node
/// that comes and goes, at both ends, and its listener.
const DESCRIPTORS_NOISE: u64 = 16;
/// Rows of the table.
const ROWS: usize = 24;

struct Sample {
    at: Duration,
    allocated_bytes: u64,
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

    /// Looks at this process, which has allocated so much, and at its metrics in the exposition format
    /// of Prometheus.
    pub(crate) fn take(&mut self, at: Duration, allocated: usize, metrics: &str) -> io::Result<()> {
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
        let (allocated_bytes, resident_bytes) = (allocated as u64, kib * 1024);
        self.taken.push(Sample { at, allocated_bytes, resident_bytes, descriptors, series });
        Ok(())
    }

    /// Prints the table and the verdict; whether nothing grew.
    pub(crate) fn report(&self) -> bool {
        self.print();
        let warm = self.span.mul_f64(WARM_UP);
        let judged: Vec<&Sample> = self.taken.iter().filter(|sample| sample.at > warm).collect();
        let (slope, error) = slope(&judged);
        let allocated = slope - 2.0 * error <= SLOPE_MAX_MIB_PER_HOUR;
        println!("allocated: {slope:+.2} MiB/h, standard error {error:.2}: {}", verdict(allocated));
        let (early, late) = judged.split_at(judged.len() / 2);
        let most = |of: fn(&Sample) -> u64| {
            let most = |part: &[&Sample]| part.iter().map(|sample| of(sample)).max().unwrap_or(0);
            (most(early), most(late))
        };
        let (before, after) = (median_resident(early), median_resident(late));
        let resident = after * 100 <= before * (100 + RESIDENT_GROWTH_MAX_PERCENT);
        let (from, to) = (mib(before), mib(after));
        println!("resident: median {from:.1} MiB, then {to:.1}: {}", verdict(resident));
        let (before, after) = most(|sample| sample.resident_bytes);
        println!("resident: at most {:.1} MiB, then {:.1}", mib(before), mib(after));
        let (before, after) = most(|sample| sample.descriptors as u64);
        let descriptors = after <= before + DESCRIPTORS_NOISE;
        println!("descriptors: at most {before}, then {after}: {}", verdict(descriptors));
        let late = self.series.iter().filter(|(_, first)| **first > warm);
        let (rare, open): (Vec<_>, Vec<_>) = late.partition(|(name, _)| is_of_closed_lists(name));
        let series = open.is_empty();
        let count = rare.len();
        println!("series: {} late, {count} of closed lists late: {}", open.len(), verdict(series));
        for (name, first) in open.into_iter().chain(rare) {
            println!("  since minute {:.1}: {name}", minute(*first));
        }
        allocated && resident && descriptors && series
    }

    fn print(&self) {
        println!(
            "{:>7} {:>13} {:>13} {:>12} {:>7}",
            "minute", "allocated MiB", "resident MiB", "descriptors", "series"
        );
        for sample in self.taken.iter().step_by((self.taken.len() / ROWS).max(1)) {
            let Sample { at, allocated_bytes, resident_bytes, descriptors, series } = sample;
            let (minute, resident) = (minute(*at), mib(*resident_bytes));
            let allocated = mib(*allocated_bytes);
            println!(
                "{minute:>7.1} {allocated:>13.1} {resident:>13.1} {descriptors:>12} {series:>7}"
            );
        }
    }
}

fn median_resident(part: &[&Sample]) -> u64 {
    let mut all: Vec<u64> = part.iter().map(|sample| sample.resident_bytes).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// Whether all labels of a series are words, such as reasons and kinds: of these there are only so
/// many, and some come up seldom. What grows without an end has ids, addresses or numbers.
fn is_of_closed_lists(series: &str) -> bool {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    let values = labels.split(',').filter_map(|label| label.split_once('='));
    let is_word = |value: &str| {
        let value = value.trim_matches('"');
        value.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '-'))
    };
    values.into_iter().all(|(_, value)| is_word(value))
}

fn minute(at: Duration) -> f64 {
    at.as_secs_f64() / 60.0
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn verdict(flat: bool) -> &'static str {
    if flat { "flat" } else { "GROWS" }
}

/// The slope of what is allocated and its standard error, MiB an hour: ordinary least squares on the
/// means of [`STRETCHES`].
fn slope(samples: &[&Sample]) -> (f64, f64) {
    let stretches = samples.chunks(samples.len().div_ceil(STRETCHES).max(1));
    let mean = |of: &dyn Fn(&Sample) -> f64, part: &[&Sample]| {
        part.iter().map(|sample| of(sample)).sum::<f64>() / part.len() as f64
    };
    let points: Vec<(f64, f64)> = stretches
        .map(|part| {
            let hour = mean(&|sample| sample.at.as_secs_f64() / 3600.0, part);
            (hour, mean(&|sample| mib(sample.allocated_bytes), part))
        })
        .collect();
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let both = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    let slope = both / spread;
    let rest = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}
