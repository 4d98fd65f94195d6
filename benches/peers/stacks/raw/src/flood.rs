//! The floor of the broadcast: every node passes what is new to all neighbours but the one it came
//! from, over plain TCP; a writer takes all that waits into one write.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use kit::{Job, Source, Tally, Task, graph, message, number_of, pipe::StreamSource};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Messages that may wait for one neighbour.
const QUEUE: usize = 4_096;
/// Bytes a writer takes into one write.
const WRITE_MAX: usize = 256 * 1024;

struct Node {
    seen: Mutex<HashSet<u64>>,
    links: Mutex<Vec<(usize, mpsc::Sender<Bytes>)>>,
}

impl Node {
    /// Whether the message is new here; if so it goes on to all but `from`.
    async fn pass(&self, from: usize, body: &Bytes) -> bool {
        let fresh =
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(number_of(body));
        if fresh {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (neighbour, link) in links {
                if neighbour != from {
                    let _ = link.send(body.clone()).await;
                }
            }
        }
        fresh
    }
}

pub async fn mesh(job: Job) -> Result<()> {
    let Task::Broadcast { nodes, degree, size, count, window } = job.task else {
        bail!("the flood only broadcasts");
    };
    let tally = Tally::new(nodes, nodes - 1, count, size, window);
    let all: Arc<Vec<Node>> = Arc::new(
        (0..nodes).map(|_| Node { seen: Mutex::default(), links: Mutex::default() }).collect(),
    );
    for (a, b) in graph::edges(nodes, degree) {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        link(&all, (a, b), dialled?, &tally)?;
        link(&all, (b, a), accepted?.0, &tally)?;
    }
    job.control.ready("");
    job.control.started().await?;
    for number in 0..count {
        tally.enter().await?;
        let origin = number as usize % nodes;
        all[origin].pass(origin, &message(number, size).into()).await;
    }
    tally.finish(&job.control).await?;
    job.control.stopped().await
}

fn link(
    all: &Arc<Vec<Node>>,
    (node, neighbour): (usize, usize),
    stream: TcpStream,
    tally: &Tally,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (queue, queued) = mpsc::channel(QUEUE);
    all[node].links.lock().unwrap_or_else(PoisonError::into_inner).push((neighbour, queue));
    tokio::spawn(write(writer, queued));
    tokio::spawn(read(StreamSource::new(reader), all.clone(), node, neighbour, tally.clone()));
    Ok(())
}

async fn write(mut writer: OwnedWriteHalf, mut queued: mpsc::Receiver<Bytes>) -> Result<()> {
    let mut batch = Vec::new();
    while let Some(body) = queued.recv().await {
        batch.clear();
        let mut next = Some(body);
        while let Some(body) = next {
            batch.extend_from_slice(&(body.len() as u32).to_be_bytes());
            batch.extend_from_slice(&body);
            next = if batch.len() < WRITE_MAX { queued.try_recv().ok() } else { None };
        }
        writer.write_all(&batch).await?;
    }
    Ok(())
}

async fn read(
    mut source: StreamSource<OwnedReadHalf>,
    all: Arc<Vec<Node>>,
    node: usize,
    neighbour: usize,
    tally: Tally,
) -> Result<()> {
    loop {
        let body = source.next().await?;
        if all[node].pass(neighbour, &body).await {
            tally.deliver(node, &body);
        }
    }
}
