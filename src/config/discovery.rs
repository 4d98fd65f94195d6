//! The section about finding nodes.

use super::{LanMode, Span, Text, schema::section};
use crate::address::{Address, Host};

section! {
    /// How nodes, and what they publish, are found.
    pub struct Discovery in discovery {
        /// Whether this node takes part in the distributed table of nodes (Kademlia): it answers
        /// who it knows, keeps signed values and provider records for others, and finds nodes
        /// for its own address book.
        pub kademlia: bool = true;
        /// How often a random place of the table is looked up, which feeds the address book. A
        /// guess: a dozen lookups an hour cost less than a ping a second.
        pub walk_interval: Span = Span::minutes(5), in Span::seconds(1) => Span::hours(24);
        /// Signed records kept for others at most; the default is up to 20 MiB.
        pub max_records: u32 = 16_384, in 0 => 1_000_000;
        /// Whether this node keeps registrations of namespaces for others: it is a rendezvous
        /// point then, and its record says so.
        pub rendezvous_point: bool = false;
        /// Names whose TXT records carry signed node records (`peerstage id --dns` prints one) and
        /// whose A and AAAA records are nodes at the port of the next key.
        pub dns_seeds: Vec<Text<Host>> = Vec::new();
        /// The port at the A and AAAA records of the seeds.
        pub dns_seed_port: u16 = 30_400, in 1 => 65_535;
        /// The DNS servers to ask for the seeds, IP:PORT. Empty: the system's.
        pub dns_servers: Vec<Address> = Vec::new();
        /// How often the seeds are asked while too few peers are connected; with jitter of a
        /// quarter, for ever. Bitcoin asks once, after 11 s without peers.
        pub dns_interval: Span = Span::seconds(30), in Span::millis(100) => Span::hours(24);
        /// Where nodes of this network are found by multicast DNS, and told of this one: nowhere,
        /// on interfaces with private addresses, or on all. What is found is dialled as a
        /// bootstrap node.
        pub lan: LanMode = LanMode::Off;
    }
}
