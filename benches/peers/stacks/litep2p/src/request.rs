//! The request-response protocol.

use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use kit::{Job, Task, message};
use litep2p::{
    Litep2p, Litep2pEvent, ProtocolName,
    protocol::request_response::{
        ConfigBuilder, DialOptions, RequestResponseEvent, RequestResponseHandle,
    },
    types::multiaddr::Multiaddr,
};

use crate::node::{address_of, config, peer_of};

/// The longest body, bytes.
const BODY_MAX: usize = 1024 * 1024;

fn node() -> Result<(Litep2p, RequestResponseHandle)> {
    let name = ProtocolName::from("/bench/request/1");
    let (protocol, handle) = ConfigBuilder::new(name).with_max_size(BODY_MAX).build();
    Ok((Litep2p::new(config()?.with_request_response_protocol(protocol).build())?, handle))
}

pub async fn serve(job: Job) -> Result<()> {
    let (mut litep2p, mut handle) = node()?;
    job.control.ready(address_of(&litep2p)?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                event = handle.next() => match event {
                    Some(RequestResponseEvent::RequestReceived { request_id, request, .. }) => {
                        handle.send_response(request_id, request);
                    }
                    Some(_) => {}
                    None => break,
                },
                _ = litep2p.next_event() => {}
            }
        }
    });
    job.control.started().await?;
    job.control.stopped().await
}

pub async fn drive(job: Job) -> Result<()> {
    let Task::Request { size, count, in_flight } = job.task else { bail!("requests only") };
    let address: Multiaddr = job.address.parse()?;
    let server = peer_of(&address)?;
    let (mut litep2p, mut handle) = node()?;
    litep2p.dial_address(address).await?;
    while !matches!(litep2p.next_event().await, Some(Litep2pEvent::ConnectionEstablished { .. })) {}
    tokio::spawn(async move { while litep2p.next_event().await.is_some() {} });
    let question = message(0, size);
    job.control.ready("");
    job.control.started().await?;
    let (mut asked, mut answered) = (0, 0);
    while answered < count {
        while asked < count && asked - answered < in_flight {
            handle.send_request(server, question.clone(), DialOptions::Reject).await?;
            asked += 1;
        }
        match handle.next().await {
            Some(RequestResponseEvent::ResponseReceived { response, .. }) => {
                ensure!(response.len() == size, "not the answer");
                answered += 1;
            }
            Some(RequestResponseEvent::RequestFailed { error, .. }) => bail!("{error:?}"),
            Some(_) => {}
            None => bail!("it ended"),
        }
    }
    job.control.complete();
    job.control.stopped().await
}
