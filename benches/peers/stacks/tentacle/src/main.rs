//! tentacle: one protocol over TCP, secio and yamux.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use kit::{Arrivals, Control, Job, Role, Task, Window, message, pipe::connect_all};
use tentacle::{
    ProtocolId, SessionId, async_trait,
    builder::{MetaBuilder, ServiceBuilder},
    context::{ProtocolContext, ProtocolContextMutRef, ServiceContext},
    multiaddr::Multiaddr,
    secio::SecioKeyPair,
    service::{
        ProtocolHandle, Service, ServiceAsyncControl, ServiceError, ServiceEvent, TargetProtocol,
    },
    traits::{ServiceHandle, ServiceProtocol},
};
use tokio::sync::mpsc;

/// The one protocol.
const PROTOCOL: usize = 1;

fn main() -> ExitCode {
    kit::on_tokio(async |job| match job.role {
        Role::Serve => serve(job).await,
        Role::Drive => drive(job).await,
        Role::Mesh => bail!("tentacle has no broadcast of its own"),
    })
}

/// What a node does with what it receives.
#[derive(Clone)]
enum Behaviour {
    Count(Arrivals),
    Echo,
    /// Acknowledgements open the window.
    Acknowledge(Window),
    /// Answers open it by one each.
    Answer(Window, mpsc::Sender<usize>),
    Nothing,
}

struct Handler {
    behaviour: Behaviour,
    opened: mpsc::Sender<SessionId>,
}

#[async_trait]
impl ServiceProtocol for Handler {
    async fn init(&mut self, _: &mut ProtocolContext) {}

    async fn connected(&mut self, context: ProtocolContextMutRef<'_>, _: &str) {
        // Nobody waits any more once the measured phase has begun.
        let _ = self.opened.try_send(context.session.id);
    }

    async fn received(&mut self, context: ProtocolContextMutRef<'_>, data: Bytes) {
        // A failing send shows as missing messages at the other side.
        match &self.behaviour {
            Behaviour::Count(arrivals) => {
                if let Some(acknowledgement) = arrivals.arrived(&data) {
                    let _ = context.send_message(acknowledgement).await;
                }
            }
            Behaviour::Echo => drop(context.send_message(data).await),
            Behaviour::Acknowledge(window) => window.acknowledged(&data),
            Behaviour::Answer(window, answers) => {
                window.leave();
                let _ = answers.send(data.len()).await;
            }
            Behaviour::Nothing => {}
        }
    }
}

struct Events;

#[async_trait]
impl ServiceHandle for Events {
    async fn handle_error(&mut self, _: &mut ServiceContext, error: ServiceError) {
        eprintln!("tentacle: {error:?}");
    }

    async fn handle_event(&mut self, _: &mut ServiceContext, _: ServiceEvent) {}
}

type Node = Service<Events, SecioKeyPair>;

/// A node, and where it tells of opened sessions.
fn node(behaviour: Behaviour, sessions: usize) -> (Node, mpsc::Receiver<SessionId>) {
    let (opened, opening) = mpsc::channel(sessions.max(1));
    let protocol = MetaBuilder::new()
        .id(ProtocolId::new(PROTOCOL))
        .service_handle(move || ProtocolHandle::Callback(Box::new(Handler { behaviour, opened })))
        .build();
    let service = ServiceBuilder::default()
        .insert_protocol(protocol)
        .handshake_type(SecioKeyPair::secp256k1_generated().into())
        .max_connection_number(4_096)
        .forever(true)
        .build(Events);
    (service, opening)
}

async fn serve(job: Job) -> Result<()> {
    let Job { task, control, .. } = job;
    let (behaviour, sessions) = match task {
        Task::Send { size, count, window } => {
            (Behaviour::Count(Arrivals::new(count, size, window, control.clone())), 1)
        }
        Task::Request { .. } => (Behaviour::Echo, 1),
        Task::Handshake { count, .. } => (Behaviour::Nothing, count),
        _ => (Behaviour::Nothing, 1),
    };
    let (mut service, mut opening) = node(behaviour, sessions);
    let address = service.listen("/ip4/127.0.0.1/tcp/0".parse()?).await?;
    control.ready(address);
    tokio::spawn(async move { service.run().await });
    if let Task::Handshake { count, .. } = task {
        let control = control.clone();
        tokio::spawn(async move {
            for _ in 0..count {
                opening.recv().await;
            }
            control.complete();
        });
    }
    control.started().await?;
    control.stopped().await
}

/// Connects a node until its protocol is open; it runs on.
async fn connect(
    (mut service, mut opening): (Node, mpsc::Receiver<SessionId>),
    address: Multiaddr,
) -> Result<(ServiceAsyncControl, SessionId)> {
    let control = service.control().clone();
    service.dial(address, TargetProtocol::All).await?;
    tokio::spawn(async move { service.run().await });
    let session = opening.recv().await.ok_or_else(|| anyhow!("the node is gone"))?;
    Ok((control, session))
}

async fn drive(job: Job) -> Result<()> {
    let Job { task, control, address, .. } = job;
    let address: Multiaddr = address.parse()?;
    match task {
        Task::Send { size, count, window } => {
            let window = Window::new(window);
            let client = node(Behaviour::Acknowledge(window.clone()), 1);
            let (sender, session) = connect(client, address).await?;
            control.ready("");
            control.started().await?;
            let mut body = message(0, size);
            for number in 0..count {
                window.enter().await?;
                body[..8].copy_from_slice(&number.to_be_bytes());
                let body = Bytes::copy_from_slice(&body);
                sender.send_message_to(session, ProtocolId::new(PROTOCOL), body).await?;
            }
            control.stopped().await
        }
        Task::Request { size, count, in_flight } => {
            let window = Window::new(in_flight);
            let (answered, answers) = mpsc::channel(1_024);
            let client = node(Behaviour::Answer(window.clone(), answered), 1);
            let (sender, session) = connect(client, address).await?;
            control.ready("");
            control.started().await?;
            tokio::spawn(count_answers(answers, size, count, control.clone()));
            let question = Bytes::from(message(0, size));
            for _ in 0..count {
                window.enter().await?;
                let question = question.clone();
                sender.send_message_to(session, ProtocolId::new(PROTOCOL), question).await?;
            }
            control.stopped().await
        }
        Task::Handshake { count, in_flight } => {
            let clients = (0..count).map(|_| node(Behaviour::Nothing, 1)).collect();
            control.ready("");
            control.started().await?;
            connect_clients(clients, in_flight, address).await?;
            control.complete();
            control.stopped().await
        }
        Task::Idle { connections, seconds } => {
            let clients = (0..connections).map(|_| node(Behaviour::Nothing, 1)).collect();
            connect_clients(clients, 1, address).await?;
            control.ready("");
            control.started().await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            control.complete();
            control.stopped().await
        }
        other => bail!("tentacle has no part in {other:?}"),
    }
}

async fn connect_clients(
    clients: Vec<(Node, mpsc::Receiver<SessionId>)>,
    in_flight: usize,
    address: Multiaddr,
) -> Result<()> {
    connect_all(clients, in_flight, move |client| {
        let address = address.clone();
        async move { connect(client, address).await.map(drop) }
    })
    .await
}

async fn count_answers(
    mut answers: mpsc::Receiver<usize>,
    size: usize,
    count: u64,
    control: Control,
) -> Result<()> {
    for _ in 0..count {
        let length = answers.recv().await.ok_or_else(|| anyhow!("the node is gone"))?;
        ensure!(length == size, "not the answer");
    }
    control.complete();
    Ok(())
}
