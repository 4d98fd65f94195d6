//! One server and many client nodes in a second process.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use commonware_p2p::{Receiver as _, Recipients, Sender as _};
use commonware_runtime::tokio::Context;
use kit::{Job, Tally, Task, message};
use tokio::sync::Mutex;

use crate::node::{NodeSource, free_addresses, key, knock, start};

const SERVER: u64 = 0;
/// Messages of a peer that may come at once.
const BURST: u32 = 16;

fn clients(task: Task) -> usize {
    match task {
        Task::Idle { connections, .. } => connections,
        Task::Fanout { peers, .. } => peers,
        _ => 0,
    }
}

pub async fn serve(context: Context, job: Job) -> Result<()> {
    let listen = free_addresses(1)?[0];
    let known: Vec<_> = (1..=clients(job.task) as u64).map(key).collect();
    let (mut sender, receiver) = start(&context, BURST, SERVER, listen, &[], &known);
    job.control.ready(listen);
    let mut source = NodeSource { receiver, knocked: Some(sender.clone()) };
    tokio::spawn(async move { while source.next_from().await.is_ok() {} });
    job.control.started().await?;
    if let Task::Fanout { peers, size, count } = job.task {
        for number in 0..count {
            job.control.passed().await?;
            let reached = sender.send(Recipients::All, message(number, size), false).len();
            ensure!(reached == peers, "message {number} was accepted for {reached} peers");
        }
    }
    job.control.stopped().await
}

pub async fn drive(context: Context, job: Job) -> Result<()> {
    let server = (key(SERVER), job.address.parse()?);
    let count = clients(job.task);
    let mut addresses = free_addresses(count)?.into_iter();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut knocking = tokio::task::JoinSet::new();
    for seed in 1..=count as u64 {
        let Some(listen) = addresses.next() else { break };
        let (mut sender, mut receiver) =
            start(&context, BURST, seed, listen, &[server.clone()], &[]);
        let kept = kept.clone();
        knocking.spawn(async move {
            knock(&mut sender, &mut receiver, &key(SERVER)).await?;
            kept.lock().await.push((sender, receiver));
            anyhow::Ok(())
        });
    }
    while let Some(knocked) = knocking.join_next().await {
        knocked??;
    }
    job.control.ready("");
    match job.task {
        Task::Fanout { peers, size, count } => {
            let tally = Tally::new(peers, peers, count, size, 1);
            for (peer, (_, mut receiver)) in kept.lock().await.drain(..).enumerate() {
                let tally = tally.clone();
                tokio::spawn(async move {
                    while let Ok((_, message)) = receiver.recv().await {
                        if message.len() == size {
                            tally.deliver(peer, message.as_ref());
                        }
                    }
                });
            }
            job.control.started().await?;
            tally.pace(&job.control).await?;
        }
        Task::Idle { seconds, .. } => {
            job.control.started().await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            job.control.complete();
        }
        other => anyhow::bail!("no clients for {other:?}"),
    }
    job.control.stopped().await
}
