//! One connection between two processes.

use anyhow::Result;
use kit::{Job, pipe};

use crate::node::{Node, PeerSink};

pub async fn serve(job: Job) -> Result<()> {
    let mut node = Node::new()?;
    job.control.ready(node.address()?);
    let (task, control) = (job.task, job.control.clone());
    let serving = tokio::spawn(async move {
        let (_, sink) = node.open(None).await?;
        pipe::serve(PeerSink(sink), node, task, control).await
    });
    job.control.started().await?;
    tokio::select! {
        ended = serving => ended?,
        stopped = job.control.stopped() => stopped,
    }
}

pub async fn drive(job: Job) -> Result<()> {
    let mut node = Node::new()?;
    let (_, sink) = node.open(Some(&job.address.parse()?)).await?;
    job.control.ready("");
    pipe::drive(PeerSink(sink), node, job.task, &job.control).await
}
