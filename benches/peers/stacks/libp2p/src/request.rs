//! The request-response protocol with raw bytes: a length of four bytes, then the body.

use std::{collections::HashMap, io};

use anyhow::{Result, bail};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use kit::{Job, Task};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm,
    request_response::{Behaviour, Codec, Config, Event, Message, ProtocolSupport},
    swarm::SwarmEvent,
};

use crate::swarm::{build, connect, listen, peer_of};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/request");
/// The longest body, bytes.
const BODY_MAX: u32 = 1024 * 1024;

/// Bytes as they are, so that no serialisation is measured.
#[derive(Clone, Default)]
struct Raw;

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head);
    if length > BODY_MAX {
        return Err(io::Error::other("too long"));
    }
    let mut body = vec![0; length as usize];
    io.read_exact(&mut body).await?;
    Ok(body)
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    io.write_all(&frame).await
}

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &body).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Vec<u8>,
    ) -> io::Result<()> {
        write(io, &body).await
    }
}

fn behaviour() -> Behaviour<Raw> {
    Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], Config::default())
}

pub async fn serve(job: Job) -> Result<()> {
    let mut swarm = build(false, |_| Ok(behaviour()))?;
    job.control.ready(listen(&mut swarm, false).await?);
    tokio::spawn(answer(swarm));
    job.control.started().await?;
    job.control.stopped().await
}

async fn answer(mut swarm: Swarm<Behaviour<Raw>>) {
    loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::Behaviour(Event::Message { message, .. }) = event
            && let Message::Request { request, channel, .. } = message
        {
            // The asker is gone: nobody misses the answer.
            let _ = swarm.behaviour_mut().send_response(channel, request);
        }
    }
}

pub async fn drive(job: Job) -> Result<()> {
    let Task::Request { size, count, in_flight } = job.task else { bail!("requests only") };
    let address: Multiaddr = job.address.parse()?;
    let mut swarm = build(false, |_| Ok(behaviour()))?;
    connect(&mut swarm, &address).await?;
    let server = peer_of(&address)?;
    let question = message(size);
    job.control.ready("");
    job.control.started().await?;
    let mut asked = 0;
    let mut waiting = HashMap::new();
    let mut answered = 0;
    while answered < count {
        while asked < count && (waiting.len() as u64) < in_flight {
            let id = swarm.behaviour_mut().send_request(&server, question.clone());
            waiting.insert(id, ());
            asked += 1;
        }
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Response { request_id, response },
                ..
            }) => {
                anyhow::ensure!(response.len() == size, "not the answer");
                waiting.remove(&request_id);
                answered += 1;
            }
            SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => bail!("{error}"),
            _ => {}
        }
    }
    job.control.complete();
    job.control.stopped().await
}

fn message(size: usize) -> Vec<u8> {
    kit::message(0, size)
}
