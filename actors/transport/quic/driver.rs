//! quinn's tasks on this node's threads: what drives a connection goes where the connection goes.
//!
//! quinn hands the future that drives a connection to its runtime, once and for good. This one
//! remembers it, so that a handshake is driven on the thread for handshakes, and the connection
//! that comes of it on its peer's (ADR 0014).

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    thread::{self, ThreadId},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::{
    task::AbortHandle,
    time::{Sleep, sleep_until},
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// While a connection is begun on this thread, what drives it.
    static BEGUN: RefCell<Option<Option<Driver>>> = const { RefCell::new(None) };
}

/// Tokio, with tasks and timers that can change threads.
#[derive(Debug)]
pub(super) struct MovableRuntime;

/// What drives a connection. Dropping it leaves the connection where it is driven.
pub(super) struct Driver {
    task: Arc<Mutex<Option<Task>>>,
    here: AbortHandle,
}

impl Driver {
    /// Begins a connection on the current thread; what drives it, if anything does.
    pub(super) fn of<T>(begin: impl FnOnce() -> T) -> (T, Option<Self>) {
        BEGUN.set(Some(None));
        let begun = begin();
        (begun, BEGUN.take().flatten())
    }

    fn new(task: Task) -> Self {
        let task = Arc::new(Mutex::new(Some(task)));
        let shared = Arc::clone(&task);
        let running = tokio::spawn(poll_fn(move |cx| poll_shared(&shared, cx)));
        Driver { task, here: running.abort_handle() }
    }

    /// From now on the current thread drives the connection.
    pub(super) fn move_here(self) {
        // Poisoned: it has panicked, and what waits for the connection is told so by quinn.
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            tokio::spawn(task);
        }
        self.here.abort();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

impl Runtime for MovableRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(MovableTimer::new(at))
    }

    fn spawn(&self, task: Task) {
        BEGUN.with_borrow_mut(|begun| match begun {
            Some(driver) => *driver = Some(Driver::new(task)),
            // An endpoint's, which stays.
            None => drop(tokio::spawn(task)),
        });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// Polls a task until it is done or was taken elsewhere.
fn poll_shared(shared: &Mutex<Option<Task>>, cx: &mut Context<'_>) -> Poll<()> {
    let Ok(mut place) = shared.lock() else { return Poll::Ready(()) };
    let Some(task) = place.as_mut() else { return Poll::Ready(()) };
    let polled = task.as_mut().poll(cx);
    if polled.is_ready() {
        *place = None;
    }
    polled
}

/// A timer of the thread that waits for it.
#[derive(Debug)]
struct MovableTimer {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
    thread: ThreadId,
}

impl MovableTimer {
    fn new(at: Instant) -> Self {
        let thread = thread::current().id();
        MovableTimer { at, sleep: Box::pin(sleep_until(at.into())), thread }
    }
}

impl AsyncTimer for MovableTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.thread != thread::current().id() {
            *self = MovableTimer::new(self.at);
        }
        Future::poll(self.sleep.as_mut(), cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use peerstage_core::{
        handshake::PqPolicy,
        identity::{Keypair, NetworkId},
        kinds::Lane,
    };
    use tokio::{runtime, sync::oneshot};

    use super::*;
    use crate::transport::quic::{
        QuicListener, QuicTransport,
        channel::{LanesIn, LanesOut},
    };

    const TIMEOUT_MS: u64 = 5_000;

    fn runtime() -> runtime::Runtime {
        runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Two nodes whose sockets are read on a thread of their own, and one's listener.
    fn nodes() -> ([QuicTransport; 2], QuicListener) {
        let (tell, told) = oneshot::channel();
        // It ends with the test's process.
        thread::spawn(|| {
            runtime().block_on(async {
                let nodes = [1, 2].map(|seed| {
                    let keypair = Keypair::from_seed(&[seed; 32]);
                    QuicTransport::new(keypair, NetworkId([9; 32]), PqPolicy::Prefer)
                });
                nodes.iter().for_each(QuicTransport::settle_here);
                let anywhere = "/ip4/127.0.0.1/udp/0/quic".parse().unwrap();
                let listener = nodes[1].listen(anywhere).unwrap();
                tell.send((nodes, listener)).unwrap();
                pending::<()>().await;
            });
        });
        told.blocking_recv().unwrap()
    }

    async fn write(out: &mut LanesOut, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| out.poll_write(Lane::Blocks as usize, cx, bytes)).await;
            bytes = &bytes[count.unwrap()..];
        }
    }

    async fn read(lanes: &mut LanesIn, wanted: usize) -> usize {
        let (mut count, mut space) = (0, vec![0; 64 * 1024]);
        while count < wanted {
            let read = poll_fn(|cx| {
                while let Poll::Ready(new) = lanes.poll_new(cx) {
                    new?;
                }
                lanes.poll_read(Lane::Blocks, cx, &mut space)
            });
            count += read.await.unwrap();
        }
        count
    }

    /// The handshake's thread is gone, and with it its timers; packets and acknowledgements go on.
    #[test]
    fn a_connection_outlives_the_thread_of_its_handshake() {
        let ([ours, theirs], mut listener) = nodes();
        let shake_hands = thread::spawn(move || {
            let ends = runtime().block_on(async {
                let accept = async { listener.accept().await.unwrap().secure(TIMEOUT_MS).await };
                tokio::join!(ours.dial(listener_address(&theirs), None, TIMEOUT_MS), accept)
            });
            (ends.0.unwrap(), ends.1.unwrap(), ours, theirs)
        });
        let (dialled, accepted, _ours, _theirs) = shake_hands.join().unwrap();
        let (_in, mut out) = dialled.into_lanes();
        let (mut lanes, mut back) = accepted.into_lanes();
        runtime().block_on(async {
            out.move_here();
            back.move_here();
            // More than a window: it takes many round trips and their timers.
            let block = vec![7; 4 << 20];
            let both = async { tokio::join!(write(&mut out, &block), read(&mut lanes, 4 << 20)) };
            let limit = std::time::Duration::from_secs(30);
            let ((), count) = tokio::time::timeout(limit, both).await.expect("it arrives");
            assert_eq!(count, 4 << 20);
        });
    }

    fn listener_address(node: &QuicTransport) -> peerstage_core::address::Address {
        let socket = node.sockets()[0].local_addr().unwrap();
        crate::transport::quic::over_quic(socket)
    }
}
