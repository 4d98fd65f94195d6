//! One node of the network: the chain, the node, and the pipe to whoever launched it.
//!
//! Orders come as lines of JSON on standard input, views of the node leave as lines of JSON on
//! standard output. The end of the input ends the node, so that no node outlives its launcher,
//! however that ended.

use std::{
    io::{BufRead, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use peerstage_core::{
    address::Address,
    config::{Config, Layers, Role as ConfigRole},
    identity::NodeId,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::{
    LocalnetError,
    bitcoin::{
        BitcoinChain, Duties,
        ledger::{Facts, Role},
    },
    replay::Replay,
};
use crate::{
    Network, Stopped, What,
    identity_file::{self, IdentityFileError},
    node::run::{RunError, Started, run_attached},
};

/// Orders that may wait to be carried out.
pub(super) const ORDERS_MAX: usize = 64;
/// The least time between two views: more often than a progress bar is drawn.
const VIEW_INTERVAL: Duration = Duration::from_millis(20);

/// `peerstage localnet-node`: one node of a localnet.
#[derive(Args, Clone, Debug)]
pub struct MemberArgs {
    /// Its configuration
    file: PathBuf,
}

/// What the launcher wants of a node's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Broadcast these transactions of a replayed block, by their place after the coinbase.
    Transactions {
        /// The block.
        replay: String,
        /// The places.
        places: Vec<usize>,
    },
    /// Broadcast a replayed block.
    Block {
        /// The block.
        replay: String,
    },
}

/// A node as its launcher sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// Where it listens; empty until it runs.
    pub(super) listen: Vec<Address>,
    /// Its peers.
    pub(super) peers: Vec<NodeId>,
    /// How many of them are validators.
    pub(super) validators: usize,
    /// Whom it has banned.
    pub(super) banned: Vec<NodeId>,
    /// Its chain.
    pub(super) facts: Facts,
    /// What went wrong with the orders.
    pub(super) problems: Vec<String>,
    /// Set by the launcher when the node is gone: why.
    pub(super) ended: Option<String>,
}

impl View {
    /// Whether there is nothing to wait for any more.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.ended.is_some() || !self.problems.is_empty()
    }
}

/// Runs one node as a process of its own; `set` goes over its configuration.
///
/// # Errors
/// In words.
pub fn run_member(args: &MemberArgs, set: &[String]) -> Result<(), LocalnetError> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| LocalnetError::File { path: args.file.clone(), error })?;
    // The launcher decides everything but where nodes keep their peers.
    let store = std::env::vars().filter(|(name, _)| name.starts_with("PEERSTAGE_STORE__"));
    let layers = Layers::new().file(args.file.display().to_string(), text).environment(store);
    let config = layers.flags(set.to_vec()).load()?.config;
    let limiter = crate::node::start_logging(&config.log);
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (views, viewed) = watch::channel(View::default());
    // Not a task: a read of standard input can't be cancelled and would hold up the exit.
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || read_orders(&orders))?;
    std::thread::Builder::new().name("views".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.map(|runtime| runtime.block_on(write_views(viewed)))
    })?;
    let stop = || {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::TERM);
    };
    run_node(config, ordered, views, move || drop(actix_rt::spawn(limiter.summarise())), stop)
        .map_err(|error| LocalnetError::Usage(error.to_string()))
}

/// Runs one node to its end. `stop` is called when no more orders can come.
pub(super) fn run_node(
    config: Config,
    orders: mpsc::Receiver<Order>,
    views: watch::Sender<View>,
    started: impl FnOnce(),
    stop: impl FnOnce() + 'static,
) -> Result<(), MemberError> {
    let role = role_of(&config)?;
    // The chain needs a runtime for its clock; the node makes its own.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (chain, duties) = {
        let _entered = runtime.enter();
        BitcoinChain::new(role)
    };
    let mounted = chain.clone();
    let attach = |builder| mounted.mount(builder);
    let begin = |node: &Started| {
        started();
        let member = Member { network: node.network.clone(), chain, views };
        actix_rt::spawn(member.serve(duties, orders, stop));
    };
    run_attached(config, attach, begin)?;
    Ok(())
}

/// Why a node of the localnet did not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemberError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Key(#[from] IdentityFileError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// The first validator of the configuration proposes.
fn role_of(config: &Config) -> Result<Role, MemberError> {
    let proposer = config.network.validators.first();
    Ok(match (config.node.role, proposer) {
        (ConfigRole::Validator, Some(proposer)) => Role::Validator {
            own: identity_file::load(&config.path(&config.node.key_file))?.public(),
            proposer: proposer.0,
        },
        _ => Role::Observer,
    })
}

struct Member {
    network: Network,
    chain: BitcoinChain,
    views: watch::Sender<View>,
}

impl Member {
    async fn serve(
        self,
        duties: Duties,
        mut orders: mpsc::Receiver<Order>,
        stop: impl FnOnce() + 'static,
    ) {
        actix_rt::spawn(duties.perform(self.network.clone()));
        let member = Arc::new(self);
        actix_rt::spawn(Arc::clone(&member).watch());
        while let Some(order) = orders.recv().await {
            if let Err(problem) = member.carry_out(order).await {
                member.views.send_modify(|view| view.problems.push(problem));
            }
        }
        stop();
    }

    /// Keeps the view up to date for as long as the network runs.
    async fn watch(self: Arc<Self>) {
        let mut events = self.network.subscribe();
        let mut facts = self.chain.facts();
        let mut peers_changed = true;
        loop {
            if peers_changed && self.look().await.is_err() {
                return;
            }
            let news = facts.borrow_and_update().clone();
            self.views.send_modify(|view| view.facts = news);
            peers_changed = tokio::select! {
                event = events.next() => match event {
                    Some(crate::Notice::Event(event)) => concerns_peers(&event.what),
                    Some(crate::Notice::Missed(_)) => true,
                    None => return,
                },
                changed = facts.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
            };
        }
    }

    async fn look(&self) -> Result<(), Stopped> {
        let peers = self.network.peers().await?;
        let bans = self.network.bans().await?;
        self.views.send_modify(|view| {
            view.listen = self.network.listening().to_vec();
            view.validators = peers.iter().filter(|peer| peer.validator.is_some()).count();
            view.peers = peers.iter().map(|peer| peer.peer).collect();
            view.banned = bans.iter().map(|ban| ban.peer).collect();
        });
        Ok(())
    }

    async fn carry_out(&self, order: Order) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        match order {
            Order::Transactions { replay, places } => {
                let replay = Replay::load(&replay).map_err(|error| text(&error))?;
                let transactions: Vec<Bytes> = replay.transactions().collect();
                for place in places {
                    let Some(bytes) = transactions.get(place) else { continue };
                    let sent = self.chain.submit_transaction(&self.network, bytes.clone()).await;
                    sent.map_err(|error| text(&error))?;
                }
                Ok(())
            }
            Order::Block { replay } => {
                let raw = Replay::load(&replay).map_err(|error| text(&error))?.raw;
                let sent = self.chain.submit_block(&self.network, raw).await;
                sent.map_err(|error| text(&error))
            }
        }
    }
}

fn concerns_peers(what: &What) -> bool {
    matches!(
        what,
        What::PeerConnected { .. }
            | What::PeerDisconnected { .. }
            | What::PeerBanned { .. }
            | What::PeerUnbanned { .. }
    )
}

/// Until the launcher closes its end or is gone.
fn read_orders(orders: &mpsc::Sender<Order>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match serde_json::from_str(&line) {
            Ok(order) => {
                if orders.blocking_send(order).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "an order can't be read"),
        }
    }
}

/// A line for each change; changes that come within [`VIEW_INTERVAL`] share one.
async fn write_views(mut views: watch::Receiver<View>) {
    let mut pace = tokio::time::interval(VIEW_INTERVAL);
    while views.changed().await.is_ok() {
        pace.tick().await;
        let view = views.borrow_and_update().clone();
        let Ok(mut line) = serde_json::to_vec(&view) else { return };
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
