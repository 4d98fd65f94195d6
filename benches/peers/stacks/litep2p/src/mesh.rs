//! The broadcast: a flood written by hand on notifications, as the stack has none of its own.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use kit::{Job, Tally, Task, graph, message, number_of};
use litep2p::{
    PeerId,
    protocol::notification::{NotificationEvent, NotificationSink},
    types::multiaddr::Multiaddr,
};
use tokio::sync::mpsc;

use crate::node::{Node, peer_of};

/// Messages that may wait for one neighbour.
const QUEUE: usize = 4_096;

pub async fn mesh(job: Job) -> Result<()> {
    let Task::Broadcast { nodes, degree, size, count, window } = job.task else {
        bail!("a mesh only broadcasts");
    };
    let tally = Tally::new(nodes, nodes - 1, count, size, window);
    let members: Result<Vec<Node>> = (0..nodes).map(|_| Node::new()).collect();
    let members = members?;
    let addresses: Result<Vec<Multiaddr>> = members.iter().map(Node::address).collect();
    let addresses = addresses?;
    let mut dials: Vec<Vec<Multiaddr>> = vec![Vec::new(); nodes];
    for (a, b) in graph::edges(nodes, degree) {
        dials[a].push(addresses[b].clone());
    }
    let neighbours = graph::neighbours(nodes, degree);
    let (joined, mut joining) = mpsc::channel(nodes);
    let mut publishers = Vec::new();
    for (index, mut node) in members.into_iter().enumerate() {
        for address in &dials[index] {
            let peer = peer_of(address)?;
            node.litep2p.add_known_address(peer, [address.clone()].into_iter());
            node.handle.open_substream(peer).await?;
        }
        let (publish, publishing) = mpsc::channel(QUEUE);
        publishers.push(publish);
        let wanted = neighbours[index].len();
        let member = Member {
            index,
            node,
            wanted,
            links: BTreeMap::new(),
            seen: HashSet::new(),
            tally: tally.clone(),
        };
        let joined = joined.clone();
        tokio::spawn(async move {
            if let Err(error) = member.run(publishing, joined).await {
                eprintln!("node {index}: {error:#}");
            }
        });
    }
    for _ in 0..nodes {
        joining.recv().await.ok_or_else(|| anyhow!("a node is gone"))?;
    }
    job.control.ready("");
    job.control.started().await?;
    for number in 0..count {
        tally.enter().await?;
        publishers[number as usize % nodes].send(message(number, size).into()).await?;
    }
    tally.finish(&job.control).await?;
    job.control.stopped().await
}

struct Member {
    index: usize,
    node: Node,
    wanted: usize,
    links: BTreeMap<PeerId, mpsc::Sender<Bytes>>,
    seen: HashSet<u64>,
    tally: Tally,
}

impl Member {
    async fn run(
        mut self,
        mut publishing: mpsc::Receiver<Bytes>,
        joined: mpsc::Sender<()>,
    ) -> Result<()> {
        loop {
            tokio::select! {
                event = self.node.next_event() => match event? {
                    NotificationEvent::NotificationStreamOpened { peer, .. } => {
                        self.link(peer)?;
                        if self.links.len() == self.wanted {
                            joined.send(()).await?;
                        }
                    }
                    NotificationEvent::NotificationReceived { peer, notification } => {
                        let body = notification.freeze();
                        if self.seen.insert(number_of(&body)) {
                            self.tally.deliver(self.index, &body);
                            self.pass(Some(peer), &body).await;
                        }
                    }
                    NotificationEvent::NotificationStreamClosed { peer } => bail!("{peer} closed"),
                    NotificationEvent::NotificationStreamOpenFailure { peer, error } => {
                        bail!("no stream to {peer}: {error:?}");
                    }
                    NotificationEvent::ValidateSubstream { .. } => {}
                },
                Some(body) = publishing.recv() => {
                    self.seen.insert(number_of(&body));
                    self.pass(None, &body).await;
                }
            }
        }
    }

    fn link(&mut self, peer: PeerId) -> Result<()> {
        let sink = self.node.handle.notification_sink(peer);
        let sink = sink.ok_or_else(|| anyhow!("no sink for {peer}"))?;
        let (queue, queued) = mpsc::channel(QUEUE);
        self.links.insert(peer, queue);
        tokio::spawn(write(sink, queued));
        Ok(())
    }

    async fn pass(&mut self, from: Option<PeerId>, body: &Bytes) {
        for (peer, link) in &self.links {
            if Some(*peer) != from {
                // A link that ended is reported by its stream.
                let _ = link.send(body.clone()).await;
            }
        }
    }
}

async fn write(sink: NotificationSink, mut queued: mpsc::Receiver<Bytes>) {
    while let Some(body) = queued.recv().await {
        if sink.send_async_notification(body.to_vec()).await.is_err() {
            break;
        }
    }
}
