//! One connection between two processes.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use kit::{Arrivals, Job, Task, Window};
use peerstage::{
    Builder, Inbound, Kind, Network, NodeId, Payload, PayloadError, Reply, Target, Topic, Verdict,
};
use tokio::sync::mpsc;

use crate::node::{builder, dial};

/// What the server echoes.
const ECHO: Topic = Topic(1);
/// A message of the chain's own to one node, as the other stacks' messages are.
struct Note<const TOPIC: u32>(Bytes);

/// What is counted.
type Sent = Note<2>;
/// The receiver's acknowledgement.
type Acknowledged = Note<3>;

impl<const TOPIC: u32> Payload for Note<TOPIC> {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(TOPIC);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Note(bytes))
    }
}

pub async fn serve(job: Job) -> Result<()> {
    let Job { task, control, variant, .. } = job;
    let mut builder =
        builder(&variant)?.serve(ECHO, |_, question| async { Reply::Answer(question) });
    let (due, mut acknowledgements) = mpsc::channel(1_024);
    if let Task::Send { size, count, window } = task {
        let arrivals = Arrivals::new(count, size, window, control.clone());
        builder = counting(builder, arrivals, due);
    }
    let network = builder.start().await?;
    let address = network.listening().first().ok_or_else(|| anyhow!("it listens nowhere"))?;
    control.ready(address);
    let replying = network.clone();
    actix_rt::spawn(async move {
        while let Some((to, acknowledgement)) = acknowledgements.recv().await {
            let _ = replying.send(to, Note::<3>(acknowledgement)).await;
        }
    });
    control.started().await?;
    control.stopped().await
}

/// The handler: counts, and orders an acknowledgement when one is due.
fn counting(builder: Builder, arrivals: Arrivals, due: mpsc::Sender<(NodeId, Bytes)>) -> Builder {
    builder.on(move |inbound: Inbound<Sent>| {
        if let Some(acknowledgement) = arrivals.arrived(&inbound.payload.0) {
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
                let sent = network.send(server, Note::<2>(body)).await?;
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
