//! A process that runs one side of a stack, and how it talks to the runner.
//!
//! Lines on standard input and output: the process says `ready ADDRESS`; the runner says `start`;
//! the process answers `started`, works, and says `complete` (or `failed REASON`); the runner says
//! `stop`; the process answers `done USAGE`. Figures cover what lies between `start` and `stop`.
//! What one side says as `pass` the other side hears as `pass`.

use std::{
    future::Future,
    io::{BufRead, Write},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::{Semaphore, watch};

use crate::{
    task::Task,
    usage::{Snapshot, raise_descriptor_limit},
};

/// Which side a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens and receives.
    Serve,
    /// Connects and drives.
    Drive,
    /// All nodes of a broadcast.
    Mesh,
}

/// What a process was started for.
#[derive(Clone)]
pub struct Job {
    /// Its side.
    pub role: Role,
    /// Which variant of the stack: a transport, a protocol, a cipher suite.
    pub variant: String,
    /// The task.
    pub task: Task,
    /// Where the server is; empty for the server itself.
    pub address: String,
    /// The line to the runner.
    pub control: Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Setup,
    Measured,
    Stopped,
}

/// The line to the runner. Cheap to clone; works on any async runtime.
#[derive(Clone)]
pub struct Control {
    phase: watch::Receiver<Phase>,
    passes: Arc<Semaphore>,
    ready: Arc<Mutex<Option<Snapshot>>>,
    started: Arc<Mutex<Option<Snapshot>>>,
}

impl Job {
    /// What the command line says: `ROLE VARIANT TASK [ADDRESS]`.
    ///
    /// # Errors
    /// The command line is not the runner's.
    pub fn from_arguments() -> Result<Job> {
        raise_descriptor_limit();
        let mut arguments = std::env::args().skip(1);
        let mut next = |name| arguments.next().with_context(|| format!("no {name} given"));
        let role = match next("role")?.as_str() {
            "serve" => Role::Serve,
            "drive" => Role::Drive,
            "mesh" => Role::Mesh,
            other => bail!("unknown role {other}; `make bench` starts this program"),
        };
        let variant = next("variant")?;
        let task = serde_json::from_str(&next("task")?)?;
        let address = arguments.next().unwrap_or_default();
        Ok(Job { role, variant, task, address, control: Control::new() })
    }
}

impl Control {
    fn new() -> Self {
        let (enter, phase) = watch::channel(Phase::Setup);
        let passes = Arc::new(Semaphore::new(0));
        let passed = passes.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                match line.as_deref() {
                    Ok("start") => drop(enter.send(Phase::Measured)),
                    Ok("pass") => passed.add_permits(1),
                    Ok("stop") => drop(enter.send(Phase::Stopped)),
                    _ => break,
                }
            }
            // The runner is gone, or has nothing more to say: nobody waits for this process.
            let _ = enter.send(Phase::Stopped);
        });
        Control { phase, passes, ready: Arc::default(), started: Arc::default() }
    }

    /// Everything is set up; the server says where it listens. Call it before connections are
    /// made, where there is a difference.
    pub fn ready(&self, address: impl std::fmt::Display) {
        set(&self.ready, Snapshot::take());
        say(&format!("ready {address}"));
    }

    /// Waits for the measured phase.
    ///
    /// # Errors
    /// The runner is gone.
    pub async fn started(&self) -> Result<()> {
        self.reach(Phase::Measured).await?;
        set(&self.started, Snapshot::take());
        say("started");
        Ok(())
    }

    /// All that was asked for is done.
    pub fn complete(&self) {
        say("complete");
    }

    /// Lets the other side take one more step.
    pub fn pass(&self) {
        say("pass");
    }

    /// Waits until the other side has let this one take its next step.
    ///
    /// # Errors
    /// Never, as the semaphore is not closed.
    pub async fn passed(&self) -> Result<()> {
        self.passes.acquire().await?.forget();
        Ok(())
    }

    /// Waits for the end of the measured phase and reports what it used.
    ///
    /// # Errors
    /// The runner is gone.
    pub async fn stopped(&self) -> Result<()> {
        self.reach(Phase::Stopped).await?;
        let now = Snapshot::take();
        let started = get(&self.started).unwrap_or(now);
        let ready = get(&self.ready).unwrap_or(started);
        say(&format!("done {}", serde_json::to_string(&started.until(&now, &ready))?));
        Ok(())
    }

    async fn reach(&self, phase: Phase) -> Result<()> {
        let mut watched = self.phase.clone();
        watched.wait_for(|now| *now >= phase).await.map_err(|_| anyhow!("the runner is gone"))?;
        Ok(())
    }
}

fn set(slot: &Mutex<Option<Snapshot>>, value: Snapshot) {
    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
}

fn get(slot: &Mutex<Option<Snapshot>>) -> Option<Snapshot> {
    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that the runner is gone; the process ends with its standard input.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// The end of a process: says what went wrong, and leaves without waiting for anybody's threads.
pub fn finish(result: Result<()>) -> ExitCode {
    if let Err(error) = result {
        say(&format!("failed {}", format!("{error:#}").replace('\n', " ")));
        std::process::exit(1);
    }
    std::process::exit(0)
}

/// Runs a job on tokio's multi-threaded runtime with its default settings, as a task of it: what
/// runs in `block_on` itself is on another thread than the stack's tasks, and pays for each wake-up.
pub fn on_tokio<F, Fut>(run: F) -> ExitCode
where
    F: FnOnce(Job) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let job = match Job::from_arguments() {
        Ok(job) => job,
        Err(error) => return finish(Err(error)),
    };
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let task = runtime.spawn(run(job));
            finish(runtime.block_on(task).unwrap_or_else(|error| Err(error.into())))
        }
        Err(error) => finish(Err(error.into())),
    }
}
