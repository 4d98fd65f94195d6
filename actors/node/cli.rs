//! The command line.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use peerstage_core::{
    config::{Config, PeerAddress, Span},
    identity::NodeId,
    kinds::{Kind, RelayMode},
};
use serde_json::json;

use super::{
    check, doctor,
    failure::Failure,
    init, logging, panics,
    query::{self, print},
    run::{Started, run_attached},
    seed,
    settings::Layered,
};
use crate::{
    admin::PeerName,
    identity_file,
    identity_file::IdentityFileError,
    localnet::{self, LocalnetArgs, LocalnetError, MemberArgs},
};

/// An actor-model network layer for blockchains: the node, and the tools to watch and steer it.
#[derive(Debug, Parser)]
#[command(name = "peerstage", version, propagate_version = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    layered: Layered,
    #[command(flatten)]
    target: Target,
    /// JSON instead of text for people.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which running node to ask, if not the one of the configuration.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The admin socket of the node to ask.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "admin")]
    pub(super) socket: Option<PathBuf>,
    /// The admin address of the node to ask, such as http://127.0.0.1:30402.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) admin: Option<String>,
    /// The file with the token for --admin. Without this: the configuration's.
    #[arg(long, global = true, value_name = "FILE", requires = "admin")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a data directory: a key and an annotated configuration.
    Init,
    /// Run a node until Ctrl-C or `peerstage stop`.
    Run,
    /// Run a whole network on this machine: it replays a Bitcoin block and bans a liar.
    Localnet(LocalnetArgs),
    /// One node of a localnet, for the launcher.
    #[command(hide = true)]
    LocalnetNode(MemberArgs),
    /// Stop the running node.
    Stop,
    /// The node at a glance.
    Status,
    /// Whether the node serves, check by check; exit code 1 if it does not.
    Ready,
    /// The connections in a table; higher levels show more columns.
    Netinfo {
        /// 0: counts alone; 1: peers; 2: with addresses; 3: with agents; 4: with both.
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
        level: u8,
    },
    /// The connected peers, best score first.
    Peers,
    /// Everything about one peer.
    Peer {
        /// Its id, or at least 4 digits of it.
        peer: PeerName,
    },
    /// Why a peer has the score it has; `explain kinds` shows the table of message kinds.
    Explain {
        /// A peer's id, at least 4 digits of it, or the word `kinds`.
        what: Subject,
    },
    /// The bans in force.
    Bans,
    /// Ban a peer; returns when the ban is on disk.
    Ban {
        /// Its id, or at least 4 digits of it.
        peer: PeerName,
        /// Why, in a line.
        #[arg(long, default_value = "by the operator")]
        reason: String,
        /// How long, such as 1h. Without this: scoring.ban_duration.
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<Span>,
    },
    /// Lift a ban.
    Unban {
        /// Its id, or at least 4 digits of it.
        peer: PeerName,
    },
    /// Connect to an address and keep at it, until `disconnect` or the node's end.
    Connect {
        /// HOST:PORT, NODEID@HOST:PORT or /dns/HOST/udp/PORT/quic/p2p/NODEID.
        address: PeerAddress,
    },
    /// Disconnect a peer and leave it alone for 5 minutes. Then a peer that the configuration
    /// names is dialled again; one of `connect` is not.
    Disconnect {
        /// Its id, or at least 4 digits of it.
        peer: PeerName,
    },
    /// Change how a kind of message spreads, from now on.
    RelayMode {
        /// block, transaction, proposal, vote or custom.
        #[arg(value_parser = kind)]
        kind: Kind,
        /// flood, selective or validator-only.
        #[arg(value_parser = mode)]
        mode: RelayMode,
    },
    /// Follow what happens, line by line.
    Events {
        /// Only events of this name, such as peer_connected; may be repeated.
        #[arg(long, value_name = "EVENT")]
        only: Vec<String>,
        /// End after so many.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// This node's id, from its key file.
    Id {
        /// A line for a zone file instead: the node's signed record under this name, for
        /// `discovery.dns_seeds` of others. Sign it anew when the addresses change.
        #[arg(long, value_name = "NAME")]
        dns: Option<String>,
    },
    /// Look at clock, limits, ports, NAT, router, DNS seeds, bootstrap nodes, disk and database, and
    /// say what to do; exit code 1 if something is bad. Asks the running node too, if there is one.
    Doctor {
        /// Whom to compare the clock with; "none" asks nobody.
        #[arg(long, value_name = "HOST", default_value = "pool.ntp.org")]
        time_server: String,
    },
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check files, environment and flags as `run` would; exit code 2 if anything is wrong.
    Check,
    /// Print every value.
    Show {
        /// Say where each value came from.
        #[arg(long)]
        origin: bool,
    },
}

/// What to explain.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Kinds,
    Peer(PeerName),
}

impl std::str::FromStr for Subject {
    type Err = <PeerName as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "kinds" { Ok(Subject::Kinds) } else { text.parse().map(Subject::Peer) }
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::from_name(text).filter(|kind| kind.row().relay.is_some());
    known.ok_or_else(|| "expected block, transaction, proposal, vote or custom".to_owned())
}

fn mode(text: &str) -> Result<RelayMode, String> {
    let all = [RelayMode::Flood, RelayMode::Selective, RelayMode::ValidatorOnly];
    let known = all.into_iter().find(|mode| mode.name() == text);
    known.ok_or_else(|| "expected flood, selective or validator-only".to_owned())
}

/// Does what was asked.
pub(super) fn execute(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { layered, target, json, command } = arguments;
    match command {
        Command::Init => print_made(&init::init(&layered)?, json),
        Command::Run => run(&layered, json),
        Command::Id { dns } => print_id(&layered, dns.as_deref(), json),
        Command::Config(command) => config(&layered, &command, json),
        Command::Localnet(args) => {
            refuse_node_flags(&layered, &target)?;
            localnet::run(&args, &layered.set, json).map_err(Failure::of_localnet)
        }
        Command::LocalnetNode(args) => {
            localnet::run_member(&args, &layered.set).map_err(Failure::of_localnet)
        }
        Command::Doctor { time_server } => doctor::doctor(&layered, &target, &time_server, json),
        Command::Explain { what: Subject::Kinds } => query::print_kinds(json),
        asked => query::ask(&layered, &target, asked, json),
    }
}

/// A localnet writes the configurations of its nodes itself and asks no other node.
fn refuse_node_flags(layered: &Layered, target: &Target) -> Result<(), Failure> {
    let given = [
        ("--config", !layered.config.is_empty(), "--set changes a key of all nodes"),
        ("--data-dir", layered.data_dir.is_some(), "--dir says where its nodes are"),
        ("--socket", target.socket.is_some(), "it asks no running node"),
        ("--admin", target.admin.is_some(), "it asks no running node"),
    ];
    match given.iter().find(|(_, is_given, _)| *is_given) {
        Some((flag, _, instead)) => {
            let text = format!("{flag} makes no sense with localnet: {instead}");
            Err(LocalnetError::Usage(text).into())
        }
        None => Ok(()),
    }
}

fn run(layered: &Layered, json: bool) -> Result<(), Failure> {
    let resolved = layered.resolve()?;
    check::refuse_unbuilt(&resolved)?;
    let limiter = logging::start(&resolved.config.log);
    panics::log_panics();
    let folder = resolved.config.node.data_dir.clone();
    // A node without a chain passes on what others judge.
    let attach = crate::Builder::forward_unhandled;
    run_attached(resolved.config, attach, |started| {
        actix_rt::spawn(limiter.summarise());
        // Nobody may read this, as under a service manager.
        let _ = announce(started, &folder, json);
    })?;
    Ok(())
}

/// One line on standard output when the node listens: programs that start nodes wait for it.
fn announce(started: &Started, folder: &std::path::Path, json: bool) -> io::Result<()> {
    let network = &started.network;
    let mut out = io::stdout().lock();
    if json {
        let line = json!({
            "event": "started",
            "node": network.id(),
            "listen": network.listening(),
            "socket": started.socket,
            "admin": started.admin,
            "metrics": started.metrics,
        });
        writeln!(out, "{line}")?;
    } else {
        let places: Vec<String> = network.listening().iter().map(ToString::to_string).collect();
        writeln!(out, "node {} listens at {}", network.id(), places.join(", "))?;
        writeln!(out, "watch it with: peerstage status --data-dir {}", folder.display())?;
    }
    out.flush()
}

fn print_made(made: &init::Made, json: bool) -> Result<(), Failure> {
    if json {
        return print(&serde_json::to_string(made)?);
    }
    let key = if made.key_was_there { "kept" } else { "made" };
    print(&format!(
        "node {}\n{key}  {}\nmade  {config}\nstart it with: peerstage run --config {config}",
        made.node,
        made.key.display(),
        config = made.config.display()
    ))
}

fn print_id(layered: &Layered, dns: Option<&str>, json: bool) -> Result<(), Failure> {
    let config = layered.resolve()?.config;
    let path = config.path(&config.node.key_file);
    let keypair = identity_file::load(&path).map_err(|error| match error {
        IdentityFileError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            Failure::NoKey(path)
        }
        other => other.into(),
    })?;
    let (node, key) = (keypair.node_id(), keypair.public());
    let addresses = full_addresses(&config, node);
    let text = if let Some(name) = dns {
        let (line, text) = seed::zone_line(&config, keypair, name)?;
        match json {
            true => json!({ "node": node, "name": name, "txt": text }).to_string(),
            false => line,
        }
    } else if json {
        json!({ "node": node, "public_key": key, "addresses": addresses }).to_string()
    } else {
        [vec![node.to_string()], addresses].concat().join("\n")
    };
    print(&text)
}

/// Where others reach this node as far as its configuration tells, in full: what to put into
/// their bootstrap lists.
fn full_addresses(config: &Config, node: NodeId) -> Vec<String> {
    let reachable = seed::reachable(config).into_iter();
    reachable.map(|address| address.multiaddr(Some(node)).to_string()).collect()
}

fn config(layered: &Layered, command: &ConfigCommand, json: bool) -> Result<(), Failure> {
    let checked = layered.resolve().and_then(|resolved| {
        let notes = match command {
            ConfigCommand::Check => check::check(&resolved)?,
            ConfigCommand::Show { .. } => Vec::new(),
        };
        Ok((resolved, notes))
    });
    let (resolved, notes) = match (checked, command) {
        (Err(Failure::Config(error)), ConfigCommand::Check) if json => {
            print(&serde_json::to_string(&error)?)?;
            return Err(error.into());
        }
        (checked, _) => checked?,
    };
    let set = resolved.origins.values().filter(|origin| **origin != Default::default()).count();
    let text = match (command, json) {
        (ConfigCommand::Check, true) => {
            json!({ "problems": [], "set": set, "notes": notes }).to_string()
        }
        (ConfigCommand::Check, false) => {
            let keys = if set == 1 { "key is" } else { "keys are" };
            let right =
                format!("the configuration is right: {set} {keys} set, the others have defaults");
            std::iter::once(right).chain(notes).collect::<Vec<_>>().join("\n")
        }
        (ConfigCommand::Show { origin: true }, true) => serde_json::to_string_pretty(&resolved)?,
        (ConfigCommand::Show { origin: false }, true) => {
            serde_json::to_string_pretty(&resolved.config)?
        }
        (ConfigCommand::Show { origin }, false) => resolved.to_toml(*origin).trim_end().to_owned(),
    };
    print(&text)
}
