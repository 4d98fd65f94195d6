//! One connection between two processes.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use kit::{Arrivals, Job, Task, Window};
use peerstage::{
    Block, Builder, Inbound, Kind, Network, NodeId, Payload, PayloadError, Reply, Target, Topic,
    Transaction, Verdict,
};
use tokio::sync::mpsc;

use crate::node::{builder, dial};

/// What the server echoes.
const ECHO: Topic = Topic(1);
/// Messages from this size on are blocks, smaller ones are transactions.
const BLOCK_FROM: usize = 64 * 1024;

/// The receiver's acknowledgement: a message of the chain's own between two neighbours.
struct Acknowledged(Bytes);

impl Payload for Acknowledged {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(2);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Acknowledged(bytes))
    }
}

pub async fn serve(job: Job) -> Result<()> {
    let Job { task, control, variant, .. } = job;
    let mut builder =
        builder(&variant)?.serve(ECHO, |_, question| async { Reply::Answer(question) });
    let (due, mut acknowledgements) = mpsc::channel(1_024);
    if let Task::Send { size, count, window } = task {
        let arrivals = Arrivals::new(count, size, window, control.clone());
        builder = if size >= BLOCK_FROM {
            counting::<Block>(builder, arrivals, due, |block| block.0.clone())
        } else {
            counting::<Transaction>(builder, arrivals, due, |transaction| transaction.0.clone())
        };
    }
    let network = builder.start().await?;
    let address = network.listening().first().ok_or_else(|| anyhow!("it listens nowhere"))?;
    control.ready(address);
    let replying = network.clone();
    actix_rt::spawn(async move {
        while let Some((to, acknowledgement)) = acknowledgements.recv().await {
            let _ = replying.send(to, Acknowledged(acknowledgement)).await;
        }
    });
    control.started().await?;
    control.stopped().await
}

/// The handler: counts, and orders an acknowledgement when one is due.
fn counting<P: Payload>(
    builder: Builder,
    arrivals: Arrivals,
    due: mpsc::Sender<(NodeId, Bytes)>,
    body: fn(&P) -> Bytes,
) -> Builder {
    builder.on(move |inbound: Inbound<P>| {
        if let Some(acknowledgement) = arrivals.arrived(&body(&inbound.payload)) {
            let _ = due.try_send((inbound.from, acknowledgement));
        }
        async { Verdict::Accept }
    })
}

pub async fn drive(job: Job) -> Result<()> {
    let Job { task, control, variant, address, .. } = job;
    let window = match task {
        Task::Send { window, .. } => window,
        _ => 1,
    };
    let window = Window::new(window);
    let opened = window.clone();
    let network = builder(&variant)?
        .on(move |acknowledged: Inbound<Acknowledged>| {
            opened.acknowledged(&acknowledged.payload.0);
            async { Verdict::Ignore }
        })
        .start()
        .await?;
    dial(&network, &address).await?;
    network.ready(1).await?;
    let server = network.peers().await?.first().ok_or_else(|| anyhow!("no peer"))?.peer;
    control.ready("");
    match task {
        Task::Send { size, count, .. } => {
            control.started().await?;
            let mut message = kit::message(0, size);
            for number in 0..count {
                window.enter().await?;
                message[..8].copy_from_slice(&number.to_be_bytes());
                let body = Bytes::copy_from_slice(&message);
                let sent = if size >= BLOCK_FROM {
                    network.send(server, Block(body)).await?
                } else {
                    network.send(server, Transaction(body)).await?
                };
                ensure!(sent.queued == 1, "message {number} was not queued: {sent:?}");
            }
            control.stopped().await
        }
        Task::Request { size, count, in_flight } => {
            let question = Bytes::from(kit::message(0, size));
            control.started().await?;
            let askers = (0..in_flight).map(|asker| {
                let (network, question) = (network.clone(), question.clone());
                let share = count / in_flight + u64::from(asker < count % in_flight);
                actix_rt::spawn(ask(network, server, question, share))
            });
            for asker in askers.collect::<Vec<_>>() {
                asker.await??;
            }
            control.complete();
            control.stopped().await
        }
        _ => unreachable!("main sends other tasks elsewhere"),
    }
}

async fn ask(network: Network, server: NodeId, question: Bytes, times: u64) -> Result<()> {
    for _ in 0..times {
        let answer = network.request(Target::Peer(server), ECHO, question.clone(), None).await?;
        ensure!(answer.len() == question.len(), "not the answer");
    }
    Ok(())
}
