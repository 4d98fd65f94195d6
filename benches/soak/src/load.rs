//! The nodes, and what they are kept busy with.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use peerstage::{
    Block, Builder, Inbound, Network, Payload, PayloadError, Proposal, Reply, Target, Topic,
    Transaction, Verdict, Vote,
    core::{
        config::{Config, Size, Span},
        identity::Keypair,
        kinds::Kind,
    },
};

use crate::Failure;

const NODES: u8 = 6;
const VALIDATORS: u8 = 4;
/// Where the nodes that stay listen.
const ANY_PORT: &str = "127.0.0.1:0";
/// Asked and answered with what was asked.
const ECHO: Topic = Topic(1);
/// What is sent in one round, and how long a round takes at least. A guess at a busy chain: five
/// blocks of 100 kB, 1,000 transactions and 100 votes a second, with requests and bulk beside.
const ROUND: Duration = Duration::from_millis(200);
const BLOCK_BYTES: usize = 100_000;
const TRANSACTIONS: u64 = 200;
const TRANSACTION_BYTES: usize = 256;
const VOTES: u64 = 20;
const REQUESTS: u64 = 10;
const DIRECT_BYTES: usize = 20_000;
/// How long the node that comes and goes stays, and stays away.
const VISIT: Duration = Duration::from_secs(3);
/// As how many it comes, in turn. With a start and an end a visit takes 6.2 s, so that each has
/// come twice, and all that is remembered of strangers is there, when a third of half an hour is
/// over.
const STRANGERS: u64 = 40;
/// Where they listen, each at an address of its own: who comes back is found where it was, and
/// the address books do not fill with places where nobody is any more.
const STRANGERS_PORT: u16 = 47_173;
/// Lines of a peer's history: two visits' worth.
const HISTORY_LINES: u32 = 16;
/// A peer is cut off so often.
const CUT: Duration = Duration::from_secs(7);

/// A message to one node.
struct Direct(Bytes);

impl Payload for Direct {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(2);

    fn encode(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        Ok(Direct(bytes))
    }
}

/// What was done.
#[derive(Default)]
struct Counts {
    rounds: Cell<u64>,
    refused: Cell<u64>,
    answered: Cell<u64>,
    visits: Cell<u64>,
    cuts: Cell<u64>,
}

/// Running nodes and the tasks that keep them busy.
pub(crate) struct Load {
    nodes: Vec<Network>,
    counts: Rc<Counts>,
}

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number + 1; 32])
}

/// On one machine all nodes share an address. Caches are small and short, so that they are full
/// when the warm-up ends.
fn configure(config: &mut Config) {
    let network = &mut config.network;
    network.max_outbound_per_group = 10_000;
    network.max_inbound_per_group = 10_000;
    network.max_inbound_per_ip = 10_000;
    network.allow_private_addresses = true;
    config.relay.expiration = Span::seconds(20);
    config.gossip.ttl = Span::seconds(10);
    config.gossip.cache_bytes = Size(8 << 20);
    // Ids are remembered for longer than stamps are good: 211 s, unless there is no room.
    config.relay.cache_size = 8_192;
    config.scoring.history_limit = HISTORY_LINES;
}

fn builder(number: u8, listen: &str) -> Builder {
    let builder = Network::builder("soak")
        .keypair(key(number))
        .listen(listen)
        .configure(configure)
        .validators((0..VALIDATORS).map(|number| key(number).public()))
        .on(|_: Inbound<Block>| async { Verdict::Accept })
        .on(|_: Inbound<Transaction>| async { Verdict::Accept })
        .on(|_: Inbound<Proposal>| async { Verdict::Accept })
        .on(|_: Inbound<Vote>| async { Verdict::Accept })
        .on(|_: Inbound<Direct>| async { Verdict::Accept })
        .serve(ECHO, |_, body| async move { Reply::Answer(body) });
    if number < VALIDATORS { builder.validator(key(number)) } else { builder }
}

impl Load {
    /// Starts the nodes, waits until they have met, and keeps them busy from then on.
    pub(crate) async fn start() -> Result<Load, Failure> {
        let mut nodes = vec![builder(0, ANY_PORT).start().await?];
        let first: Vec<String> = nodes[0].listening().iter().map(ToString::to_string).collect();
        for number in 1..NODES {
            nodes.push(builder(number, ANY_PORT).bootstrap(first.clone()).start().await?);
        }
        for node in &nodes {
            node.ready(1).await?;
        }
        let counts = Rc::<Counts>::default();
        for (number, node) in nodes.iter().enumerate() {
            let others: Vec<_> =
                nodes.iter().map(Network::id).filter(|id| *id != node.id()).collect();
            let to = others[number % others.len()];
            spawn(busy(number as u64, node.clone(), to, Rc::clone(&counts)));
        }
        spawn(visit(first, Rc::clone(&counts)));
        spawn(cut(nodes.clone(), Rc::clone(&counts)));
        Ok(Load { nodes, counts })
    }

    /// Stops everything; what was done, in words.
    pub(crate) async fn stop(self) -> String {
        let Counts { rounds, refused, answered, visits, cuts } = &*self.counts;
        let text = format!(
            "{} rounds, {} messages refused, {} requests answered, {} visits, {} cuts",
            rounds.get(),
            refused.get(),
            answered.get(),
            visits.get(),
            cuts.get()
        );
        for node in self.nodes {
            node.shutdown().await;
        }
        text
    }
}

fn spawn(work: impl Future<Output = ()> + 'static) {
    drop(actix_rt::spawn(work));
}

fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get() + count);
}

fn body(node: u64, round: u64, number: u64, length: usize) -> Vec<u8> {
    let mut body = format!("{node} {round} {number} ").into_bytes();
    body.resize(length, b'.');
    body
}

/// One node's part, until it stops.
async fn busy(node: u64, network: Network, to: peerstage::NodeId, counts: Rc<Counts>) {
    let validates = node < u64::from(VALIDATORS);
    let mut round = 0u64;
    while network.peers().await.is_ok() {
        let next = tokio::time::Instant::now() + ROUND;
        let mut sent = Vec::new();
        // Each node its round.
        if round % u64::from(NODES) == node {
            sent.push(network.broadcast(Block::from(body(node, round, 0, BLOCK_BYTES))).await);
        }
        for number in 0..TRANSACTIONS / u64::from(NODES) {
            let body = body(node, round, number, TRANSACTION_BYTES);
            sent.push(network.broadcast(Transaction::from(body)).await);
        }
        for number in 0..VOTES / u64::from(VALIDATORS) * u64::from(validates) {
            sent.push(network.broadcast(Vote::from(body(node, round, number, 64))).await);
        }
        sent.push(network.send(to, Direct(body(node, round, 0, DIRECT_BYTES).into())).await);
        add(&counts.refused, sent.iter().filter(|sent| sent.is_err()).count() as u64);
        for number in 0..REQUESTS / u64::from(NODES) + 1 {
            let question = body(node, round, number, 1_000);
            let answer = network.request(Target::Any, ECHO, question, Duration::from_secs(5));
            add(&counts.answered, u64::from(answer.await.is_ok()));
        }
        round += 1;
        add(&counts.rounds, 1);
        tokio::time::sleep_until(next).await;
    }
}

/// A node comes, stays for a while, goes, and comes again as somebody else; after the last as the first.
async fn visit(first: Vec<String>, counts: Rc<Counts>) {
    for number in 0u64.. {
        let stranger = 100 + (number % STRANGERS) as u8;
        let listen = format!("127.1.0.{stranger}:{STRANGERS_PORT}");
        match builder(stranger, &listen).bootstrap(first.clone()).start().await {
            Ok(node) => {
                tokio::time::sleep(VISIT).await;
                node.shutdown().await;
                add(&counts.visits, 1);
            }
            Err(error) => eprintln!("soak: no visit from {listen}: {error}"),
        }
        tokio::time::sleep(VISIT).await;
    }
}

/// Connections are cut, one after the other; the nodes find each other again.
async fn cut(nodes: Vec<Network>, counts: Rc<Counts>) {
    for node in nodes.iter().cycle() {
        tokio::time::sleep(CUT).await;
        let Ok(peers) = node.peers().await else { return };
        if let Some(peer) = peers.first() {
            add(&counts.cuts, u64::from(node.disconnect(peer.peer).await == Ok(true)));
        }
    }
}
