//! How the nodes are set up: `Config::local`, with the rates that a benchmark must lift.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use anyhow::{Result, bail};
use bytes::Bytes;
use commonware_cryptography::{
    ChaCha20Poly1305, Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{
    Address, AddressableManager as _, AddressableTrackedPeers, Receiver as _, Recipients,
    Sender as _, authenticated::lookup,
};
use commonware_runtime::{Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    SakeCups,
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::ordered::Map;
use kit::{Sink, Source};

/// Separates this application's connections from others'.
pub const NAMESPACE: &[u8] = b"bench";
/// The longest message, bytes.
pub const MESSAGE_MAX: u32 = 2 * 1024 * 1024;
/// Capacity of the internal mailboxes, messages: more than any case's window, as the network drops
/// what finds one full.
const MAILBOX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// More than any case sends.
const UNLIMITED: NonZeroU32 = NonZeroU32::new(100_000_000).unwrap();
/// A message of this length only finds out whether there is a connection.
pub const KNOCK: usize = 1;

pub type Upgrade = SakeCups<PrivateKey, ChaCha20Poly1305>;
pub type NodeSender = lookup::Sender<PublicKey, Context>;
pub type NodeReceiver = lookup::Receiver<PublicKey>;
/// Who, and where.
pub type Place = (PublicKey, SocketAddr);

pub fn upgrade(seed: u64) -> Upgrade {
    let sake = Sake {
        signer: PrivateKey::from_seed(seed),
        synchrony_bound: Duration::from_secs(5),
        max_handshake_age: Duration::from_secs(10),
        version: sake::Version::V1,
    };
    Cups::<_, ChaCha20Poly1305>::new(sake, cups::Version::V1)
}

pub fn key(seed: u64) -> PublicKey {
    PrivateKey::from_seed(seed).public_key()
}

/// Where nodes listen. Connections come from 127.0.0.1, so that none takes a port that a node is
/// about to listen at.
const LISTEN: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// Addresses on the loopback interface that nobody listens at: the network takes no port 0.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let bound: std::io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind((LISTEN, 0))).collect();
    Ok(bound?.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?)
}

/// Starts a node that dials `primary` and accepts `secondary` too. As many as `burst` messages of
/// a peer may wait; the network reserves memory for that of all peers.
pub fn start(
    context: &Context,
    burst: u32,
    seed: u64,
    listen: SocketAddr,
    primary: &[Place],
    secondary: &[PublicKey],
) -> (NodeSender, NodeReceiver) {
    let peers = NonZeroUsize::new(primary.len() + secondary.len() + 1).unwrap_or(NonZeroUsize::MIN);
    let mut config =
        lookup::Config::local(upgrade(seed), NAMESPACE, listen, peers, MESSAGE_MAX, MAILBOX);
    config.allowed_handshake_rate_per_ip = Quota::per_second(UNLIMITED);
    config.allowed_handshake_rate_per_subnet = Quota::per_second(UNLIMITED);
    config.bypass_ip_check = true;
    let context = context.child("node").with_attribute("index", seed);
    let (mut network, mut oracle) = lookup::Network::new(context, config);
    // Nobody dials a secondary peer, so its port does not matter.
    let anywhere = SocketAddr::new(listen.ip(), 1);
    let primary = primary.iter().map(|(key, address)| (key.clone(), Address::from(*address)));
    let secondary = secondary.iter().map(|key| (key.clone(), Address::from(anywhere)));
    let _ = oracle.track(
        0,
        AddressableTrackedPeers::new(
            Map::from_iter_dedup(primary.chain([(key(seed), Address::from(listen))])),
            Map::from_iter_dedup(secondary),
        ),
    );
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let ends = network.register(0, Quota::per_second(UNLIMITED).allow_burst(burst));
    network.start();
    ends
}

/// Sends to one peer.
pub struct NodeSink {
    pub sender: NodeSender,
    pub peer: PublicKey,
}

impl Sink for NodeSink {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        let to = Recipients::One(self.peer.clone());
        if self.sender.send(to, message.to_vec(), false).is_empty() {
            bail!("a message was not accepted");
        }
        Ok(())
    }
}

/// Receives from everybody; answers knocks if it has a way to.
pub struct NodeSource {
    pub receiver: NodeReceiver,
    pub knocked: Option<NodeSender>,
}

impl NodeSource {
    /// The next message and who sent it.
    pub async fn next_from(&mut self) -> Result<(PublicKey, Bytes)> {
        loop {
            let (peer, message) = self.receiver.recv().await?;
            let message = Bytes::from(message);
            if message.len() != KNOCK {
                return Ok((peer, message));
            }
            if let Some(sender) = &mut self.knocked {
                sender.send(Recipients::One(peer), vec![0; KNOCK], false);
            }
        }
    }
}

impl Source for NodeSource {
    async fn next(&mut self) -> Result<Bytes> {
        Ok(self.next_from().await?.1)
    }
}

/// Knocks until the peer answers: the network tells nobody that it is connected.
pub async fn knock(
    sender: &mut NodeSender,
    receiver: &mut NodeReceiver,
    peer: &PublicKey,
) -> Result<()> {
    loop {
        sender.send(Recipients::One(peer.clone()), vec![0; KNOCK], false);
        let answer = tokio::time::timeout(Duration::from_millis(100), receiver.recv()).await;
        if let Ok(answer) = answer {
            answer?;
            return Ok(());
        }
    }
}
