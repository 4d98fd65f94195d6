//! The log: lines for eyes or for machines on standard error, and no more of a kind than an
//! operator can read.
//!
//! # Security
//! Provided: attack row 46: lines of one kind (one place in the code, with one reason) are
//! limited each second, and so are all kinds together, but for errors, which only this node's own
//! trouble causes; what is left out is counted and summed up; text of peers is escaped, so it can
//! neither forge a line nor move the cursor.
//! Not provided: a limit on the size of what standard error is written to.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use peerstage_core::{
    config::{Log, LogFormat, LogLevel},
    time::Time,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::clock::Clock;

/// Kinds of lines that are told apart; the rest share one limit. The code has about a hundred.
const KINDS_MAX: usize = 1_024;
/// All kinds together may have so many times what one kind may have, the line that sums up
/// included: 100 lines a second by default (attack row 46).
const ALL_KINDS_FACTOR: u32 = 5;
/// The target of the line that says what was left out, which is never left out itself.
const SUMMARY: &str = "peerstage::log";
/// How often what was left out is summed up.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

/// Sums up when it is dropped: what was left out in the last second is said too.
struct Summary(LogLimiter);

impl Drop for Summary {
    fn drop(&mut self) {
        self.0.sum_up();
    }
}

/// Lets so many lines of one kind through each second.
#[derive(Clone)]
pub struct LogLimiter {
    per_second: u32,
    clock: Clock,
    windows: Arc<Mutex<Windows>>,
    left_out: Arc<AtomicU64>,
}

/// A place in the code and a hash of the reason it gives.
type Kind = (Identifier, u64);

#[derive(Default)]
struct Windows {
    kinds: HashMap<Option<Kind>, Window>,
    all: Window,
}

#[derive(Clone, Copy, Default)]
struct Window {
    second: u64,
    lines: u32,
}

impl Window {
    /// Counts a line of this second; whether it is among the first `limit`.
    fn admits(&mut self, second: u64, limit: u32) -> bool {
        if self.second != second {
            *self = Window { second, lines: 0 };
        }
        if self.lines >= limit {
            return false;
        }
        self.lines = self.lines.saturating_add(1);
        true
    }
}

/// Starts the log of this process.
///
/// Returns the limiter, whose [`LogLimiter::summarise`] should run as a task.
#[must_use]
pub fn start(log: &Log) -> LogLimiter {
    let limiter = LogLimiter::new(log.lines_per_second, Clock::system());
    let level = level(log.level);
    let ours = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("peerstage", level)
        .with_target("peerstage_core", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    // Starting twice is a mistake of the caller; the first log goes on.
    let _ = match log.format {
        LogFormat::Terminal => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = lines.with_ansi(colours).with_filter(limiter.clone()).with_filter(ours);
            registry.with(lines).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            registry.with(lines.with_filter(limiter.clone()).with_filter(ours)).try_init()
        }
    };
    limiter
}

fn level(level: LogLevel) -> LevelFilter {
    LevelFilter::from_level(match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    })
}

impl LogLimiter {
    /// A limiter of `per_second` lines of a kind.
    #[must_use]
    pub fn new(per_second: u32, clock: Clock) -> Self {
        LogLimiter { per_second, clock, windows: Arc::default(), left_out: Arc::default() }
    }

    /// Says once a second how many lines were left out, for as long as it is polled, and a last
    /// time when it is dropped.
    pub async fn summarise(self) {
        let summary = Summary(self);
        let mut interval = tokio::time::interval(SUMMARY_INTERVAL);
        loop {
            interval.tick().await;
            summary.0.sum_up();
        }
    }

    fn sum_up(&self) {
        let lines = self.left_out.swap(0, Ordering::Relaxed);
        if lines > 0 {
            metrics::counter!("peerstage_log_left_out_total").increment(lines);
            tracing::warn!(target: SUMMARY, lines, "lines left out of the log");
        }
    }

    /// Whether one more line of this kind may be written now.
    fn admits(&self, kind: Kind, level: Level, now: Time) -> bool {
        let second = now.0 / 1_000;
        // One is kept for the summary.
        let all = self.per_second.saturating_mul(ALL_KINDS_FACTOR).saturating_sub(1);
        // Nothing panics while the lock is held.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Some(kind);
        let known = windows.kinds.len() < KINDS_MAX || windows.kinds.contains_key(&kind);
        let window = windows.kinds.entry(kind.filter(|_| known)).or_default();
        let admitted = window.admits(second, self.per_second)
            && (level == Level::ERROR || windows.all.admits(second, all));
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

impl<S: Subscriber> Filter<S> for LogLimiter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == SUMMARY {
            return true;
        }
        let mut reason = Reason(0);
        event.record(&mut reason);
        self.admits((metadata.callsite(), reason.0), *metadata.level(), self.clock.now())
    }
}

/// Hashes the field `reason`.
struct Reason(u64);

impl Visit for Reason {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "reason" {
            let mut hash = DefaultHasher::new();
            value.hash(&mut hash);
            self.0 = hash.finish();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Written;

        fn make_writer(&'a self) -> Written {
            self.clone()
        }
    }

    fn lines_of(per_second: u32, log: impl FnOnce()) -> (Vec<String>, LogLimiter) {
        let written = Written::default();
        let limiter = LogLimiter::new(per_second, Clock::simulated(5_000));
        let lines = tracing_subscriber::fmt::layer().with_writer(written.clone()).with_ansi(false);
        let registry = tracing_subscriber::registry().with(lines.with_filter(limiter.clone()));
        tracing::subscriber::with_default(registry, log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        (text.lines().map(str::to_owned).collect(), limiter)
    }

    /// Attack row 46: a flood of one kind leaves the others readable.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_reason_is_cut_and_counted() {
        let (lines, limiter) = lines_of(20, || {
            for n in 0..1_000 {
                tracing::info!(n, reason = "banned", "peer disconnected");
                tracing::info!(n, reason = if n < 5 { "idle" } else { "banned" }, "another place");
            }
        });
        assert_eq!(lines.len(), 20 + 5 + 20);
        assert_eq!(limiter.left_out.load(Ordering::Relaxed), 2_000 - 45);
    }

    /// Attack row 46: reasons without end share one limit, and cost bounded memory.
    #[tokio::test(start_paused = true)]
    async fn invented_reasons_are_no_way_around() {
        let (lines, limiter) = lines_of(1, || {
            for n in 0..10_000 {
                tracing::info!(reason = format!("reason {n}"), "peer disconnected");
            }
        });
        assert_eq!(limiter.windows.lock().unwrap().kinds.len(), KINDS_MAX + 1);
        assert_eq!(lines.len(), 4, "all kinds together have five lines, one for the summary");
    }

    /// Attack row 46: a flood of many kinds is no way to hide an error of the node's own.
    #[tokio::test(start_paused = true)]
    async fn all_kinds_together_are_limited_and_errors_are_not_among_them() {
        let (lines, limiter) = lines_of(20, || {
            for n in 0..1_000 {
                tracing::info!(reason = format!("reason {}", n % 100), "peer disconnected");
                tracing::warn!(reason = format!("reason {}", n % 100), "a request failed");
            }
            tracing::error!("the disk is full");
            tracing::warn!(target: SUMMARY, lines = 7, "lines left out of the log");
        });
        assert_eq!(lines.len(), 99 + 2);
        assert!(lines[99].contains("the disk is full"), "{}", lines[99]);
        assert_eq!(limiter.left_out.load(Ordering::Relaxed), 2_000 - 99);
    }

    /// Attack row 46: what a peer says can't forge a line.
    #[tokio::test(start_paused = true)]
    async fn text_of_peers_is_escaped() {
        let agent = "x\n2026-01-01 ERROR forged\x1b[2J";
        let (lines, _) = lines_of(20, || tracing::info!(agent, "peer connected"));
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains('\x1b'));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_second_has_lines_again() {
        let limiter = LogLimiter::new(1, Clock::simulated(0));
        let (_, other) = lines_of(1, || tracing::info!("to have a callsite"));
        let kind = other.windows.lock().unwrap().kinds.keys().flatten().next().cloned().unwrap();
        assert!(limiter.admits(kind.clone(), Level::INFO, Time(0)));
        assert!(!limiter.admits(kind.clone(), Level::INFO, Time(999)));
        assert!(limiter.admits(kind, Level::INFO, Time(1_000)));
    }
}
