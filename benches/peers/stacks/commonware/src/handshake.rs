//! Connections by commonware-stream's dial and listen, which the network uses; the network itself
//! paces its dials and says nothing of connections.

use std::{any::Any, time::Duration};

use anyhow::{Result, anyhow, bail};
use commonware_runtime::{
    Listener as _, ListenerOf, Network as _, Supervisor as _, tokio::Context,
};
use commonware_stream::{Upgrader as _, utils::Timeout};
use kit::{Job, Task, pipe::connect_all};
use tokio::sync::mpsc;

use crate::node::{MESSAGE_MAX, NAMESPACE, free_addresses, key, upgrade};

const SERVER: u64 = 0;
/// A connection that is kept, or none if the handshake failed.
type Listened = Option<Box<dyn Any + Send>>;
/// The network's own limit on a handshake.
const LIMIT: Duration = Duration::from_secs(5);

pub async fn serve(context: Context, job: Job) -> Result<()> {
    let Task::Handshake { count, .. } = job.task else { bail!("handshakes only") };
    let listen = free_addresses(1)?[0];
    let listener = context.bind(listen).await?;
    job.control.ready(listen);
    let (usable, mut established) = mpsc::channel(count);
    let accepting = tokio::spawn(accept(context, listener, usable));
    let control = job.control.clone();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..count {
            kept.push(established.recv().await);
        }
        if kept.iter().all(|connection| matches!(connection, Some(Some(_)))) {
            control.complete();
        }
        std::future::pending::<()>().await;
    });
    job.control.started().await?;
    job.control.stopped().await?;
    accepting.abort();
    Ok(())
}

async fn accept(
    context: Context,
    mut listener: ListenerOf<Context>,
    usable: mpsc::Sender<Listened>,
) -> Result<()> {
    loop {
        let (_, sink, stream) = listener.accept().await?;
        let (usable, context) = (usable.clone(), context.child("listener"));
        tokio::spawn(async move {
            let welcome = |_| async { true };
            let upgrader = Timeout::new(upgrade(SERVER), LIMIT);
            let listened =
                upgrader.listen(context, NAMESPACE, MESSAGE_MAX, welcome, stream, sink).await;
            // What failed is missing in the count.
            let _ = usable.send(listened.ok().map(|kept| Box::new(kept) as _)).await;
        });
    }
}

pub async fn drive(context: Context, job: Job) -> Result<()> {
    let Task::Handshake { count, in_flight } = job.task else { bail!("handshakes only") };
    let server: std::net::SocketAddr = job.address.parse()?;
    let clients: Vec<_> =
        (0..count).map(|index| (upgrade(1 + index as u64), context.child("dialer"))).collect();
    job.control.ready("");
    job.control.started().await?;
    let (keep, _kept) = mpsc::channel(count);
    connect_all(clients, in_flight, move |(upgrade, context)| {
        let keep = keep.clone();
        async move {
            let (sink, stream) = context.dial(server).await?;
            let upgrader = Timeout::new(upgrade, LIMIT);
            let dialled =
                upgrader.dial(context, NAMESPACE, MESSAGE_MAX, key(SERVER), stream, sink).await?;
            keep.send(dialled).await.map_err(|_| anyhow!("nobody keeps it"))
        }
    })
    .await?;
    job.control.complete();
    job.control.stopped().await
}
