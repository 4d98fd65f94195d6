//! Gossipsub: one node sends to many peers.

use anyhow::{Result, bail};
use futures::StreamExt;
use kit::{Job, Tally, Task, message};
use libp2p::{Multiaddr, gossipsub::Event, swarm::SwarmEvent};

use crate::{
    gossip::{connected, node},
    swarm::listen,
};

pub async fn serve(job: Job) -> Result<()> {
    let Task::Fanout { peers, size, count } = job.task else { bail!("a hub only fans out") };
    let (mut swarm, topic) = node(job.variant == "gossipsub-signed")?;
    job.control.ready(listen(&mut swarm, false).await?);
    let control = job.control.clone();
    let hub = tokio::spawn(async move {
        let mut subscribed = 0;
        let mut sent = 0;
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
        #[expect(unreachable_code, reason = "says what the errors are")]
        anyhow::Ok(())
    });
    job.control.started().await?;
    tokio::select! {
        ended = hub => ended?,
        stopped = job.control.stopped() => stopped,
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
