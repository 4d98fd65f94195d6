//! Gossipsub: one node sends to many peers.

use anyhow::{Result, bail};
use futures::StreamExt;
use kit::{Control, Job, Tally, Task, message};
use libp2p::{
    Multiaddr, Swarm,
    gossipsub::{Behaviour, Event, IdentTopic},
    swarm::SwarmEvent,
};

use crate::{
    gossip::{connected, node},
    swarm::listen,
};

pub async fn serve(job: Job) -> Result<()> {
    let (mut swarm, topic) = node(job.variant == "gossipsub-signed")?;
    job.control.ready(listen(&mut swarm, false).await?);
    let hub = tokio::spawn(publish(swarm, topic, job.task, job.control.clone()));
    job.control.started().await?;
    tokio::select! {
        ended = hub => ended?,
        stopped = job.control.stopped() => stopped,
    }
}

/// Publishes when all peers have subscribed, at the receivers' pace.
async fn publish(
    mut swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    task: Task,
    control: Control,
) -> Result<()> {
    let Task::Fanout { peers, size, count } = task else { bail!("a hub only fans out") };
    let (mut subscribed, mut sent) = (0, 0);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(Event::Subscribed { .. }) = event {
                    subscribed += 1;
                }
            }
            passed = control.passed(), if subscribed == peers && sent < count => {
                passed?;
                swarm.behaviour_mut().publish(topic.clone(), message(sent, size))?;
                sent += 1;
            }
        }
    }
}

pub async fn drive(job: Job) -> Result<()> {
    let Task::Fanout { peers, size, count } = job.task else { bail!("a hub only fans out") };
    let hub: Multiaddr = job.address.parse()?;
    let tally = Tally::new(peers, peers, count, size, 1);
    for peer in 0..peers {
        let mut swarm = connected(job.variant == "gossipsub-signed", &hub).await?;
        let tally = tally.clone();
        tokio::spawn(async move {
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(Event::Message { message, .. }) = event {
                    tally.deliver(peer, &message.data);
                }
            }
        });
    }
    job.control.ready("");
    job.control.started().await?;
    tally.pace(&job.control).await?;
    job.control.stopped().await
}
