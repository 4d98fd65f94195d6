//! How the nodes are set up: the defaults, with TCP_NODELAY, and connections that may be idle.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use futures::StreamExt;
use kit::{Sink, Source};
use litep2p::{
    Litep2p, Litep2pEvent, PeerId, ProtocolName,
    config::ConfigBuilder,
    protocol::notification::{
        ConfigBuilder as NotificationBuilder, NotificationEvent, NotificationHandle,
        NotificationSink, ValidationResult,
    },
    transport::tcp::config::Config as TcpConfig,
    types::multiaddr::Multiaddr,
};

/// The longest notification, bytes.
const NOTIFICATION_MAX: usize = 2 * 1024 * 1024;

/// The configuration of every node.
pub fn config() -> Result<ConfigBuilder> {
    let tcp = TcpConfig {
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
        nodelay: true,
        ..TcpConfig::default()
    };
    Ok(ConfigBuilder::new().with_tcp(tcp).with_keep_alive_timeout(Duration::from_secs(3_600)))
}

/// A node with a notification protocol.
pub struct Node {
    pub litep2p: Litep2p,
    pub handle: NotificationHandle,
}

impl Node {
    pub fn new() -> Result<Node> {
        let (protocol, handle) = NotificationBuilder::new(ProtocolName::from("/bench/1"))
            .with_max_size(NOTIFICATION_MAX)
            .with_auto_accept_inbound(true)
            .with_handshake(vec![1])
            .build();
        let litep2p = Litep2p::new(config()?.with_notification_protocol(protocol).build())?;
        Ok(Node { litep2p, handle })
    }

    pub fn address(&self) -> Result<Multiaddr> {
        address_of(&self.litep2p)
    }

    /// The next notification or news of a notification stream.
    pub async fn next_event(&mut self) -> Result<NotificationEvent> {
        loop {
            tokio::select! {
                event = self.handle.next() => match event {
                    Some(NotificationEvent::ValidateSubstream { peer, .. }) => {
                        self.handle.send_validation_result(peer, ValidationResult::Accept);
                    }
                    event => return event.ok_or_else(|| anyhow!("it ended")),
                },
                _ = self.litep2p.next_event() => {}
            }
        }
    }

    /// Connects and opens a notification stream, or waits until a peer has.
    pub async fn open(&mut self, to: Option<&Multiaddr>) -> Result<(PeerId, NotificationSink)> {
        if let Some(address) = to {
            let peer = peer_of(address)?;
            self.litep2p.add_known_address(peer, [address.clone()].into_iter());
            self.handle.open_substream(peer).await?;
        }
        loop {
            match self.next_event().await? {
                NotificationEvent::NotificationStreamOpened { peer, .. } => {
                    let sink = self.handle.notification_sink(peer);
                    return Ok((peer, sink.ok_or_else(|| anyhow!("no sink for {peer}"))?));
                }
                NotificationEvent::NotificationStreamOpenFailure { error, .. } => {
                    bail!("no stream: {error:?}");
                }
                _ => {}
            }
        }
    }

    /// Connects, without a stream, and waits until the connection is usable.
    pub async fn connect(&mut self, address: &Multiaddr) -> Result<()> {
        self.litep2p.dial_address(address.clone()).await?;
        loop {
            match self.litep2p.next_event().await {
                Some(Litep2pEvent::ConnectionEstablished { .. }) => return Ok(()),
                Some(Litep2pEvent::DialFailure { error, .. }) => bail!("{error:?}"),
                Some(_) => {}
                None => bail!("it ended"),
            }
        }
    }

    /// Runs a node whose events nobody needs.
    pub async fn idle(mut self) {
        loop {
            tokio::select! {
                _ = self.handle.next() => {}
                _ = self.litep2p.next_event() => {}
            }
        }
    }
}

/// Where a node listens, with its id.
pub fn address_of(litep2p: &Litep2p) -> Result<Multiaddr> {
    litep2p.listen_addresses().next().cloned().ok_or_else(|| anyhow!("it listens nowhere"))
}

/// The peer an address names.
pub fn peer_of(address: &Multiaddr) -> Result<PeerId> {
    PeerId::try_from_multiaddr(address).ok_or_else(|| anyhow!("{address} names no peer"))
}

/// Sends to one peer.
pub struct PeerSink(pub NotificationSink);

impl Sink for PeerSink {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.0.send_async_notification(message.to_vec()).await?)
    }
}

impl Source for Node {
    async fn next(&mut self) -> Result<Bytes> {
        loop {
            let event = self.next_event().await?;
            if let NotificationEvent::NotificationReceived { notification, .. } = event {
                return Ok(notification.freeze());
            }
        }
    }
}
