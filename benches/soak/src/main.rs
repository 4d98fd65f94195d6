//! Nodes under mixed load for a long time: what grows that should not?
//!
//! `make soak` runs it for `SOAK_MINUTES` (30). Seven nodes on loopback, four of them validators,
//! send blocks, transactions, votes, requests and messages to one another; one node comes and goes
//! and connections are cut. What is allocated, resident memory, descriptors and metric series are
//! sampled; after the warm-up none may grow, but for series of rare reasons and kinds, which are
//! listed. Prints a table; exit code 1 if something grew.
//!
//! It runs with `MALLOC_ARENA_MAX` as the service and the image do ([ADR 0017]): with as many
//! arenas as glibc likes, what it shows are threads that come and go, not what nodes keep.
//!
//! [ADR 0017]: ../../../docs/adr/0017-two-arenas.md

mod load;
mod samples;

use std::{alloc::System, time::Duration};

use cap::Cap;
use load::Load;
use metrics_exporter_prometheus::PrometheusBuilder;
use samples::Samples;
use tokio::time::Instant;

/// Counts what is allocated: what malloc keeps for later is no leak, and goes up and down by more
/// than one that matters.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

type Failure = Box<dyn std::error::Error>;

/// How long it runs unless `SOAK_MINUTES` says otherwise, minutes.
const MINUTES: f64 = 30.0;
/// Samples of a run: enough for a slope, few enough to read as a table of every tenth.
const SAMPLES: u32 = 240;

fn span() -> Result<Duration, Failure> {
    let minutes = match std::env::var("SOAK_MINUTES") {
        Ok(text) => text.parse::<f64>().map_err(|_| format!("SOAK_MINUTES={text}: no number"))?,
        Err(_) => MINUTES,
    };
    if !(0.5..=100_000.0).contains(&minutes) {
        return Err("SOAK_MINUTES must be from 0.5 to 100000".into());
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// How many arenas glibc may have.
fn arenas() -> String {
    match std::env::var("MALLOC_ARENA_MAX") {
        Ok(most) => format!("{most} arenas of malloc at most"),
        Err(_) => "MALLOC_ARENA_MAX is not set: what grows may be malloc's arenas".into(),
    }
}

async fn soak() -> Result<bool, Failure> {
    let span = span()?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let load = Load::start().await?;
    let mut samples = Samples::new(span);
    let (began, pause) = (Instant::now(), span / SAMPLES);
    println!("{:.1} minutes, a third of it to warm up; {}", span.as_secs_f64() / 60.0, arenas());
    for number in 1..=SAMPLES {
        tokio::time::sleep((pause * number).saturating_sub(began.elapsed())).await;
        let text = metrics.render();
        samples.take(began.elapsed(), ALLOCATED.allocated(), &text)?;
    }
    println!("{}", load.stop().await);
    Ok(samples.report())
}

fn main() {
    let code = match actix_rt::System::new().block_on(soak()) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(failure) => {
            eprintln!("soak: {failure}");
            2
        }
    };
    std::process::exit(code);
}
