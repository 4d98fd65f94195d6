//! What a program holds of the simulated network: streams and listeners.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use peerstage_core::address::Address;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Io, Link, Listener, Shared, end::EndId};

pub(super) struct SimStream {
    pub(super) shared: Arc<Shared>,
    pub(super) id: EndId,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.shared.with(|fabric, now| fabric.poll_read(now, self.id, cx, buffer))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.with(|fabric, now| fabric.poll_write(now, self.id, cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.with(|fabric, now| fabric.on_shutdown(now, self.id)))
    }
}

impl Io for SimStream {
    fn move_here(self: Box<Self>) -> io::Result<Box<dyn Io>> {
        Ok(self)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.shared.with(|fabric, now| fabric.on_stream_dropped(now, self.id));
    }
}

pub(super) struct SimListener {
    pub(super) shared: Arc<Shared>,
    pub(super) local: Address,
    pub(super) id: u64,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&mut self) -> io::Result<Link> {
        let accepted = std::future::poll_fn(|cx| {
            self.shared.with(|fabric, _| fabric.poll_accept(self.local, self.id, cx))
        });
        let (id, remote) = accepted.await?;
        let stream = SimStream { shared: self.shared.clone(), id };
        Ok(Link { io: Box::new(stream), local: self.local, remote })
    }

    fn local(&self) -> Address {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let (local, id) = (self.local, self.id);
        self.shared.with(|fabric, now| fabric.on_listener_dropped(now, local, id));
    }
}
