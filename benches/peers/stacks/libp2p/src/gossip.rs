//! Gossipsub: the broadcast in one process.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use kit::{Job, Tally, Task, graph, message};
use libp2p::{
    Multiaddr, Swarm,
    gossipsub::{
        Behaviour, ConfigBuilder, Event, IdentTopic, MessageAuthenticity, MessageId, ValidationMode,
    },
    swarm::SwarmEvent,
};
use tokio::sync::mpsc;

use crate::swarm::{build, connect, listen};

/// The longest message, bytes: the largest block and its envelope.
const TRANSMIT_MAX: usize = 256 * 1024;
/// Neighbours in the mesh from which on gossipsub looks for no more (its `mesh_n_low`).
const MESH_LOW: usize = 5;

/// A node; signed messages are gossipsub's default.
pub fn node(signed: bool) -> Result<(Swarm<Behaviour>, IdentTopic)> {
    let mut config = ConfigBuilder::default();
    config.max_transmit_size(TRANSMIT_MAX);
    if !signed {
        config.validation_mode(ValidationMode::Anonymous);
        // Every message starts with its number and a pattern that depends on it.
        config.message_id_fn(|message| MessageId::new(&message.data[..message.data.len().min(32)]));
    }
    let config = config.build()?;
    let topic = IdentTopic::new("bench");
    let mut swarm = build(false, |identity| {
        let authenticity = match signed {
            true => MessageAuthenticity::Signed(identity.clone()),
            false => MessageAuthenticity::Anonymous,
        };
        Behaviour::new(authenticity, config).map_err(|error| anyhow!("gossipsub: {error}"))
    })?;
    swarm.behaviour_mut().subscribe(&topic)?;
    Ok((swarm, topic))
}

pub async fn mesh(job: Job) -> Result<()> {
    let Task::Broadcast { nodes, degree, size, count, window } = job.task else {
        bail!("a mesh only broadcasts");
    };
    let signed = job.variant == "gossipsub-signed";
    let tally = Tally::new(nodes, nodes - 1, count, size, window);
    let mut swarms = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..nodes {
        let (mut swarm, topic) = node(signed)?;
        addresses.push(listen(&mut swarm, false).await?);
        swarms.push((swarm, topic));
    }
    let neighbours = graph::neighbours(nodes, degree);
    let mut dials: Vec<Vec<Multiaddr>> = vec![Vec::new(); nodes];
    for (a, b) in graph::edges(nodes, degree) {
        dials[a].push(addresses[b].clone());
    }
    let (joined, mut joining) = mpsc::channel(nodes);
    let mut publishers = Vec::new();
    for (index, (mut swarm, topic)) in swarms.into_iter().enumerate() {
        for address in &dials[index] {
            swarm.dial(address.clone())?;
        }
        let (publish, publishing) = mpsc::channel(1_024);
        publishers.push(publish);
        let wanted = neighbours[index].len().min(MESH_LOW);
        let member = Member { index, swarm, topic, wanted, tally: tally.clone() };
        tokio::spawn(member.run(publishing, joined.clone()));
    }
    for _ in 0..nodes {
        joining.recv().await.ok_or_else(|| anyhow!("a node is gone"))?;
    }
    job.control.ready("");
    job.control.started().await?;
    for number in 0..count {
        tally.enter().await?;
        publishers[number as usize % nodes].send(message(number, size)).await?;
    }
    tally.finish(&job.control).await?;
    job.control.stopped().await
}

struct Member {
    index: usize,
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    wanted: usize,
    tally: Tally,
}

impl Member {
    async fn run(mut self, mut publishing: mpsc::Receiver<Vec<u8>>, joined: mpsc::Sender<()>) {
        let mut look = tokio::time::interval(Duration::from_millis(200));
        let mut waiting = true;
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if let SwarmEvent::Behaviour(Event::Message { message, .. }) = event {
                        self.tally.deliver(self.index, &message.data);
                    }
                }
                Some(body) = publishing.recv() => {
                    let topic = self.topic.clone();
                    if let Err(error) = self.swarm.behaviour_mut().publish(topic, body) {
                        eprintln!("publish: {error}");
                    }
                }
                _ = look.tick(), if waiting => {
                    let mesh = self.swarm.behaviour().mesh_peers(&self.topic.hash()).count();
                    if mesh >= self.wanted {
                        waiting = false;
                        let _ = joined.send(()).await;
                    }
                }
            }
        }
    }
}

/// Connects a node and returns it with its connection.
pub async fn connected(signed: bool, hub: &Multiaddr) -> Result<Swarm<Behaviour>> {
    let (mut swarm, _) = node(signed)?;
    connect(&mut swarm, hub).await?;
    Ok(swarm)
}
