//! One server and many client nodes in a second process.

use std::time::Duration;

use anyhow::{Result, bail};
use kit::{Job, Source, Tally, Task, message, pipe::connect_all};
use litep2p::{Litep2pEvent, types::multiaddr::Multiaddr};

use crate::node::Node;

pub async fn serve(job: Job) -> Result<()> {
    let mut node = Node::new()?;
    job.control.ready(node.address()?);
    let (task, control) = (job.task, job.control.clone());
    let serving = tokio::spawn(async move {
        match task {
            Task::Fanout { peers, size, count } => {
                fan_out(node, peers, size, count, &control).await?
            }
            Task::Handshake { count, .. } => {
                let mut established = 0;
                while established < count {
                    if let Some(Litep2pEvent::ConnectionEstablished { .. }) =
                        node.litep2p.next_event().await
                    {
                        established += 1;
                    }
                }
                control.complete();
                node.idle().await;
            }
            _ => node.idle().await,
        }
        std::future::pending().await
    });
    job.control.started().await?;
    tokio::select! {
        ended = serving => ended?,
        stopped = job.control.stopped() => stopped,
    }
}

async fn fan_out(
    mut node: Node,
    peers: usize,
    size: usize,
    count: u64,
    control: &kit::Control,
) -> Result<()> {
    let mut sinks = Vec::new();
    while sinks.len() < peers {
        sinks.push(node.open(None).await?.1);
    }
    tokio::spawn(node.idle());
    for number in 0..count {
        control.passed().await?;
        let body = message(number, size);
        for sink in &sinks {
            sink.send_async_notification(body.clone()).await?;
        }
    }
    Ok(())
}

pub async fn drive(job: Job) -> Result<()> {
    let address: Multiaddr = job.address.parse()?;
    if let Task::Fanout { peers, size, count } = job.task {
        let tally = Tally::new(peers, peers, count, size, 1);
        for peer in 0..peers {
            let mut node = Node::new()?;
            node.open(Some(&address)).await?;
            let tally = tally.clone();
            tokio::spawn(async move {
                while let Ok(body) = node.next().await {
                    tally.deliver(peer, &body);
                }
            });
        }
        job.control.ready("");
        job.control.started().await?;
        tally.pace(&job.control).await?;
        return job.control.stopped().await;
    }
    let (count, in_flight) = match job.task {
        Task::Handshake { count, in_flight } => (count, in_flight),
        Task::Idle { connections, .. } => (connections, 1),
        other => bail!("no clients for {other:?}"),
    };
    let nodes: Result<Vec<_>> = (0..count).map(|_| Node::new()).collect();
    let connect_one = move |mut node: Node| {
        let address = address.clone();
        async move {
            node.connect(&address).await?;
            tokio::spawn(node.idle());
            Ok(())
        }
    };
    if let Task::Idle { seconds, .. } = job.task {
        connect_all(nodes?, in_flight, connect_one).await?;
        job.control.ready("");
        job.control.started().await?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    } else {
        job.control.ready("");
        job.control.started().await?;
        connect_all(nodes?, in_flight, connect_one).await?;
    }
    job.control.complete();
    job.control.stopped().await
}
