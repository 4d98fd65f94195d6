//! One server and many client nodes in a second process.

use std::time::Duration;

use anyhow::{Result, anyhow};
use kit::{Job, Tally, Task, message};
use peerstage::{Block, Inbound, Network, Verdict, What};

use crate::node::{builder, dial};

/// A node waits up to 2.5 s before its first dial, so that a network that restarts doesn't dial all
/// at once. That is no part of a connection.
const STARTED: Duration = Duration::from_secs(3);

pub async fn serve(job: Job) -> Result<()> {
    let Job { task, control, variant, .. } = job;
    let network = builder(&variant)?.start().await?;
    let mut events = network.subscribe();
    let address = network.listening().first().ok_or_else(|| anyhow!("it listens nowhere"))?;
    control.ready(address);
    control.started().await?;
    match task {
        Task::Handshake { count, .. } => {
            for _ in 0..count {
                let connected =
                    |what: &What| matches!(what, What::PeerConnected { .. }).then_some(());
                events.find(connected).await.ok_or_else(|| anyhow!("the network has stopped"))?;
            }
            control.complete();
        }
        Task::Fanout { peers, size, count } => {
            network.ready(peers).await?;
            for number in 0..count {
                control.passed().await?;
                network.broadcast(Block(message(number, size).into())).await?;
            }
        }
        _ => {}
    }
    control.stopped().await
}

pub async fn drive(job: Job) -> Result<()> {
    let Job { task, control, variant, address, .. } = job;
    match task {
        Task::Handshake { count, in_flight } => {
            let mut nodes = Vec::new();
            for _ in 0..count {
                nodes.push(builder(&variant)?.start_here().await?);
            }
            tokio::time::sleep(STARTED).await;
            control.ready("");
            control.started().await?;
            let kept = nodes.clone();
            let mut workers = Vec::new();
            for worker in 0..in_flight {
                let mine: Vec<Network> =
                    nodes.iter().skip(worker).step_by(in_flight).cloned().collect();
                workers.push(actix_rt::spawn(connect_each(mine, address.clone())));
            }
            for worker in workers {
                worker.await??;
            }
            control.complete();
            control.stopped().await?;
            drop(kept);
            Ok(())
        }
        Task::Idle { connections, seconds } => {
            let mut nodes = Vec::new();
            for _ in 0..connections {
                nodes.push(builder(&variant)?.start_here().await?);
            }
            connect_each(nodes.clone(), address).await?;
            control.ready("");
            control.started().await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            control.complete();
            control.stopped().await
        }
        Task::Fanout { peers, size, count } => {
            let tally = Tally::new(peers, peers, count, size, 1);
            let mut nodes = Vec::new();
            for node in 0..peers {
                let tally = tally.clone();
                let judge = move |block: Inbound<Block>| {
                    tally.deliver(node, &block.payload.0);
                    async { Verdict::Accept }
                };
                nodes.push(builder(&variant)?.on(judge).start_here().await?);
            }
            connect_each(nodes.clone(), address).await?;
            control.ready("");
            control.started().await?;
            tally.pace(&control).await?;
            control.stopped().await
        }
        other => anyhow::bail!("no clients for {other:?}"),
    }
}

async fn connect_each(nodes: Vec<Network>, address: String) -> Result<()> {
    for node in nodes {
        dial(&node, &address).await?;
        node.ready(1).await?;
    }
    Ok(())
}
