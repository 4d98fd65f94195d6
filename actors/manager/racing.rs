//! Dialling the addresses of one node: the attempts that a [`Race`] orders, and its clock.

use std::{collections::BTreeMap, io, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use peerstage_core::{
    address::{Address, TransportKind},
    circuits::CircuitReason,
    handshake::HandshakeError,
    identity::NodeId,
    race::{Action, Race},
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::{sync::oneshot, time::Instant};

use super::{Opening, opened::Opened};
use crate::{
    circuits::{CircuitDial, ToCircuits},
    transport::Link,
    upgrade::{Side, UpgradeError, upgrade},
};

/// The addresses to try for one node, and the peers that carry what goes to some of them.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    pub(crate) addresses: Vec<Address>,
    pub(crate) relays: BTreeMap<Address, NodeId>,
}

impl Opening {
    /// Tries the addresses, in order, until one has authenticated. Dropped attempts close. `at` is
    /// where the failure happened that is returned, if it is of one address.
    pub(super) async fn race(
        &self,
        ways: Ways,
        expected: Option<NodeId>,
        mut rng: ChaCha20Rng,
        at: &mut Option<Address>,
    ) -> Result<Opened, UpgradeError> {
        let mut out = Vec::new();
        let mut race = Race::new(self.clock.now(), ways.addresses, &mut out);
        let mut attempts = FuturesUnordered::new();
        let mut failure = UpgradeError::Socket(io::ErrorKind::AddrNotAvailable.into());
        loop {
            for action in out.drain(..) {
                match action {
                    Action::Try(address) => {
                        let rng = ChaCha20Rng::from_rng(&mut rng);
                        let relay = ways.relays.get(&address).copied();
                        let attempt = self.connect((address, relay), expected, rng);
                        attempts.push(Box::pin(async move { (address, attempt.await) }));
                    }
                    // The race is over, and what it leaves is dropped with it.
                    Action::Abandon(_) => {}
                    Action::Lost => return Err(failure),
                }
            }
            let next = race.deadline().map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                Some((address, ended)) = attempts.next() => match ended {
                    Ok(opened) => {
                        race.on_authenticated(address, &mut out);
                        return Ok(opened);
                    }
                    Err(error) => {
                        let answered = telling(&error) > 0;
                        if is_worse(&failure, &error) {
                            (failure, *at) = (error, Some(address));
                        }
                        race.on_failed(self.clock.now(), address, answered, &mut out);
                    }
                },
                () = until(next) => race.on_deadline(self.clock.now(), &mut out),
            }
        }
    }

    async fn connect(
        &self,
        (address, relay): (Address, Option<NodeId>),
        expected: Option<NodeId>,
        rng: ChaCha20Rng,
    ) -> Result<Opened, UpgradeError> {
        if address.transport() == TransportKind::Quic {
            let quic =
                self.transports.quic.as_ref().ok_or(io::Error::from(io::ErrorKind::Unsupported))?;
            let channel = quic.dial(address, expected, self.connection_timeout).await?;
            return Ok(Opened { address, ..Opened::quic(channel) });
        }
        let timeout = Duration::from_millis(self.connection_timeout);
        let link = if address.is_circuit() {
            self.circuit(relay, expected).await?
        } else {
            tokio::time::timeout(timeout, self.transports.plain.dial(address))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        };
        let (side, config) = (Side::Dialler(expected), self.handshake.clone());
        let (io, established) = Box::pin(upgrade(link, side, config, rng, &self.clock)).await?;
        Ok(Opened::noise(io, *established, address))
    }
}

impl Opening {
    /// A connection that a peer carries. How long its other end may take is the circuit's matter.
    async fn circuit(
        &self,
        relay: Option<NodeId>,
        to: Option<NodeId>,
    ) -> Result<Link, UpgradeError> {
        let (Some(relay), Some(to)) = (relay, to) else {
            return Err(UpgradeError::Circuit(CircuitReason::NotConnected));
        };
        let (answer, answered) = oneshot::channel();
        let dial = ToCircuits::Dial(CircuitDial { relay, to, answer });
        let busy = UpgradeError::Circuit(CircuitReason::Busy);
        if self.links.circuits.push(dial).is_err() {
            return Err(busy);
        }
        answered.await.unwrap_or(Err(CircuitReason::Busy)).map_err(UpgradeError::Circuit)
    }
}

/// Waits until then; for ever if there is no time to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether the second of two failures of one race is the one that says more about the node.
fn is_worse(first: &UpgradeError, second: &UpgradeError) -> bool {
    telling(first) == 0 || telling(first) < telling(second)
}

/// How much a failure says about the node: nothing, that somebody answered, or why that is nobody
/// to talk to. Over QUIC, nodes of two networks have no protocol in common.
fn telling(error: &UpgradeError) -> u8 {
    match error {
        UpgradeError::Handshake(HandshakeError::Timeout) => 0,
        UpgradeError::Handshake(HandshakeError::NoCommonProtocol | HandshakeError::Malformed) => 1,
        UpgradeError::Handshake(_) => 2,
        _ => 0,
    }
}
