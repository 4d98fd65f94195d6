//! `peerstage localnet`: a whole network on this machine that relays a real block.
//!
//! N nodes, each a process with its own key, store, port and admin socket, find each other
//! through one bootstrap node, relay a Bitcoin block and its transactions, vote for it, and ban
//! a node that lies. The chain is the example `bitcoin_replay`, mounted as any chain would be;
//! everything else goes through the admin sockets.

#[path = "../examples/bitcoin/mod.rs"]
pub mod bitcoin;

mod attack;
mod collect;
mod drive;
mod launch;
mod member;
mod overrides;
mod plan;
mod progress;
mod remote;
mod replay;
mod report;
mod tables;

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

pub use member::{MemberArgs, run_member};
pub use report::{NodeReport, Report};

use self::{drive::Drive, launch::Launched, plan::Plan, progress::Progress, replay::Replay};

/// Nodes at most: each is a process of some 20 MB.
const NODES_MAX: usize = 64;

/// `peerstage localnet`
#[derive(Args, Clone, Debug)]
pub struct LocalnetArgs {
    /// Nodes; the last one is the hostile one
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub nodes: usize,
    /// Of these, validators
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub validators: usize,
    /// What to replay, in order: bitcoin:702861, or files of raw mainnet blocks
    #[arg(long, default_value = replay::BUILT_IN, value_name = "BLOCK", num_args = 1..)]
    pub replay: Vec<String>,
    /// Run all nodes in this process
    #[arg(long)]
    pub in_process: bool,
    /// Leave the network up until Ctrl-C, to be explored
    #[arg(long)]
    pub keep_running: bool,
    /// Peers a node has, least..most
    #[arg(long, default_value = "4..8", value_name = "RANGE")]
    pub degree: Degree,
    /// What carries the connections
    #[arg(long, value_enum, default_value_t = Carrier::Both)]
    pub transport: Carrier,
    /// Leave the hostile node's part out
    #[arg(long)]
    pub no_hostile: bool,
    /// Decides which node sends which transaction
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Keep everything in this folder, which must not exist or be empty
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// What carries the connections of a local network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Carrier {
    /// TCP alone.
    Tcp,
    /// QUIC alone.
    Quic,
    /// Both, as by default.
    Both,
}

impl Carrier {
    /// As the configuration has it.
    fn transports(self) -> &'static str {
        match self {
            Carrier::Tcp => "[\"tcp\"]",
            Carrier::Quic => "[\"quic\"]",
            Carrier::Both => "[\"tcp\", \"quic\"]",
        }
    }
}

/// How many peers a node has, `least..most`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degree(pub RangeInclusive<usize>);

/// Why the network could not be run. A network that ran and failed is a [`Report`].
#[derive(Debug, thiserror::Error)]
pub enum LocalnetError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// What `--set` said.
    #[error(transparent)]
    Config(#[from] peerstage_core::config::ConfigError),
    /// A file or folder.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A node's key.
    #[error(transparent)]
    Key(#[from] crate::identity_file::IdentityFileError),
    /// A block to be replayed.
    #[error("{name}: {why}")]
    Replay {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A node.
    #[error("node {index} {why}; its log is {}", log.display())]
    Node {
        /// Which.
        index: usize,
        /// What happened.
        why: String,
        /// Its log.
        log: PathBuf,
    },
    /// An admin socket.
    #[error("node {index}'s admin socket: {why}")]
    Admin {
        /// Which node.
        index: usize,
        /// What happened.
        why: String,
    },
    /// Not everything came out as it should.
    #[error("{0} things did not come out as they should")]
    Failed(usize),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The operating system.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
}

impl FromStr for Degree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range; write 4..8");
        let (least, most) = text.split_once("..").ok_or_else(wrong)?;
        let number =
            |text: &str| text.trim_start_matches('=').parse::<usize>().map_err(|_| wrong());
        let (least, most) = (number(least)?, number(most)?);
        if least == 0 || least > most {
            return Err(format!("{text:?} is empty; write 4..8"));
        }
        Ok(Degree(least..=most))
    }
}

impl LocalnetError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            LocalnetError::Usage(_) | LocalnetError::Config(_) => 2,
            // As shells report SIGINT.
            LocalnetError::Interrupted => 130,
            _ => 1,
        }
    }
}

impl LocalnetArgs {
    fn check(&self) -> Result<(), LocalnetError> {
        let usage = |text: String| Err(LocalnetError::Usage(text));
        let least = if self.no_hostile { 2 } else { 4 };
        if !(least..=NODES_MAX).contains(&self.nodes) {
            return usage(format!("--nodes takes {least} to {NODES_MAX}, not {}", self.nodes));
        }
        let honest = if self.no_hostile { self.nodes } else { self.nodes - 1 };
        if self.validators > honest {
            return usage(format!(
                "--validators takes at most {honest} with --nodes {}: the hostile node is none",
                self.nodes
            ));
        }
        Ok(())
    }
}

/// Runs the network and prints the report, as JSON or for people. `set` goes over the
/// configuration of each node.
///
/// # Errors
/// [`LocalnetError`]: it could not be run, it was interrupted, or not everything came out as it
/// should.
pub fn run(args: &LocalnetArgs, set: &[String], json: bool) -> Result<(), LocalnetError> {
    args.check()?;
    overrides::check(set)?;
    actix_rt::System::new().block_on(supervise(args, set, json))
}

/// The blocks to replay, each once: a network that knows a block does not spread it again.
fn load_all(names: &[String]) -> Result<Vec<Replay>, LocalnetError> {
    let replays: Vec<Replay> =
        names.iter().map(|name| Replay::load(name)).collect::<Result<_, _>>()?;
    for (index, replay) in replays.iter().enumerate() {
        let twin = replays.iter().take(index).find(|earlier| earlier.hash == replay.hash);
        if let Some(twin) = twin {
            let (first, second) = (&twin.name, &replay.name);
            let text = format!("--replay {second} is the block of --replay {first} again");
            return Err(LocalnetError::Usage(text));
        }
    }
    Ok(replays)
}

/// Whatever happens, no node outlives this.
async fn supervise(args: &LocalnetArgs, set: &[String], json: bool) -> Result<(), LocalnetError> {
    let replays = load_all(&args.replay)?;
    let plan = Plan::make(args, set)?;
    let progress = Progress::new(json);
    let mut launched = Launched::new(&plan, args.in_process);
    let finished = tokio::select! {
        finished = perform(args, json, &plan, &replays, &mut launched, &progress) => finished,
        interrupted = interrupt() => interrupted.and(Err(LocalnetError::Interrupted)),
    };
    progress.finish();
    if args.keep_running && matches!(finished, Ok(()) | Err(LocalnetError::Failed(_))) {
        // What the run came to is known; the rest is up to whoever explores.
        interrupt().await?;
    }
    launched.stop().await;
    let in_order =
        matches!(finished, Ok(()) | Err(LocalnetError::Interrupted | LocalnetError::Config(_)));
    let keep_files = args.dir.is_some() || !in_order;
    if keep_files {
        eprintln!("The nodes' folders and logs are in {}", plan.folder.display());
    } else {
        plan.remove_files()?;
    }
    finished
}

async fn perform(
    args: &LocalnetArgs,
    json: bool,
    plan: &Plan,
    replays: &[Replay],
    launched: &mut Launched,
    progress: &Progress,
) -> Result<(), LocalnetError> {
    launched.start(plan).await?;
    let mut drive = Drive::new(args, plan, launched, progress);
    let report = drive.run(replays).await?;
    progress.finish();
    if json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        print!("{}", tables::render(&report));
    }
    if args.keep_running && !json {
        print!("{}", tables::commands(&report));
    }
    match report.failures.len() {
        0 => Ok(()),
        count => Err(LocalnetError::Failed(count)),
    }
}

/// Ctrl-C, or that the terminal or the service manager wants us gone.
async fn interrupt() -> Result<(), LocalnetError> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(waits).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: LocalnetArgs,
    }

    fn args(line: &str) -> Result<LocalnetArgs, String> {
        let words = std::iter::once("localnet").chain(line.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        command.args.check().map_err(|error| error.to_string())?;
        Ok(command.args)
    }

    #[test]
    fn the_main_job_is_the_default() {
        let default = args("").unwrap();
        let spelled =
            args("--nodes 8 --validators 4 --replay bitcoin:702861 --degree 4..8").unwrap();
        assert_eq!(format!("{default:?}"), format!("{spelled:?}"));
        assert_eq!(args("--replay a b c").unwrap().replay, ["a", "b", "c"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        assert!(args("--nodes 3").unwrap_err().contains("4 to 64"));
        assert!(args("--nodes 3 --validators 2 --no-hostile").is_ok());
        assert!(args("--nodes 65").unwrap_err().contains("4 to 64"));
        assert!(args("--nodes 4 --validators 4").unwrap_err().contains("at most 3"));
        assert!(args("--degree 8..4").unwrap_err().contains("write 4..8"));
        assert!(args("--degree four").unwrap_err().contains("write 4..8"));
    }
}
