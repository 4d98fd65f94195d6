//! What the chain of the example knows, and what it has to do next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::{BlockHash, Txid, hashes::Hash as _};
use peerstage::core::{
    identity::{NodeId, PublicKey},
    time::Time,
};
use serde::{Deserialize, Serialize};

/// Transactions remembered by id, 32 bytes each; the oldest go first. A day of Bitcoin's.
pub const TRANSACTIONS_MAX: usize = 500_000;
/// Verified blocks remembered; the oldest go first. Half a day of Bitcoin's.
pub const BLOCKS_MAX: usize = 64;
/// Blocks that votes are counted for, known or not; the oldest go first.
pub const BALLOTS_MAX: usize = 2 * BLOCKS_MAX;

/// What this node does in the consensus of the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Verifies, and has no vote.
    Observer,
    /// Votes for what it has verified once the proposer proposed it.
    Validator {
        /// This validator.
        own: PublicKey,
        /// The validator that proposes.
        proposer: PublicKey,
    },
}

/// What the chain wants done on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Propose this block to the validators.
    Propose(BlockHash),
    /// Vote for this block.
    Vote(BlockHash),
    /// A neighbour sent spam.
    ReportSpam(NodeId),
}

/// What a node publishes about its chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Valid transactions that came as messages of their own.
    pub transactions: usize,
    /// Blocks, transactions and notes that were refused.
    pub refused: u64,
    /// Notes with postage.
    pub notes: u64,
    /// Proposals, its own included.
    pub proposals: usize,
    /// Votes, its own included.
    pub votes: usize,
    /// Verified blocks, in the order they were verified.
    pub blocks: Vec<BlockFacts>,
}

/// One verified block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFacts {
    /// Its hash.
    #[serde(with = "as_text")]
    pub hash: BlockHash,
    /// Its height, as its coinbase says (BIP34).
    pub height: Option<u64>,
    /// Its transactions.
    pub transactions: usize,
    /// Of these, the ones that had come as messages before.
    pub known: usize,
    /// When its first byte arrived.
    pub first_byte: Time,
    /// When it was verified.
    pub verified: Time,
    /// Votes for it, this node's own included.
    pub votes: usize,
}

#[derive(Debug, Default)]
struct Ballot {
    proposed: bool,
    voted: bool,
    votes: BTreeSet<PublicKey>,
}

/// The state.
#[derive(Debug)]
pub struct Ledger {
    role: Role,
    transactions: BTreeSet<Txid>,
    oldest_transactions: VecDeque<Txid>,
    blocks: VecDeque<BlockFacts>,
    ballots: BTreeMap<BlockHash, Ballot>,
    oldest_ballots: VecDeque<BlockHash>,
    refused: u64,
    notes: u64,
}

impl Ledger {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Ledger {
            role,
            transactions: BTreeSet::new(),
            oldest_transactions: VecDeque::new(),
            blocks: VecDeque::new(),
            ballots: BTreeMap::new(),
            oldest_ballots: VecDeque::new(),
            refused: 0,
            notes: 0,
        }
    }

    /// A valid transaction; whether it is news.
    pub fn on_transaction(&mut self, txid: Txid) -> bool {
        let news = self.transactions.insert(txid);
        if news {
            self.oldest_transactions.push_back(txid);
            if self.oldest_transactions.len() > TRANSACTIONS_MAX
                && let Some(oldest) = self.oldest_transactions.pop_front()
            {
                self.transactions.remove(&oldest);
            }
        }
        news
    }

    /// How many of these came as messages.
    #[must_use]
    pub fn known(&self, txids: &[Txid]) -> usize {
        txids.iter().filter(|txid| self.transactions.contains(*txid)).count()
    }

    /// A valid block; whether it is news.
    pub fn on_block(&mut self, block: BlockFacts, duties: &mut Vec<Duty>) -> bool {
        let hash = block.hash;
        if self.is_verified(&hash) {
            return false;
        }
        self.blocks.push_back(block);
        if self.blocks.len() > BLOCKS_MAX {
            self.blocks.pop_front();
        }
        if let Role::Validator { own, proposer } = self.role {
            if own == proposer {
                self.ballot(hash).proposed = true;
                duties.push(Duty::Propose(hash));
            }
            self.vote_when_due(hash, duties);
        }
        true
    }

    /// A validator proposed a block; whether it was its turn.
    pub fn on_proposal(
        &mut self,
        from: PublicKey,
        hash: BlockHash,
        duties: &mut Vec<Duty>,
    ) -> bool {
        let Role::Validator { proposer, .. } = self.role else { return false };
        if from == proposer {
            self.ballot(hash).proposed = true;
            self.vote_when_due(hash, duties);
        }
        from == proposer
    }

    /// A validator voted for a block.
    pub fn on_vote(&mut self, from: PublicKey, hash: BlockHash) {
        self.ballot(hash).votes.insert(from);
    }

    /// Something was refused.
    pub fn on_refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    /// A note with postage.
    pub fn on_note(&mut self) {
        self.notes = self.notes.saturating_add(1);
    }

    fn is_verified(&self, hash: &BlockHash) -> bool {
        self.blocks.iter().any(|block| block.hash == *hash)
    }

    /// The count of one block's votes, made when it is first asked for.
    fn ballot(&mut self, hash: BlockHash) -> &mut Ballot {
        if !self.ballots.contains_key(&hash) {
            self.oldest_ballots.push_back(hash);
            if self.oldest_ballots.len() > BALLOTS_MAX
                && let Some(oldest) = self.oldest_ballots.pop_front()
            {
                self.ballots.remove(&oldest);
            }
        }
        self.ballots.entry(hash).or_default()
    }

    fn vote_when_due(&mut self, hash: BlockHash, duties: &mut Vec<Duty>) {
        let Role::Validator { own, .. } = self.role else { return };
        let verified = self.is_verified(&hash);
        let ballot = self.ballot(hash);
        if verified && ballot.proposed && !ballot.voted {
            ballot.voted = true;
            ballot.votes.insert(own);
            duties.push(Duty::Vote(hash));
        }
    }

    /// What there is to publish.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let votes =
            |hash: &BlockHash| self.ballots.get(hash).map_or(0, |ballot| ballot.votes.len());
        let with_votes =
            |block: &BlockFacts| BlockFacts { votes: votes(&block.hash), ..block.clone() };
        Facts {
            transactions: self.transactions.len(),
            refused: self.refused,
            notes: self.notes,
            proposals: self.ballots.values().filter(|ballot| ballot.proposed).count(),
            votes: self.ballots.values().map(|ballot| ballot.votes.len()).sum(),
            blocks: self.blocks.iter().map(with_votes).collect(),
        }
    }
}

/// A block hash as proposals and votes carry it: 32 bytes, in the order they are hashed.
#[must_use]
pub fn read_hash(bytes: &[u8]) -> Option<BlockHash> {
    BlockHash::from_slice(bytes).ok()
}

/// A hash in JSON as people write it.
mod as_text {
    use std::str::FromStr;

    use bitcoin::BlockHash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &BlockHash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BlockHash, D::Error> {
        BlockHash::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
