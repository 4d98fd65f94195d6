//! Messages that a story sends, and where each of them must arrive.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use peerstage::{Block, Transaction, Vote, core::kinds::Kind, testkit::cluster::Cluster};

/// What was sent so far, by whom.
#[derive(Default)]
pub struct Traffic {
    sent: Vec<(usize, Kind, Bytes)>,
}

impl Traffic {
    /// A node spreads a message of its own.
    pub async fn send(&mut self, cluster: &Cluster, from: usize, kind: Kind) {
        let text = format!("{kind} {} of node {from}", self.sent.len());
        let body = Bytes::from(text.into_bytes());
        self.sent.push((from, kind, body.clone()));
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

    /// Messages sent so far.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// What a node must have been handed; votes go to the first `validators` nodes alone.
    fn expected(&self, node: usize, validators: usize) -> BTreeSet<(Kind, Bytes)> {
        let meant = |kind: Kind| kind != Kind::Vote || node < validators;
        let others = self.sent.iter().filter(|(from, kind, _)| *from != node && meant(*kind));
        others.map(|(_, kind, body)| (*kind, body.clone())).collect()
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
            let mut expected = self.expected(*node, validators);
            if cluster.member(*node).lives() > 1 {
                let own = self.sent.iter().filter(|(from, ..)| from == node);
                expected.extend(own.map(|(_, kind, body)| (*kind, body.clone())));
            }
            for ((kind, body), count) in cluster.member(*node).inbox().counts() {
                let text = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(count, 1, "node {node} was handed {text:?} {count} times");
                assert!(expected.contains(&(kind, body)), "node {node} must not get {text:?}");
            }
        }
        assert_eq!(self.missing(cluster, nodes, validators), "");
    }
}
