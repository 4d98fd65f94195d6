//! A chain on Peerstage: Bitcoin's transactions and blocks, judged before they are passed on,
//! and a small set of validators that votes for each block.
//!
//! This is an example of the public interface and nothing else: `peerstage localnet` mounts it
//! as any chain would be mounted.
//!
//! # Security
//! Provided: nothing is forwarded before its verdict, every refusal names the broken rule, and
//! what is remembered is bounded. Not provided: what `rules` leaves out.

#![allow(dead_code, unreachable_pub, reason = "each program takes the parts that it needs")]

pub mod ledger;
pub mod note;
pub mod rules;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::{Target, hashes::Hash as _};
use bytes::Bytes;
use peerstage::{
    Block, Builder, Inbound, Network, Proposal, SendError, Transaction, Verdict, Vote,
    clock::Clock,
    core::{identity::NodeId, scoring::Report, time::Time},
};
use tokio::sync::{mpsc, watch};

use self::{
    ledger::{BlockFacts, Duty, Facts, Ledger, Role, read_hash},
    note::Note,
    rules::{CheckedBlock, Invalid},
};

/// Duties that wait to be done at most; more are dropped, as a validator that is too slow would.
const DUTIES_MAX: usize = 1_024;
/// What a note without postage costs its sender, points: fifty of them ban.
const SPAM_POINTS: u64 = 1;

/// Why the chain would not send something of its own.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The network would not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The chain. Clones share one.
#[derive(Clone)]
pub struct BitcoinChain {
    ledger: Arc<Mutex<Ledger>>,
    facts: Arc<watch::Sender<Facts>>,
    duties: mpsc::Sender<Duty>,
    clock: Clock,
}

/// What the chain wants done; hand it the network with [`Duties::perform`].
pub struct Duties {
    chain: BitcoinChain,
    waiting: mpsc::Receiver<Duty>,
}

impl BitcoinChain {
    /// A chain that knows nothing yet. Call it on the runtime.
    #[must_use]
    pub fn new(role: Role) -> (BitcoinChain, Duties) {
        let (duties, waiting) = mpsc::channel(DUTIES_MAX);
        let chain = BitcoinChain {
            ledger: Arc::new(Mutex::new(Ledger::new(role))),
            facts: Arc::new(watch::Sender::new(Facts::default())),
            duties,
            clock: Clock::system(),
        };
        (chain.clone(), Duties { chain, waiting })
    }

    /// Makes this chain the judge of a node's blocks, transactions, notes, proposals and votes.
    pub fn mount(&self, builder: Builder) -> Builder {
        let [blocks, transactions, notes, proposals, votes] = std::array::from_fn(|_| self.clone());
        builder
            .configure(|config| config.relay.judge_custom = true)
            .on(move |block: Inbound<Block>| {
                let chain = blocks.clone();
                async move { chain.on_block(block.payload.0, block.first_byte).await }
            })
            .on(move |transaction: Inbound<Transaction>| {
                std::future::ready(transactions.on_transaction(&transaction.payload.0))
            })
            .on(move |note: Inbound<Note>| {
                std::future::ready(notes.on_note(&note.payload, note.from))
            })
            .on(move |proposal: Inbound<Proposal>| {
                std::future::ready(proposals.on_proposal(&proposal))
            })
            .on(move |vote: Inbound<Vote>| std::future::ready(votes.on_vote(&vote)))
    }

    /// What the chain knows, now and whenever it changes.
    #[must_use]
    pub fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.subscribe()
    }

    /// Broadcasts a transaction of our own.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_transaction(
        &self,
        network: &Network,
        bytes: Bytes,
    ) -> Result<(), SubmitError> {
        let (_, txid) = rules::check_transaction(&bytes)?;
        self.change(|ledger, _| ledger.on_transaction(txid));
        network.broadcast(Transaction(bytes)).await?;
        Ok(())
    }

    /// Broadcasts a block of our own.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit_block(&self, network: &Network, bytes: Bytes) -> Result<(), SubmitError> {
        let first_byte = self.clock.now();
        let checked = verify(bytes.clone()).await?;
        // First the block, then the proposal that follows from knowing it.
        network.broadcast(Block(bytes)).await?;
        self.change(|ledger, duties| self.remember(ledger, checked, first_byte, duties));
        Ok(())
    }

    async fn on_block(&self, bytes: Bytes, first_byte: Time) -> Verdict {
        match verify(bytes).await {
            Ok(checked) => self.change(|ledger, duties| {
                match self.remember(ledger, checked, first_byte, duties) {
                    true => Verdict::Accept,
                    false => Verdict::Ignore,
                }
            }),
            Err(invalid) => self.refuse(&invalid),
        }
    }

    fn on_transaction(&self, bytes: &[u8]) -> Verdict {
        match rules::check_transaction(bytes) {
            // The same transaction with another witness is nobody's fault, and no news.
            Ok((_, txid)) => self.change(|ledger, _| match ledger.on_transaction(txid) {
                true => Verdict::Accept,
                false => Verdict::Ignore,
            }),
            Err(invalid) => self.refuse(&invalid),
        }
    }

    fn on_note(&self, note: &Note, from: NodeId) -> Verdict {
        self.change(|ledger, duties| {
            if note.is_paid() {
                ledger.on_note();
                return Verdict::Accept;
            }
            ledger.on_refused();
            duties.push(Duty::ReportSpam(from));
            Verdict::Ignore
        })
    }

    fn on_proposal(&self, proposal: &Inbound<Proposal>) -> Verdict {
        let hash = read_hash(&proposal.payload.0);
        let (Some(hash), Some(origin)) = (hash, proposal.origin) else {
            return Verdict::Reject("a proposal names one block".to_owned());
        };
        self.change(|ledger, duties| match ledger.on_proposal(origin, hash, duties) {
            true => Verdict::Accept,
            false => Verdict::Ignore,
        })
    }

    fn on_vote(&self, vote: &Inbound<Vote>) -> Verdict {
        let (Some(hash), Some(origin)) = (read_hash(&vote.payload.0), vote.origin) else {
            return Verdict::Reject("a vote names one block".to_owned());
        };
        self.change(|ledger, _| ledger.on_vote(origin, hash));
        Verdict::Accept
    }

    fn refuse(&self, invalid: &Invalid) -> Verdict {
        self.change(|ledger, _| ledger.on_refused());
        Verdict::Reject(invalid.to_string())
    }

    fn remember(
        &self,
        ledger: &mut Ledger,
        checked: CheckedBlock,
        first_byte: Time,
        duties: &mut Vec<Duty>,
    ) -> bool {
        let CheckedBlock { block, txids } = checked;
        let facts = BlockFacts {
            hash: block.block_hash(),
            height: block.bip34_block_height().ok(),
            transactions: txids.len(),
            known: ledger.known(&txids),
            first_byte,
            verified: self.clock.now(),
            votes: 0,
        };
        ledger.on_block(facts, duties)
    }

    /// One change of what is known, then everything that follows from it.
    fn change<R>(&self, change: impl FnOnce(&mut Ledger, &mut Vec<Duty>) -> R) -> R {
        let mut duties = Vec::new();
        let mut ledger = self.lock();
        let result = change(&mut ledger, &mut duties);
        // Under the lock, so that an older state never replaces a newer one.
        self.facts.send_replace(ledger.facts());
        drop(ledger);
        for duty in duties {
            if self.duties.try_send(duty).is_err() {
                tracing::warn!("the chain has more to do than it can");
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duties {
    /// Proposes, votes, reports and publishes until the last clone of the chain is gone.
    pub async fn perform(self, network: Network) {
        let Duties { chain, mut waiting } = self;
        let mut facts = chain.facts();
        drop(chain);
        loop {
            tokio::select! {
                duty = waiting.recv() => match duty {
                    Some(duty) => perform(&network, duty).await,
                    None => return,
                },
                changed = facts.changed() => match changed {
                    Ok(()) => network.publish(published(&facts.borrow_and_update())),
                    Err(_) => return,
                },
            }
        }
    }
}

async fn perform(network: &Network, duty: Duty) {
    let name = |hash: bitcoin::BlockHash| Bytes::copy_from_slice(hash.as_byte_array());
    let sent = match duty {
        Duty::Propose(hash) => network.broadcast(Proposal(name(hash))).await.map(drop),
        Duty::Vote(hash) => network.broadcast(Vote(name(hash))).await.map(drop),
        Duty::ReportSpam(peer) => {
            let report = Report::Fault(SPAM_POINTS);
            let told = network.report(peer, report, "spam: a note without postage").await;
            told.map_err(|_| SendError::Stopped)
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "the chain's duty was not done");
    }
}

/// Verification takes tens of milliseconds: not on a thread that others wait for.
async fn verify(bytes: Bytes) -> Result<CheckedBlock, Invalid> {
    let easiest = Target::MAX_ATTAINABLE_MAINNET;
    let check = move || rules::check_block(&bytes, easiest);
    let stopped = |_| Err(Invalid::Unreadable("the node is stopping".to_owned()));
    tokio::task::spawn_blocking(check).await.unwrap_or_else(stopped)
}

/// The facts as an operator sees them in the node's status.
fn published(facts: &Facts) -> Vec<(String, String)> {
    let mut lines = vec![
        ("transactions".to_owned(), facts.transactions.to_string()),
        ("refused".to_owned(), facts.refused.to_string()),
        ("blocks".to_owned(), facts.blocks.len().to_string()),
        ("proposals".to_owned(), facts.proposals.to_string()),
        ("votes".to_owned(), facts.votes.to_string()),
    ];
    if let Some(head) = facts.blocks.last() {
        lines.push(("head".to_owned(), head.hash.to_string()));
        lines.push(("head_transactions".to_owned(), head.transactions.to_string()));
        lines.push(("head_first_byte_ms".to_owned(), head.first_byte.0.to_string()));
        lines.push(("head_verified_ms".to_owned(), head.verified.0.to_string()));
        lines.extend(head.height.map(|height| ("height".to_owned(), height.to_string())));
    }
    lines
}
