//! One measurement: starts the processes of one stack for one case, and reads what they used.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use kit::{Task, Usage};

use crate::wire::Wire;

/// How long a process may take to be ready: a thousand connections, one after another.
const SETUP: Duration = Duration::from_secs(180);
/// How long the measured phase may take.
const MEASURED: Duration = Duration::from_secs(300);

/// What one measurement gave.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The server's process, or the only one.
    pub server: Usage,
    /// The driver's process, if there are two.
    pub driver: Option<Usage>,
    /// Traffic on the loopback interface in the measured phase.
    pub wire: Wire,
    /// How many units were done.
    pub units: u64,
}

/// A running side.
struct Side {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    complete: usize,
    passes: usize,
}

/// Runs a task once.
///
/// # Errors
/// What went wrong in one of the processes, or that it took too long.
pub fn measure(program: &Path, variant: &str, task: Task) -> Result<Sample> {
    if task.in_one_process() {
        let mut mesh = Side::start("mesh", program, variant, task, "")?;
        mesh.expect("ready", SETUP)?;
        let before = Wire::now()?;
        mesh.begin()?;
        wait(&mut [&mut mesh], task.completions())?;
        let wire = before.until(Wire::now()?);
        let server = mesh.end()?;
        return Ok(Sample { server, driver: None, wire, units: task.units() });
    }
    let mut server = Side::start("serve", program, variant, task, "")?;
    let address = server.expect("ready", SETUP)?;
    let mut driver = Side::start("drive", program, variant, task, &address)?;
    driver.expect("ready", SETUP)?;
    // The driver of a fan-out only receives: it must be counting when the server begins.
    let sender_last = matches!(task, Task::Fanout { .. });
    let before = Wire::now()?;
    let order = if sender_last { [&mut driver, &mut server] } else { [&mut server, &mut driver] };
    for side in order {
        side.begin()?;
    }
    wait(&mut [&mut server, &mut driver], task.completions())?;
    let wire = before.until(Wire::now()?);
    // Both are told before either is waited for.
    server.say("stop")?;
    driver.say("stop")?;
    let (served, driven) = (server.end()?, driver.end()?);
    Ok(Sample { server: served, driver: Some(driven), wire, units: task.units() })
}

/// Waits until the sides have said so often that the work is done.
fn wait(sides: &mut [&mut Side], completions: usize) -> Result<()> {
    let until = Instant::now() + MEASURED;
    while sides.iter().map(|side| side.complete).sum::<usize>() < completions {
        if Instant::now() > until {
            bail!("not done after {} s", MEASURED.as_secs());
        }
        for side in &mut *sides {
            side.hear(Duration::from_millis(1))?;
        }
        if let [server, driver] = sides {
            relay_passes(driver, server)?;
            relay_passes(server, driver)?;
        }
    }
    Ok(())
}

/// What one side lets the other one do.
fn relay_passes(from: &mut Side, to: &mut Side) -> Result<()> {
    for _ in 0..std::mem::take(&mut from.passes) {
        to.say("pass")?;
    }
    Ok(())
}

impl Side {
    fn start(
        name: &'static str,
        program: &Path,
        variant: &str,
        task: Task,
        address: &str,
    ) -> Result<Side> {
        let mut child = Command::new(program)
            .args([name, variant, &serde_json::to_string(&task)?, address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let input = child.stdin.take().ok_or_else(|| anyhow!("no standard input"))?;
        let output = child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
        let errors = child.stderr.take().ok_or_else(|| anyhow!("no standard error"))?;
        let (told, lines) = channel();
        let told_errors = told.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = told_errors.send(format!("stderr {line}"));
            }
        });
        Ok(Side { name, child, input, lines, complete: 0, passes: 0 })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").with_context(|| format!("{} is gone", self.name))
    }

    fn begin(&mut self) -> Result<()> {
        self.say("start")?;
        self.expect("started", SETUP)?;
        Ok(())
    }

    fn end(&mut self) -> Result<Usage> {
        // A second `stop` changes nothing.
        let _ = self.say("stop");
        let usage = self.expect("done", SETUP)?;
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(serde_json::from_str(&usage)?)
    }

    /// Waits for a line that starts with `word`, and returns the rest of it.
    fn expect(&mut self, word: &str, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some((found, rest)) = self.hear(Duration::from_millis(100))?
                && found == word
            {
                return Ok(rest);
            }
        }
        bail!("{}: no \"{word}\" within {} s", self.name, limit.as_secs())
    }

    /// Hears at most one line.
    fn hear(&mut self, limit: Duration) -> Result<Option<(String, String)>> {
        let line = match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended early", self.name),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "complete" => self.complete += 1,
            "pass" => self.passes += 1,
            "failed" => bail!("{}: {rest}", self.name),
            "stderr" if rest.contains("panicked") => {
                let more = self.lines.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                bail!("{}: {rest} {}", self.name, more.trim_start_matches("stderr "));
            }
            "stderr" => eprintln!("  {}: {rest}", self.name),
            _ => return Ok(Some((word.to_owned(), rest.to_owned()))),
        }
        Ok(None)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Already gone in the good case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
