//! One connection between two processes.

use anyhow::Result;
use commonware_runtime::tokio::Context;
use kit::{Job, pipe};

use crate::node::{NodeSink, NodeSource, free_addresses, key, knock, start};

const SERVER: u64 = 0;
const CLIENT: u64 = 1;
/// Messages that may come at once: more than the windows.
const BURST: u32 = 4_096;

pub async fn serve(context: Context, job: Job) -> Result<()> {
    let listen = free_addresses(1)?[0];
    let (sender, receiver) = start(&context, BURST, SERVER, listen, &[], &[key(CLIENT)]);
    job.control.ready(listen);
    let sink = NodeSink { sender: sender.clone(), peer: key(CLIENT) };
    let source = NodeSource { receiver, knocked: Some(sender) };
    let serving = tokio::spawn(pipe::serve(sink, source, job.task, job.control.clone()));
    job.control.started().await?;
    tokio::select! {
        ended = serving => ended?,
        stopped = job.control.stopped() => stopped,
    }
}

pub async fn drive(context: Context, job: Job) -> Result<()> {
    let server = (key(SERVER), job.address.parse()?);
    let listen = free_addresses(1)?[0];
    let (mut sender, mut receiver) = start(&context, BURST, CLIENT, listen, &[server], &[]);
    knock(&mut sender, &mut receiver, &key(SERVER)).await?;
    job.control.ready("");
    let sink = NodeSink { sender, peer: key(SERVER) };
    let source = NodeSource { receiver, knocked: None };
    pipe::drive(sink, source, job.task, &job.control).await
}
