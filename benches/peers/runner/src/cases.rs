//! The cases, in one table.

use kit::Task;

/// What a case's first figure is, and what it is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// CPU seconds of both processes for 10^9 bytes of payload.
    SecondsPerGigabyte,
    /// CPU µs of both processes for each unit: message, round trip, connection or delivery.
    MicrosPerUnit,
    /// CPU seconds of all nodes for 100 messages.
    SecondsPerHundred,
    /// Resident KiB of the server for each connection.
    KibPerConnection,
    /// CPU µs of the sender alone for each unit.
    SenderMicrosPerUnit,
}

impl Figure {
    /// Its unit, for the table.
    pub fn unit(self, case: &Case) -> String {
        match self {
            Figure::SecondsPerGigabyte => "CPU s / GB".to_owned(),
            Figure::MicrosPerUnit => format!("CPU µs / {}", case.unit),
            Figure::SecondsPerHundred => "CPU s / 100 blocks".to_owned(),
            Figure::KibPerConnection => "KiB / connection".to_owned(),
            Figure::SenderMicrosPerUnit => format!("sender's CPU µs / {}", case.unit),
        }
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, for `BENCH_CASES`.
    pub name: &'static str,
    /// What happens, for the table.
    pub about: &'static str,
    /// What is asked of every stack.
    pub task: Task,
    /// What is compared.
    pub figure: Figure,
    /// What [`Task::units`] counts.
    pub unit: &'static str,
}

const MIB: usize = 1024 * 1024;
/// The window of the transactions, messages that have not reached everybody.
const TRANSACTIONS_WINDOW: u64 = 256;

const fn request(count: u64, in_flight: u64) -> Task {
    Task::Request { size: 256, count, in_flight }
}

const fn handshake(in_flight: usize) -> Task {
    Task::Handshake { count: 256, in_flight }
}

const fn blocks(nodes: usize) -> Task {
    Task::Broadcast { nodes, degree: 8, size: 128 * 1024, count: 100, window: 1 }
}

const fn transactions(nodes: usize) -> Task {
    let window = TRANSACTIONS_WINDOW;
    Task::Broadcast { nodes, degree: 8, size: 256, count: 10_000, window }
}

/// The table.
pub const CASES: [Case; 12] = [
    Case {
        name: "bulk",
        about: "messages of 1 MiB to the handler, 4 unacknowledged at most",
        task: Task::Send { size: MIB, count: 256, window: 4 },
        figure: Figure::SecondsPerGigabyte,
        unit: "message",
    },
    Case {
        name: "small",
        about: "messages of 256 B to the handler, one call each, 1,024 unacknowledged at most",
        task: Task::Send { size: 256, count: 200_000, window: 1_024 },
        figure: Figure::MicrosPerUnit,
        unit: "message",
    },
    Case {
        name: "request-1",
        about: "256 B there and back, one at a time",
        task: request(4_000, 1),
        figure: Figure::MicrosPerUnit,
        unit: "round trip",
    },
    Case {
        name: "request-64",
        about: "256 B there and back, 64 in flight",
        task: request(4_000, 64),
        figure: Figure::MicrosPerUnit,
        unit: "round trip",
    },
    Case {
        name: "handshake-1",
        about: "connections one after another, from client nodes that exist, until both can use it",
        task: handshake(1),
        figure: Figure::MicrosPerUnit,
        unit: "connection",
    },
    Case {
        name: "handshake-32",
        about: "the same, 32 at once",
        task: handshake(32),
        figure: Figure::MicrosPerUnit,
        unit: "connection",
    },
    Case {
        name: "idle",
        about: "1,000 connections that do nothing, over 10 s",
        task: Task::Idle { connections: 1_000, seconds: 10 },
        figure: Figure::KibPerConnection,
        unit: "connection",
    },
    Case {
        name: "blocks-16",
        about: "16 nodes, random graph of degree 8, 100 blocks of 128 KiB one after another",
        task: blocks(16),
        figure: Figure::SecondsPerHundred,
        unit: "delivery",
    },
    Case {
        name: "blocks-32",
        about: "32 nodes, the same",
        task: blocks(32),
        figure: Figure::SecondsPerHundred,
        unit: "delivery",
    },
    Case {
        name: "transactions-16",
        about: "16 nodes, random graph of degree 8, 10,000 transactions of 256 B from all, 256 on \
                their way at most",
        task: transactions(16),
        figure: Figure::MicrosPerUnit,
        unit: "delivery",
    },
    Case {
        name: "transactions-32",
        about: "32 nodes, the same",
        task: transactions(32),
        figure: Figure::MicrosPerUnit,
        unit: "delivery",
    },
    Case {
        name: "fanout-200",
        about: "20 messages of 128 KiB from one node to 200 peers in another process",
        task: Task::Fanout { peers: 200, size: 128 * 1024, count: 20 },
        figure: Figure::SenderMicrosPerUnit,
        unit: "delivery",
    },
];

/// The same task with a smaller count, for stacks that would take minutes; figures are per unit.
pub fn shortened(task: Task, by: u64) -> Task {
    match task {
        Task::Send { size, count, window } => Task::Send { size, count: count / by, window },
        Task::Broadcast { nodes, degree, size, count, window } => {
            Task::Broadcast { nodes, degree, size, count: count / by, window }
        }
        other => other,
    }
}
