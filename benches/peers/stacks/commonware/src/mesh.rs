//! The broadcast: a full mesh, as the network is made for, where each node sends to all.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use commonware_p2p::{Receiver as _, Recipients, Sender as _};
use commonware_runtime::tokio::Context;
use kit::{Job, Tally, Task, message};

use crate::node::{KNOCK, Place, free_addresses, key, start};

/// Messages of a peer that may come at once: more than the window.
const BURST: u32 = 512;

pub async fn mesh(context: Context, job: Job) -> Result<()> {
    let Task::Broadcast { nodes, size, count, window, .. } = job.task else {
        bail!("a mesh only broadcasts");
    };
    let tally = Tally::new(nodes, nodes - 1, count, size, window);
    let places: Vec<Place> = (0..nodes as u64).map(key).zip(free_addresses(nodes)?).collect();
    let heard = Arc::new(Mutex::new(HashSet::new()));
    let mut senders = Vec::new();
    for (node, (_, listen)) in places.iter().enumerate() {
        let (sender, mut receiver) = start(&context, BURST, node as u64, *listen, &places, &[]);
        senders.push(sender);
        let (tally, heard) = (tally.clone(), heard.clone());
        tokio::spawn(async move {
            while let Ok((peer, message)) = receiver.recv().await {
                if message.len() == KNOCK {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).insert((node, peer));
                } else {
                    tally.deliver(node, message.as_ref());
                }
            }
        });
    }
    // The network tells nobody that it is connected: everybody knocks until everybody has heard.
    while heard.lock().unwrap_or_else(PoisonError::into_inner).len() < nodes * (nodes - 1) {
        for sender in &mut senders {
            sender.send(Recipients::All, vec![0; KNOCK], false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    job.control.ready("");
    job.control.started().await?;
    for number in 0..count {
        tally.enter().await?;
        let sender = &mut senders[number as usize % nodes];
        let reached = sender.send(Recipients::All, message(number, size), false).len();
        ensure!(reached == nodes - 1, "message {number} was accepted for {reached} nodes");
    }
    tally.finish(&job.control).await?;
    job.control.stopped().await
}
