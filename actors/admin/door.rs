//! The door of a listener: a connection that waits for its client makes room for a newer one.
//!
//! # Security
//! Provided: whoever opens connections and sends nothing, half a request, or nothing more after
//! an answer, keeps neither the operator nor the probes out: the longest waiting connection is
//! closed for the newest. A request that was read to its end is never cut.
//! Not provided: a limit for one client; on a local socket all clients are the operator's.

use std::{
    any::Any,
    collections::BTreeMap,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use socket2::Socket;
use tokio::net::{TcpStream, UnixStream};

/// Connections to one listener that may wait for their clients. Below the number at which the
/// listener stops to accept, less what event streams may take.
pub(super) const WAITING_MAX: usize = 64;

/// The connections of one listener that wait for their clients.
#[derive(Clone, Default)]
pub(super) struct Door(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// In the order in which they began to wait.
    sockets: BTreeMap<u64, Arc<Socket>>,
}

/// A connection's place, for as long as the connection is there.
#[derive(Clone)]
pub(super) struct Guest(Arc<Place>);

struct Place {
    door: Door,
    socket: Arc<Socket>,
    /// Its number while it waits for its client.
    waits: Mutex<Option<u64>>,
}

impl Door {
    /// A connection came; `socket` is tokio's. The longest waiting one is closed if there are too
    /// many. `None` if the system has no descriptor left: such a connection can't be closed early.
    pub(super) fn enter(&self, socket: &dyn Any) -> Option<Guest> {
        let tcp = socket.downcast_ref::<TcpStream>().map(AsFd::as_fd);
        let open = tcp.or(socket.downcast_ref::<UnixStream>().map(AsFd::as_fd))?;
        let copy: OwnedFd = open.try_clone_to_owned().ok()?;
        let socket = Arc::new(Socket::from(copy));
        let guest = Guest(Arc::new(Place { door: self.clone(), socket, waits: Mutex::default() }));
        guest.waits();
        Some(guest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// It is the client's turn now: to send a request, or to leave.
    pub(super) fn waits(&self) {
        let mut waiting = self.0.door.lock();
        let mut number = self.0.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_some() {
            return;
        }
        if waiting.sockets.len() >= WAITING_MAX
            && let Some((_, longest)) = waiting.sockets.pop_first()
        {
            metrics::counter!("peerstage_admin_connections_closed_total").increment(1);
            // It may have gone by itself.
            let _ = longest.shutdown(Shutdown::Both);
        }
        let next = waiting.next;
        waiting.next = next.saturating_add(1);
        waiting.sockets.insert(next, Arc::clone(&self.0.socket));
        *number = Some(next);
    }

    /// Its request was read to the end: it is our turn.
    pub(super) fn is_served(&self) {
        self.0.leave();
    }
}

impl Place {
    fn leave(&self) {
        let number = self.waits.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = number {
            self.door.lock().sockets.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read},
        os::unix::net::UnixStream as Client,
    };

    use super::*;

    /// A client, and the server's end of its connection.
    fn connection() -> (Client, UnixStream) {
        let (client, server) = Client::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        server.set_nonblocking(true).unwrap();
        (client, UnixStream::from_std(server).unwrap())
    }

    fn is_closed(client: &mut Client) -> bool {
        match client.read(&mut [0]) {
            Ok(0) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }

    #[tokio::test]
    async fn the_longest_waiting_makes_room_and_the_served_does_not() {
        let (door, mut clients, mut guests) = (Door::default(), Vec::new(), Vec::new());
        for number in 0..WAITING_MAX + 3 {
            let (client, server) = connection();
            let guest = door.enter(&server).unwrap();
            match number {
                0 => guest.is_served(),
                1 => {
                    guest.is_served();
                    guest.waits();
                    // Once is enough.
                    guest.waits();
                }
                _ => {}
            }
            clients.push(client);
            guests.push((guest, server));
        }
        let closed: Vec<usize> =
            (0..clients.len()).filter(|n| is_closed(&mut clients[*n])).collect();
        assert_eq!(closed, [1, 2], "0 is being served");
        drop(guests);
        assert!(door.lock().sockets.is_empty());
        assert!(clients.iter_mut().all(is_closed), "no copy keeps a connection open");
    }

    #[tokio::test]
    async fn what_is_no_socket_has_no_place() {
        assert!(Door::default().enter(&"a file").is_none());
    }
}
