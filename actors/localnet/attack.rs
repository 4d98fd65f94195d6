//! What the hostile node is told to send, through its admin socket like any operator's message.
//!
//! First invalid transactions, then spam, then an invalid block: together more than enough for a
//! ban, and each of them in the history that `explain` shows.

use std::time::Duration;

use bitcoin::{Amount, consensus::serialize};
use bytes::Bytes;
use peerstage_core::{kinds::Kind, messages::Topic};

use super::{
    LocalnetError,
    bitcoin::note::{Note, TOPIC},
    drive::Drive,
    member::View,
    plan::NodePlan,
    replay::Replay,
};
use crate::Payload;

/// Notes without postage; each costs a point of fifty.
const NOTES: u64 = 20;
/// How long everybody may take to refuse one step. A node that isn't connected to the hostile
/// one never does, which the report will say.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Attack<'d, 'a> {
    drive: &'d mut Drive<'a>,
    hostile: &'a NodePlan,
    replay: &'d Replay,
}

impl<'d, 'a> Attack<'d, 'a> {
    pub(super) fn new(drive: &'d mut Drive<'a>, hostile: &'a NodePlan, replay: &'d Replay) -> Self {
        Attack { drive, hostile, replay }
    }

    pub(super) async fn run(mut self) -> Result<(), LocalnetError> {
        let transactions = invalid_transactions(self.replay);
        self.send(Kind::Transaction, Topic(0), &transactions).await?;
        self.refused("lies", transactions.len()).await;
        let notes: Vec<Bytes> = (0..NOTES).map(|nonce| spam(nonce).encode()).collect();
        self.send(Kind::Custom, TOPIC, &notes).await?;
        self.refused("spam", transactions.len() + notes.len()).await;
        self.send(Kind::Block, Topic(0), &[invalid_block(self.replay)]).await?;
        let (liar, honest) = (self.hostile.node, self.drive.plan.honest().count());
        let banned =
            self.drive.of_honest(move |view: &View| usize::from(view.banned.contains(&liar)));
        self.drive.until("bans", honest, STEP_TIMEOUT, banned).await;
        Ok(())
    }

    async fn send(&self, kind: Kind, topic: Topic, bodies: &[Bytes]) -> Result<(), LocalnetError> {
        let remote = self.drive.remote(self.hostile.index)?;
        for body in bodies {
            remote.broadcast(kind, topic, body).await?;
        }
        Ok(())
    }

    /// Until every honest node has refused so many messages.
    async fn refused(&mut self, name: &str, each: usize) {
        let honest = self.drive.plan.honest().count();
        let refused =
            move |view: &View| usize::try_from(view.facts.refused).unwrap_or(usize::MAX).min(each);
        let refused = self.drive.of_honest(refused);
        self.drive.until(name, honest * each, STEP_TIMEOUT, refused).await;
    }
}

/// One that makes money from nothing, and one that is cut short.
fn invalid_transactions(replay: &Replay) -> Vec<Bytes> {
    let Some(valid) = replay.block.txdata.last() else { return Vec::new() };
    let mut rich = valid.clone();
    rich.output.iter_mut().for_each(|output| output.value = Amount::MAX_MONEY + Amount::ONE_BTC);
    let mut short = serialize(valid);
    short.pop();
    vec![serialize(&rich).into(), short.into()]
}

/// A text that nobody paid for.
fn spam(nonce: u64) -> Note {
    Note::new(nonce, "buy now")
}

/// The real header over other transactions: proof of work is right, the merkle root isn't.
fn invalid_block(replay: &Replay) -> Bytes {
    let mut block = replay.block.clone();
    if block.txdata.len() > 1 {
        block.txdata.pop();
    } else {
        block.header.nonce ^= 1;
    }
    serialize(&block).into()
}

#[cfg(test)]
mod tests {
    use bitcoin::Target;

    use super::{
        super::{
            bitcoin::rules::{Invalid, check_block, check_transaction},
            replay::BUILT_IN,
        },
        *,
    };

    #[test]
    fn everything_that_is_sent_is_invalid_and_each_for_its_own_reason() {
        let replay = Replay::load(BUILT_IN).unwrap();
        let [rich, short] = invalid_transactions(&replay).try_into().unwrap();
        assert_eq!(check_transaction(&rich).unwrap_err(), Invalid::TooMuch);
        assert!(matches!(check_transaction(&short).unwrap_err(), Invalid::Unreadable(_)));
        let block = check_block(&invalid_block(&replay), Target::MAX_ATTAINABLE_MAINNET);
        assert_eq!(block.unwrap_err(), Invalid::MerkleRoot);
        assert!((0..NOTES).map(spam).all(|note| !note.is_paid()));
    }
}
