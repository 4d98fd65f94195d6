//! Messages that a story sends, and where each of them must arrive.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use peerstage::{
    Block, Transaction, Vote,
    core::kinds::Kind,
    testkit::cluster::{Cluster, Member},
};

/// What was sent so far, by whom.
#[derive(Default)]
pub struct Traffic {
    sent: Vec<Sent>,
    /// Nodes that need not get a message, by its place in `sent`.
    excused: BTreeSet<(usize, usize)>,
}

struct Sent {
    from: usize,
    /// The life of the sender in which it was sent.
    life: u64,
    kind: Kind,
    body: Bytes,
}

impl Traffic {
    /// A node spreads a message of its own.
    pub async fn send(&mut self, cluster: &Cluster, from: usize, kind: Kind) {
        let text = format!("{kind} {} of node {from}", self.sent.len());
        let body = Bytes::from(text.into_bytes());
        let life = cluster.member(from).lives();
        self.sent.push(Sent { from, life, kind, body: body.clone() });
        let network = cluster.network(from);
        let sent = match kind {
            Kind::Block => network.broadcast(Block(body)).await,
            Kind::Transaction => network.broadcast(Transaction(body)).await,
            _ => network.broadcast(Vote(body)).await,
        };
        sent.expect("the message is sent");
    }

    /// A block and a transaction of each of these nodes.
    pub async fn send_from(&mut self, cluster: &Cluster, nodes: &[usize]) {
        for node in nodes {
            self.send(cluster, *node, Kind::Block).await;
            self.send(cluster, *node, Kind::Transaction).await;
        }
    }

    /// A vote of each of these nodes.
    pub async fn vote_from(&mut self, cluster: &Cluster, nodes: &[usize]) {
        for node in nodes {
            self.send(cluster, *node, Kind::Vote).await;
        }
    }

    /// A node has crashed: what nobody else has is lost with it.
    pub fn crashed(&mut self, cluster: &Cluster, node: usize) {
        for (place, sent) in self.sent.iter().enumerate() {
            let holds = |(index, member): (usize, &Member)| {
                let wrote_it = sent.from == index && sent.life == member.lives();
                let got_it = member.inbox().count(sent.kind, &sent.body) > 0;
                index != node && member.network().is_some() && (wrote_it || got_it)
            };
            if !cluster.members().iter().enumerate().any(holds) {
                self.excused.extend((0..cluster.members().len()).map(|node| (node, place)));
            }
        }
    }

    /// The clock of a node was wrong until now: it may have refused votes for their stamps, and
    /// others hers.
    pub fn clock_was_wrong(&mut self, cluster: &Cluster, wrong: usize) {
        for (place, sent) in self.sent.iter().enumerate().filter(|(_, s)| s.kind == Kind::Vote) {
            let everyone = 0..cluster.members().len();
            let refusing = everyone.filter(|node| sent.from == wrong || *node == wrong);
            self.excused.extend(refusing.map(|node| (node, place)));
        }
    }

    /// What a node may be handed, and whether it must be; votes go to the first `validators`
    /// nodes alone.
    fn meant_for(
        &self,
        node: usize,
        validators: usize,
    ) -> impl Iterator<Item = (&Sent, bool)> + use<'_> {
        let meant = move |sent: &Sent| sent.kind != Kind::Vote || node < validators;
        let others = self.sent.iter().enumerate().filter(move |(_, s)| s.from != node && meant(s));
        others.map(move |(place, sent)| (sent, !self.excused.contains(&(node, place))))
    }

    /// What a node must have been handed.
    fn expected(&self, node: usize, validators: usize) -> BTreeSet<(Kind, Bytes)> {
        let meant = self.meant_for(node, validators).filter(|(_, must)| *must);
        meant.map(|(sent, _)| (sent.kind, sent.body.clone())).collect()
    }

    /// What these nodes still lack, as text; empty if nothing.
    pub fn missing(&self, cluster: &Cluster, nodes: &[usize], validators: usize) -> String {
        let mut text = String::new();
        for node in nodes {
            let counts = cluster.member(*node).inbox().counts();
            for (kind, body) in self.expected(*node, validators) {
                if !counts.contains_key(&(kind, body.clone())) {
                    text += &format!("node {node} lacks {:?}; ", String::from_utf8_lossy(&body));
                }
            }
        }
        text
    }

    /// Waits until these nodes have everything; panics with what is missing after `limit`.
    pub async fn until_everywhere(
        &self,
        cluster: &Cluster,
        nodes: &[usize],
        validators: usize,
        limit: Duration,
    ) -> Duration {
        let complete = async |cluster: &Cluster| {
            nodes.iter().all(|node| {
                let counts = cluster.member(*node).inbox().counts();
                self.expected(*node, validators).iter().all(|wanted| counts.contains_key(wanted))
            })
        };
        let took = cluster.until(limit, complete).await;
        took.unwrap_or_else(|| {
            panic!("not everywhere in time: {}", self.missing(cluster, nodes, validators))
        })
    }

    /// Each of these nodes was handed exactly what it must, each message once. A node that was
    /// started again may be handed what it said in an earlier life.
    pub fn assert_exactly_once(&self, cluster: &Cluster, nodes: &[usize], validators: usize) {
        for node in nodes {
            let of_others = self.meant_for(*node, validators).map(|(sent, _)| sent);
            let lives = cluster.member(*node).lives();
            let own = self.sent.iter().filter(|sent| sent.from == *node && sent.life < lives);
            let allowed: BTreeSet<(Kind, Bytes)> =
                of_others.chain(own).map(|sent| (sent.kind, sent.body.clone())).collect();
            for ((kind, body), count) in cluster.member(*node).inbox().counts() {
                let text = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(count, 1, "node {node} was handed {text:?} {count} times");
                assert!(allowed.contains(&(kind, body)), "node {node} must not get {text:?}");
            }
        }
        assert_eq!(self.missing(cluster, nodes, validators), "");
    }
}
