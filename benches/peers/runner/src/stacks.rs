//! The stacks, in one table: where they are built, what they take part in, how they are set up.

/// One stack, or one variant of it.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Its name, for `BENCH_STACKS`.
    pub name: &'static str,
    /// The package that builds it.
    pub package: &'static str,
    /// Features of the package.
    pub features: Option<&'static str>,
    /// What its process is told.
    pub variant: &'static str,
    /// The cases it takes part in, beginnings of names.
    pub cases: &'static [&'static str],
    /// Cases in which it does a part of the messages only, and which part: beginnings of names.
    pub shortened: &'static [(&'static str, u64)],
    /// The crates whose versions are printed.
    pub crates: &'static [&'static str],
    /// How it is set up.
    pub settings: &'static str,
}

const PLAIN: Stack = Stack {
    name: "",
    package: "",
    features: None,
    variant: "",
    cases: &[],
    shortened: &[],
    crates: &[],
    settings: "",
};

const PAIR: &[&str] = &["bulk", "small", "request", "handshake", "idle"];
const ALL: &[&str] =
    &["bulk", "small", "request", "handshake", "idle", "blocks", "trans", "fanout"];

/// The stack that the others are compared with.
pub const OURS: &str = "peerstage";
/// Peerstage built with faster implementations of the same algorithms.
pub const OURS_ACCELERATED: &str = "peerstage-accelerated";

/// The table.
pub const STACKS: &[Stack] = &[
    Stack {
        name: OURS,
        package: "stack-peerstage",
        variant: "hybrid",
        cases: ALL,
        crates: &["peerstage"],
        settings: "default features; hybrid handshake; start() for two processes, start_here() on \
                   two threads where one process holds many nodes; memory store; room for a \
                   thousand peers, no search for peers, limits.rate_factor lifted",
        ..PLAIN
    },
    Stack {
        name: "peerstage-classical",
        package: "stack-peerstage",
        variant: "classical",
        cases: &["handshake"],
        crates: &["peerstage"],
        settings: "as peerstage, with the classical handshake",
        ..PLAIN
    },
    Stack {
        name: OURS_ACCELERATED,
        package: "stack-peerstage",
        features: Some("accelerated"),
        variant: "hybrid",
        cases: ALL,
        crates: &["peerstage"],
        settings: "as peerstage, built with the feature accelerated",
        ..PLAIN
    },
    Stack {
        name: "peerstage-accelerated-classical",
        package: "stack-peerstage",
        features: Some("accelerated"),
        variant: "classical",
        cases: &["handshake"],
        crates: &["peerstage"],
        settings: "both",
        ..PLAIN
    },
    Stack {
        name: "raw-tcp",
        package: "stack-raw",
        variant: "tcp",
        cases: &["bulk", "small", "request", "handshake", "idle", "blocks", "trans"],
        crates: &["tokio"],
        settings: "no protection: a floor; TCP_NODELAY, one write a message, 64 KiB read buffer; \
                   broadcast: a flood whose writers take all that waits into one write",
        ..PLAIN
    },
    Stack {
        name: "snow-tcp",
        package: "stack-raw",
        variant: "noise",
        cases: PAIR,
        crates: &["snow"],
        settings: "Noise XX 25519 ChaChaPoly SHA256, ring's cipher, full records: a floor",
        ..PLAIN
    },
    Stack {
        name: "libp2p-tcp",
        package: "stack-libp2p",
        variant: "tcp",
        cases: PAIR,
        crates: &["libp2p", "libp2p-stream"],
        settings: "TCP (nodelay), Noise, Yamux with default settings; a bare stream, one write a \
                   message",
        ..PLAIN
    },
    Stack {
        name: "libp2p-quic",
        package: "stack-libp2p",
        variant: "quic",
        cases: PAIR,
        crates: &["libp2p", "libp2p-stream"],
        settings: "QUIC with default settings; a bare stream, one write a message",
        ..PLAIN
    },
    Stack {
        name: "libp2p-request-response",
        package: "stack-libp2p",
        variant: "request-response",
        cases: &["request"],
        crates: &["libp2p"],
        settings: "TCP, Noise, Yamux; request_response with its CBOR codec's limits, raw bytes",
        ..PLAIN
    },
    Stack {
        name: "gossipsub-unsigned",
        package: "stack-libp2p",
        variant: "gossipsub-unsigned",
        cases: &["blocks", "trans", "fanout"],
        shortened: &[("trans", 5)],
        crates: &["libp2p"],
        settings: "default configuration, anonymous messages, ids from the content, room for \
                   blocks; TCP, Noise, Yamux",
        ..PLAIN
    },
    Stack {
        name: "gossipsub-signed",
        package: "stack-libp2p",
        variant: "gossipsub-signed",
        cases: &["blocks", "trans", "fanout"],
        shortened: &[("trans", 5)],
        crates: &["libp2p"],
        settings: "as gossipsub-unsigned, with signed messages and strict validation (its default)",
        ..PLAIN
    },
    Stack {
        name: "litep2p",
        package: "stack-litep2p",
        variant: "notifications",
        cases: &["bulk", "small", "handshake", "idle", "blocks", "trans", "fanout"],
        shortened: &[("trans", 5)],
        crates: &["litep2p"],
        settings: "TCP, Noise, Yamux with default settings; the notification protocol; broadcast: \
                   a flood written by hand on it",
        ..PLAIN
    },
    Stack {
        name: "litep2p-request-response",
        package: "stack-litep2p",
        variant: "request-response",
        cases: &["request"],
        crates: &["litep2p"],
        settings: "TCP, Noise, Yamux; the request-response protocol",
        ..PLAIN
    },
    Stack {
        name: "commonware",
        package: "stack-commonware",
        variant: "lookup",
        cases: ALL,
        crates: &["commonware-p2p", "commonware-runtime", "commonware-stream"],
        settings: "authenticated::lookup, Config::local, quotas and rates lifted, \
                   mailboxes of 4,096 and bursts above the window, its tokio \
                   runtime's defaults; broadcast: full mesh, each node sends to all; handshake: \
                   commonware-stream's dial and listen, which commonware-p2p uses",
        ..PLAIN
    },
    Stack {
        name: "tentacle",
        package: "stack-tentacle",
        variant: "tcp",
        cases: PAIR,
        crates: &["tentacle", "tentacle-secio"],
        settings: "TCP, secio, yamux with default settings; one protocol, its service handle",
        ..PLAIN
    },
    Stack {
        name: "quinn",
        package: "stack-quinn",
        variant: "quic",
        cases: PAIR,
        crates: &["quinn", "rustls"],
        settings: "rustls with ring, self-signed certificates checked by the client alone, default \
                   transport; a bidirectional stream, one write a message",
        ..PLAIN
    },
];

impl Stack {
    /// Whether it takes part in a case.
    pub fn takes_part(&self, case: &str) -> bool {
        self.cases.iter().any(|name| case.starts_with(name))
    }

    /// By how much its count is divided in a case.
    pub fn divisor(&self, case: &str) -> u64 {
        let found = self.shortened.iter().find(|(name, _)| case.starts_with(name));
        found.map_or(1, |(_, divisor)| *divisor)
    }

    /// The file name of its program: builds with features have names of their own.
    pub fn program(&self) -> String {
        match self.features {
            None => self.package.to_owned(),
            Some(features) => format!("{}-{features}", self.package),
        }
    }
}
