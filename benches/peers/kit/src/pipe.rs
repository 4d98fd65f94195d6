//! The tasks of one connection over anything that sends and receives whole messages.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::{
    child::Control,
    task::Task,
    window::{Arrivals, Window},
};

/// Sends whole messages, in order.
pub trait Sink: Send + 'static {
    /// One message, one call; returns when the stack has taken it.
    fn send(&mut self, message: &[u8]) -> impl Future<Output = Result<()>> + Send;
}

/// Receives whole messages, in order.
pub trait Source: Send + 'static {
    /// The next message.
    fn next(&mut self) -> impl Future<Output = Result<Bytes>> + Send;
}

/// The server of [`Task::Send`] and [`Task::Request`], until the other side is gone.
///
/// # Errors
/// The connection's.
pub async fn serve(
    mut sink: impl Sink,
    mut source: impl Source,
    task: Task,
    control: Control,
) -> Result<()> {
    match task {
        Task::Send { size, count, window } => {
            let arrivals = Arrivals::new(count, size, window, control);
            loop {
                if let Some(acknowledgement) = arrivals.arrived(&source.next().await?) {
                    sink.send(&acknowledgement).await?;
                }
            }
        }
        _ => loop {
            let question = source.next().await?;
            sink.send(&question).await?;
        },
    }
}

/// The driver of [`Task::Send`] and [`Task::Request`]; returns when the runner has stopped it.
///
/// # Errors
/// The connection's.
pub async fn drive(
    mut sink: impl Sink,
    mut source: impl Source,
    task: Task,
    control: &Control,
) -> Result<()> {
    match task {
        Task::Send { size, count, window } => {
            let window = Window::new(window);
            let opened = window.clone();
            let reader = tokio::spawn(async move {
                while let Ok(acknowledgement) = source.next().await {
                    opened.acknowledged(&acknowledgement);
                }
            });
            let mut message = crate::message(0, size);
            control.started().await?;
            for number in 0..count {
                window.enter().await?;
                message[..8].copy_from_slice(&number.to_be_bytes());
                sink.send(&message).await?;
            }
            control.stopped().await?;
            reader.abort();
        }
        Task::Request { size, count, in_flight: 1 } => {
            let question = crate::message(0, size);
            control.started().await?;
            for _ in 0..count {
                sink.send(&question).await?;
                assert_eq!(source.next().await?.len(), size, "not the answer");
            }
            control.complete();
            control.stopped().await?;
        }
        Task::Request { size, count, in_flight } => {
            let window = Window::new(in_flight);
            let (opened, told) = (window.clone(), control.clone());
            let reader = tokio::spawn(async move {
                for _ in 0..count {
                    assert_eq!(source.next().await?.len(), size, "not the answer");
                    opened.leave();
                }
                told.complete();
                anyhow::Ok(())
            });
            let question = crate::message(0, size);
            control.started().await?;
            for _ in 0..count {
                window.enter().await?;
                sink.send(&question).await?;
            }
            control.stopped().await?;
            reader.abort();
        }
        _ => anyhow::bail!("a pipe does not do {task:?}"),
    }
    Ok(())
}

/// The longest message a pipe takes, bytes.
const MESSAGE_MAX: usize = 16 << 20;

/// Messages over a byte stream: a length of four bytes, then the body, in one write.
pub struct StreamSink<W> {
    stream: W,
    frame: Vec<u8>,
}

impl<W> StreamSink<W> {
    /// Over this stream.
    pub fn new(stream: W) -> Self {
        StreamSink { stream, frame: Vec::new() }
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for StreamSink<W> {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.frame.clear();
        self.frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.frame.extend_from_slice(message);
        // No flush: every stack sends what it has when its own task comes to it, and waiting for
        // that would serialise the sender with it.
        self.stream.write_all(&self.frame).await?;
        Ok(())
    }
}

/// The other end of a [`StreamSink`].
pub struct StreamSource<R> {
    stream: BufReader<R>,
}

impl<R: AsyncRead> StreamSource<R> {
    /// Over this stream, read in pieces of up to 64 KiB.
    pub fn new(stream: R) -> Self {
        StreamSource { stream: BufReader::with_capacity(64 * 1024, stream) }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Source for StreamSource<R> {
    async fn next(&mut self) -> Result<Bytes> {
        let length = self.stream.read_u32().await? as usize;
        anyhow::ensure!(length <= MESSAGE_MAX, "a message of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body.into())
    }
}

/// Client nodes waiting to be used by the handshake tasks, `in_flight` workers taking them.
///
/// # Errors
/// The first failure of `connect`.
pub async fn connect_all<N, F, Fut>(nodes: Vec<N>, in_flight: usize, connect: F) -> Result<()>
where
    N: Send + 'static,
    F: Fn(N) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let nodes = Arc::new(Mutex::new(VecDeque::from(nodes)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (nodes, connect) = (nodes.clone(), connect.clone());
        workers.spawn(async move {
            loop {
                let node = nodes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(node) = node else { return anyhow::Ok(()) };
                connect(node).await?;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}
