//! The sections about running a node: store, administration, metrics, logs.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::{Backend, LogFormat, LogLevel, Optional, Span, schema::section};
use crate::address::Address;

section! {
    /// Where peers, bans and scores are kept.
    pub struct Store in store {
        /// What keeps them.
        pub backend: Backend = Backend::Auto;
        /// Their file or folder, relative to node.data_dir.
        pub path: PathBuf = PathBuf::from("peers");
        /// How long a change may wait to be written together with others. Bans and the
        /// identity are written at once. A guess: what a crash may cost.
        pub flush_interval: Span = Span::seconds(1), in Span::millis(10) => Span::minutes(1);
    }
}

section! {
    /// How an operator talks to the running node.
    pub struct Admin in admin {
        /// The Unix socket, relative to node.data_dir, mode 0600: who may open it may do
        /// everything. "none": no socket.
        pub socket: Optional<PathBuf> = Optional::Some(PathBuf::from("admin.sock"));
        /// A TCP address as well, loopback only, guarded by the token. "none": no TCP.
        pub listen: Optional<Address> = Optional::None;
        /// The token's file, relative to node.data_dir, made at the first start, mode 0600.
        pub token_file: PathBuf = PathBuf::from("admin.token");
    }
}

section! {
    /// Numbers for Prometheus, and probes.
    pub struct Metrics in metrics {
        /// Whether they are served.
        pub enabled: bool = true;
        /// Where `/metrics`, `/livez` and `/readyz` are served, without a token and read-only.
        pub listen: Address = Address::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 30_401);
    }
}

section! {
    /// What the node writes about itself, to standard error.
    pub struct Log in log {
        /// How much.
        pub level: LogLevel = LogLevel::Info;
        /// How a line looks.
        pub format: LogFormat = LogFormat::Terminal;
        /// Lines per second of one kind at most, and five times as many of all kinds but errors,
        /// so that nobody can flood the log. A guess: 100 lines a second can still be read.
        pub lines_per_second: u32 = 20, in 1 => 100_000;
    }
}
