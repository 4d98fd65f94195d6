//! `peerstage run`: a node from its configuration, until it is told to stop.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, time::Duration};

use actix::Actor;
use peerstage_core::config::{Config, Span};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{init::make_data_dir, panics};
use crate::{
    Builder, Network, StartError,
    admin::{Admin, AdminParts, AdminServers, Listeners, Numbers, ServeError},
    shell::{Fatal, Stop},
};

/// Why a node did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The network.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The data directory.
    #[error("{}: {error}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why it can't be made.
        error: String,
    },
    /// The admin listeners.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Signals can't be heard.
    #[error("signals: {0}")]
    Signals(io::Error),
    /// Peers or the store did not close in time. Bans are safe: they were written at once.
    #[error("not everything closed within timeouts.shutdown = {0}")]
    NotInTime(Span),
}

/// A node that runs, for whoever attaches something to it.
pub struct Started {
    /// The network.
    pub network: Network,
    /// The admin socket.
    pub socket: Option<PathBuf>,
    /// Where admin TCP listens.
    pub admin: Option<SocketAddr>,
    /// Where metrics and probes are.
    pub metrics: Option<SocketAddr>,
}

/// Runs a node until SIGINT, SIGTERM or an operator's `stop`. `attach` adds a chain's handlers
/// to the builder.
///
/// # Errors
/// [`RunError`].
pub fn run_with(config: Config, attach: impl FnOnce(Builder) -> Builder) -> Result<(), RunError> {
    run_attached(config, attach, |_| {})
}

/// As [`run_with`]; `started` is told once when everything listens. It is called on a thread
/// that runs an actix system, and may spawn there.
///
/// # Errors
/// [`RunError`].
pub fn run_attached(
    config: Config,
    attach: impl FnOnce(Builder) -> Builder,
    started: impl FnOnce(&Started),
) -> Result<(), RunError> {
    actix_rt::System::new().block_on(run(config, attach, started))
}

async fn run(
    config: Config,
    attach: impl FnOnce(Builder) -> Builder,
    started: impl FnOnce(&Started),
) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let folder = &config.node.data_dir;
    make_data_dir(folder)
        .map_err(|error| RunError::DataDir { path: folder.clone(), error: error.to_string() })?;
    let numbers = config.metrics.enabled.then(Numbers::install).flatten();
    let (listeners, limit) = (Listeners::of(&config), config.timeouts.shutdown);
    let min_peers = config.network.min_peers as usize;
    let builder = attach(Builder::from_config(config)).on_fatal(panics::die);
    let network = builder.start().await?;

    let (stop, mut stopped) = mpsc::channel(1);
    let admin = Admin::new(AdminParts {
        network: network.clone(),
        min_peers,
        shutdown: stop,
        lifeline: Some(Fatal::new(panics::die).lifeline("admin")),
    })
    .start();
    let servers = match AdminServers::start(&listeners, &admin, numbers) {
        Ok(servers) => servers,
        Err(error) => {
            let _ = admin.send(Stop).await;
            network.shutdown().await;
            return Err(error.into());
        }
    };
    tracing::info!(node = %network.id(), "the node runs");
    started(&Started {
        network: network.clone(),
        socket: listeners.socket.clone(),
        admin: servers.tcp,
        metrics: servers.metrics,
    });
    let why = tokio::select! {
        name = signals.next() => name,
        _ = stopped.recv() => "operator",
    };
    tracing::info!(why, "the node stops");
    let close = async {
        // The operator sees the node go before it is gone.
        servers.stop().await;
        let _ = admin.send(Stop).await;
        network.shutdown().await;
    };
    let closed = stop_in_time(close, limit.as_duration(), &mut signals).await;
    closed.then_some(()).ok_or(RunError::NotInTime(limit))
}

/// Waits for the end; a second signal ends the process at once.
async fn stop_in_time(
    close: impl Future<Output = ()>,
    limit: Duration,
    signals: &mut Signals,
) -> bool {
    tokio::select! {
        result = tokio::time::timeout(limit, close) => result.is_ok(),
        name = signals.next() => {
            tracing::warn!(signal = name, "a second signal: the node ends without closing");
            // 128 and the number of the signal, as shells report it.
            std::process::exit(128 + if name == "SIGINT" { 2 } else { 15 })
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
