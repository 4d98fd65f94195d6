//! All nodes of a broadcast in one process, on two threads, as the other stacks' share a runtime.

use anyhow::{Result, anyhow, bail};
use kit::{Job, Tally, Task, graph, message};
use peerstage::{Block, Inbound, Network, Transaction, Verdict};
use tokio::sync::oneshot;

use crate::node::{builder, dial};

/// Threads that carry the nodes.
const THREADS: usize = 2;
/// Messages from this size on are blocks, smaller ones are transactions.
const BLOCK_FROM: usize = 64 * 1024;

pub async fn mesh(job: Job) -> Result<()> {
    let Task::Broadcast { nodes, degree, size, count, window } = job.task else {
        bail!("a mesh only broadcasts");
    };
    let tally = Tally::new(nodes, nodes - 1, count, size, window);
    let arbiters: Vec<_> = (0..THREADS).map(|_| actix_rt::Arbiter::new()).collect();
    let mut networks = Vec::new();
    for node in 0..nodes {
        let (variant, tally) = (job.variant.clone(), tally.clone());
        let (started, network) = oneshot::channel();
        let arbiter = arbiters.get(node % THREADS).ok_or_else(|| anyhow!("no thread"))?;
        arbiter.spawn(async move {
            let _ = started.send(start(&variant, node, tally).await);
        });
        networks.push(network.await??);
    }
    for (a, b) in graph::edges(nodes, degree) {
        let address = networks[b].listening()[0].to_string();
        dial(&networks[a], &address).await?;
    }
    for (network, neighbours) in networks.iter().zip(graph::neighbours(nodes, degree)) {
        network.ready(neighbours.len()).await?;
    }
    job.control.ready("");
    job.control.started().await?;
    for number in 0..count {
        tally.enter().await?;
        let body = message(number, size).into();
        let network = networks[number as usize % nodes].clone();
        // Ordered and not waited for, as the other stacks' publishing is.
        actix_rt::spawn(async move {
            if size >= BLOCK_FROM {
                network.broadcast(Block(body)).await
            } else {
                network.broadcast(Transaction(body)).await
            }
        });
    }
    tally.finish(&job.control).await?;
    job.control.stopped().await
}

async fn start(variant: &str, node: usize, tally: Tally) -> Result<Network> {
    let (blocks, transactions) = (tally.clone(), tally);
    let network = builder(variant)?
        .on(move |block: Inbound<Block>| {
            blocks.deliver(node, &block.payload.0);
            async { Verdict::Accept }
        })
        .on(move |transaction: Inbound<Transaction>| {
            transactions.deliver(node, &transaction.payload.0);
            async { Verdict::Accept }
        })
        .start_here()
        .await?;
    Ok(network)
}
