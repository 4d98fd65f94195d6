//! One connection with a bare stream, by libp2p-stream.

use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::StreamExt;
use kit::{
    Job, Task,
    pipe::{self, StreamSink, StreamSource, connect_all},
};
use libp2p::{Multiaddr, Stream, StreamProtocol, Swarm, swarm::SwarmEvent};
use libp2p_stream::{Behaviour, IncomingStreams};
use tokio::io::{ReadHalf, WriteHalf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::swarm::{build, connect, idle, listen, peer_of};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench");

type Ends = (StreamSink<WriteHalf<Compat<Stream>>>, StreamSource<ReadHalf<Compat<Stream>>>);

fn ends(stream: Stream) -> Ends {
    let (reader, writer) = tokio::io::split(stream.compat());
    (StreamSink::new(writer), StreamSource::new(reader))
}

pub async fn serve(job: Job) -> Result<()> {
    let quic = job.variant == "quic";
    let mut swarm = build(quic, |_| Ok(Behaviour::new()))?;
    let address = listen(&mut swarm, quic).await?;
    let incoming = swarm.behaviour().new_control().accept(PROTOCOL)?;
    tokio::spawn(accept(incoming, job.clone()));
    job.control.ready(address);
    tokio::spawn(count_connections(swarm, job.clone()));
    job.control.started().await?;
    job.control.stopped().await
}

async fn accept(mut incoming: IncomingStreams, job: Job) {
    while let Some((_, stream)) = incoming.next().await {
        let (sink, source) = ends(stream);
        tokio::spawn(pipe::serve(sink, source, job.task, job.control.clone()));
    }
}

async fn count_connections(mut swarm: Swarm<Behaviour>, job: Job) {
    let mut established = 0;
    loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::ConnectionEstablished { .. } = event {
            established += 1;
            if matches!(job.task, Task::Handshake { count, .. } if count == established) {
                job.control.complete();
            }
        }
    }
}

pub async fn drive(job: Job) -> Result<()> {
    let address: Multiaddr = job.address.parse()?;
    let mut swarm = build(job.variant == "quic", |_| Ok(Behaviour::new()))?;
    connect(&mut swarm, &address).await?;
    let mut control = swarm.behaviour().new_control();
    tokio::spawn(idle(swarm));
    let stream = control.open_stream(peer_of(&address)?, PROTOCOL).await;
    let (sink, source) = ends(stream.map_err(|error| anyhow!("{error}"))?);
    job.control.ready("");
    pipe::drive(sink, source, job.task, &job.control).await
}

pub async fn clients(job: Job) -> Result<()> {
    let address: Multiaddr = job.address.parse()?;
    let quic = job.variant == "quic";
    let (count, in_flight) = match job.task {
        Task::Handshake { count, in_flight } => (count, in_flight),
        Task::Idle { connections, .. } => (connections, 1),
        other => anyhow::bail!("no clients for {other:?}"),
    };
    let swarms: Result<Vec<_>> =
        (0..count).map(|_| build(quic, |_| Ok(Behaviour::new()))).collect();
    let connect_one = move |mut swarm: Swarm<Behaviour>| {
        let address = address.clone();
        async move {
            connect(&mut swarm, &address).await?;
            tokio::spawn(idle(swarm));
            Ok(())
        }
    };
    if let Task::Idle { seconds, .. } = job.task {
        connect_all(swarms?, in_flight, connect_one).await?;
        job.control.ready("");
        job.control.started().await?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    } else {
        job.control.ready("");
        job.control.started().await?;
        connect_all(swarms?, in_flight, connect_one).await?;
    }
    job.control.complete();
    job.control.stopped().await
}
