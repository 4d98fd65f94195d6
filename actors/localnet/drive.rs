//! The story: everybody meets, a block and its transactions spread, validators vote, a liar is
//! banned.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

use super::{
    LocalnetArgs, LocalnetError,
    attack::Attack,
    collect,
    launch::Launched,
    member::{Order, View},
    plan::{Part, Plan},
    progress::Progress,
    remote::Remote,
    replay::Replay,
    report::{Phases, Report},
};
use crate::clock::Clock;

/// How long a phase may take before the run goes on without its end, and fails. The whole demo
/// takes less than a minute.
const PHASE_TIMEOUT: Duration = Duration::from_secs(40);

/// The driver of one run.
pub(super) struct Drive<'a> {
    args: &'a LocalnetArgs,
    pub(super) plan: &'a Plan,
    pub(super) launched: &'a Launched,
    progress: &'a Progress,
    board: watch::Receiver<Vec<View>>,
    clock: Clock,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        args: &'a LocalnetArgs,
        plan: &'a Plan,
        launched: &'a Launched,
        progress: &'a Progress,
    ) -> Self {
        let board = launched.board();
        Drive { args, plan, launched, progress, board, clock: Clock::system() }
    }

    /// Plays the story to its end, however it goes.
    pub(super) async fn run(&mut self, replays: &[Replay]) -> Result<Report, LocalnetError> {
        let started = self.clock.now();
        let mut phases = Phases::default();
        let since = |clock: &Clock, start| clock.now().since(start);

        self.meet().await;
        phases.meet_ms = since(&self.clock, started);
        let met = self.views();

        let mut sent = BTreeSet::new();
        let mut random = ChaCha8Rng::seed_from_u64(self.args.seed);
        for replay in replays {
            let start = self.clock.now();
            self.send_transactions(replay, &mut sent, &mut random).await;
            phases.transactions_ms += since(&self.clock, start);
            let start = self.clock.now();
            self.send_block(replay).await;
            phases.blocks_ms += since(&self.clock, start);
        }
        let start = self.clock.now();
        if let (Some(hostile), Some(replay)) = (self.plan.hostile(), replays.last()) {
            Attack::new(self, hostile, replay).run().await?;
        }
        phases.attack_ms = since(&self.clock, start);
        phases.total_ms = since(&self.clock, started);
        collect::report(self, &met, replays, sent.len(), phases).await
    }

    /// Until everybody has as many peers as it should have, validators have each other, and the
    /// hostile node has everybody.
    async fn meet(&mut self) {
        let (least, validators) = (self.plan.degree_min(), self.plan.validators());
        let nodes = self.plan.nodes.len();
        let parts: Vec<Part> = self.plan.nodes.iter().map(|node| node.part).collect();
        let met = move |views: &[View]| {
            let met = |(view, part): (&View, &Part)| match part {
                Part::Validator => view.peers.len() >= least && view.validators + 1 >= validators,
                Part::Observer => view.peers.len() >= least,
                Part::Hostile => view.peers.len() + 1 >= nodes,
            };
            views.iter().zip(&parts).filter(|pair| met((pair.0, pair.1))).count()
        };
        self.until("nodes meet", nodes, PHASE_TIMEOUT, met).await;
    }

    /// Every transaction leaves from a random honest node.
    async fn send_transactions(
        &mut self,
        replay: &Replay,
        sent: &mut BTreeSet<bitcoin::Txid>,
        random: &mut ChaCha8Rng,
    ) {
        let honest: Vec<usize> = self.plan.honest().map(|node| node.index).collect();
        let mut places = vec![Vec::new(); honest.len()];
        for (place, transaction) in replay.block.txdata.iter().skip(1).enumerate() {
            sent.insert(transaction.compute_txid());
            let sender = random.random_range(0..honest.len());
            if let Some(places) = places.get_mut(sender) {
                places.push(place);
            }
        }
        for (index, places) in honest.iter().zip(places) {
            let replay = replay.name.clone();
            self.launched.order(*index, Order::Transactions { replay, places }).await;
        }
        let total = sent.len();
        let known = move |view: &View| view.facts.transactions.min(total);
        let spread = self.of_honest(known);
        self.until("transactions", total * honest.len(), PHASE_TIMEOUT, spread).await;
    }

    /// The first node takes the block. Done when everybody has verified it and every validator
    /// has every vote.
    async fn send_block(&mut self, replay: &Replay) {
        let order = Order::Block { replay: replay.name.clone() };
        self.launched.order(0, order).await;
        let hash = replay.hash;
        let verified =
            move |view: &View| view.facts.blocks.iter().filter(|block| block.hash == hash).count();
        let (honest, all) = (self.plan.honest().count(), self.plan.validators());
        let verified = self.of_honest(verified);
        self.until("block", honest, PHASE_TIMEOUT, verified).await;
        let votes = move |view: &View| {
            let block = view.facts.blocks.iter().find(|block| block.hash == hash);
            block.map_or(0, |block| block.votes.min(all))
        };
        let votes = self.of_honest(votes);
        self.until("votes", all * all, PHASE_TIMEOUT, votes).await;
    }

    /// The sum of a count over the honest nodes.
    pub(super) fn of_honest(
        &self,
        count: impl Fn(&View) -> usize + 'static,
    ) -> impl Fn(&[View]) -> usize + 'static {
        let honest: Vec<usize> = self.plan.honest().map(|node| node.index).collect();
        move |views| honest.iter().filter_map(|index| views.get(*index)).map(&count).sum()
    }

    /// Waits until `count` has reached `total`, a node is in trouble, or the time is over; whether
    /// it was reached.
    pub(super) async fn until(
        &mut self,
        name: &str,
        total: usize,
        limit: Duration,
        count: impl Fn(&[View]) -> usize,
    ) -> bool {
        let bar = self.progress.bar(name, total);
        let reached = self.board.wait_for(|views| {
            let now = count(views);
            bar.set_position(now as u64);
            now >= total || views.iter().any(View::is_in_trouble)
        });
        let reached = tokio::time::timeout(limit, reached).await;
        let reached = matches!(reached, Ok(Ok(views)) if count(&views) >= total);
        bar.abandon_with_message(if reached { "" } else { "incomplete" });
        reached
    }

    /// What all nodes look like now.
    pub(super) fn views(&self) -> Vec<View> {
        self.board.borrow().clone()
    }

    /// A node's admin socket.
    pub(super) fn remote(&self, index: usize) -> Result<&'a Remote, LocalnetError> {
        self.launched.remote(index).ok_or_else(|| LocalnetError::Admin {
            index,
            why: "the node was never started".to_owned(),
        })
    }
}
