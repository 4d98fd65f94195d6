//! What a stack is asked to do, the same for all of them.

use serde::{Deserialize, Serialize};

/// One task. Sizes are bytes of the user's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// The driver sends `count` messages to the server's handler, one call each. At most `window`
    /// are unacknowledged; the handler acknowledges every half window with a message of 8 bytes.
    Send {
        /// Bytes of a message.
        size: usize,
        /// Messages.
        count: u64,
        /// Messages on their way at most.
        window: u64,
    },
    /// The driver asks, the server answers with the question, `in_flight` at a time.
    Request {
        /// Bytes of a question and of an answer.
        size: usize,
        /// Questions.
        count: u64,
        /// Questions without an answer at most.
        in_flight: u64,
    },
    /// Client nodes that exist already connect, each once, until both sides can use the
    /// connection.
    Handshake {
        /// Connections.
        count: usize,
        /// Attempts at once.
        in_flight: usize,
    },
    /// Connections that do nothing.
    Idle {
        /// Connections, each of a client node of its own.
        connections: usize,
        /// How long the measured silence is.
        seconds: u64,
    },
    /// All nodes in one process, each sending its share to all others; `window` messages that have
    /// not reached everybody at most.
    Broadcast {
        /// Nodes.
        nodes: usize,
        /// Neighbours of a node in the random graph.
        degree: usize,
        /// Bytes of a message.
        size: usize,
        /// Messages of all nodes together.
        count: u64,
        /// Messages that have not reached everybody at most.
        window: u64,
    },
    /// One node sends each message to all its peers, which are in another process.
    Fanout {
        /// Peers.
        peers: usize,
        /// Bytes of a message.
        size: usize,
        /// Messages, one after another.
        count: u64,
    },
}

impl Task {
    /// Whether one process holds all nodes.
    #[must_use]
    pub fn in_one_process(&self) -> bool {
        matches!(self, Task::Broadcast { .. })
    }

    /// How many processes say that the work is done before the clocks stop.
    #[must_use]
    pub fn completions(&self) -> usize {
        if matches!(self, Task::Handshake { .. }) { 2 } else { 1 }
    }

    /// What figures are divided by: messages, round trips, connections or deliveries.
    #[must_use]
    pub fn units(&self) -> u64 {
        match *self {
            Task::Send { count, .. } | Task::Request { count, .. } => count,
            Task::Handshake { count, .. } => count as u64,
            Task::Idle { connections, .. } => connections as u64,
            Task::Broadcast { nodes, count, .. } => (nodes as u64 - 1) * count,
            Task::Fanout { peers, count, .. } => peers as u64 * count,
        }
    }
}
