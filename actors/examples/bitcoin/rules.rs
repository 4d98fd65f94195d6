//! Bitcoin's rules that need nothing but the message itself: no coins, no scripts, no chain.
//!
//! # Security
//! Provided: proof of work against the block's own target and the network's easiest, the merkle
//! root and the witness commitment over every transaction, and the checks of Bitcoin Core's
//! `CheckTransaction`. Not provided: signatures, double spends, the difficulty of the height,
//! timestamps: they need the chain, and an example has none.

use std::collections::BTreeSet;

use bitcoin::{
    Amount, Block, Target, Transaction, Txid, Weight,
    consensus::{Decodable, deserialize, encode},
    hashes::Hash as _,
};

/// The heaviest block, and so the heaviest transaction (BIP141).
const WEIGHT_MAX: Weight = Weight::MAX_BLOCK;
/// Length of a coinbase's script, bytes: least and most (Bitcoin Core, `CheckTransaction`).
const COINBASE_SCRIPT: std::ops::RangeInclusive<usize> = 2..=100;

/// Why bytes are not a valid transaction or block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The bytes don't parse as what they claim to be, or more follow.
    #[error("does not parse: {0}")]
    Unreadable(String),
    /// A transaction that spends nothing.
    #[error("transaction without inputs")]
    NoInputs,
    /// A transaction that pays nobody.
    #[error("transaction without outputs")]
    NoOutputs,
    /// A transaction that spends one coin twice.
    #[error("transaction spends a coin twice")]
    SpentTwice,
    /// More than there will ever be.
    #[error("transaction pays more than 21 million bitcoin")]
    TooMuch,
    /// More than fits a block.
    #[error("weight {0} is more than a block may have")]
    TooHeavy(u64),
    /// A coinbase with a script that is too short or too long.
    #[error("coinbase with a script of {0} bytes")]
    CoinbaseScript(usize),
    /// Only coinbases spend the null coin.
    #[error("transaction spends the null coin")]
    NullCoin,
    /// A coinbase that isn't the first of a block.
    #[error("coinbase outside of the first place of a block")]
    LooseCoinbase,
    /// A block without transactions, or whose first is no coinbase.
    #[error("block without coinbase")]
    NoCoinbase,
    /// A target that is easier than the network allows.
    #[error("target is easier than the network's")]
    EasyTarget,
    /// The hash misses the target that the header names.
    #[error("proof of work misses its target")]
    ProofOfWork,
    /// The header commits to other transactions.
    #[error("merkle root does not match the transactions")]
    MerkleRoot,
    /// One transaction twice: another list with the same merkle root (CVE-2012-2459).
    #[error("transaction {0} is in the block twice")]
    Duplicate(Txid),
    /// The coinbase commits to other witnesses.
    #[error("witness commitment does not match the transactions")]
    WitnessCommitment,
}

/// A block that follows the rules.
#[derive(Clone, Debug)]
pub struct CheckedBlock {
    /// The block.
    pub block: Block,
    /// The id of each of its transactions, in order.
    pub txids: Vec<Txid>,
}

/// Judges a transaction on its own: a coinbase is none.
///
/// # Errors
/// [`Invalid`]: the rule it breaks.
pub fn check_transaction(bytes: &[u8]) -> Result<(Transaction, Txid), Invalid> {
    let transaction: Transaction = read(bytes)?;
    if transaction.is_coinbase() {
        return Err(Invalid::LooseCoinbase);
    }
    check_contents(&transaction)?;
    let txid = transaction.compute_txid();
    Ok((transaction, txid))
}

/// Judges a block. `easiest` is the network's easiest target: [`Target::MAX_ATTAINABLE_MAINNET`].
/// The cheap checks come first, so that junk costs little.
///
/// # Errors
/// [`Invalid`]: the first rule it breaks.
pub fn check_block(bytes: &[u8], easiest: Target) -> Result<CheckedBlock, Invalid> {
    let header = bytes.get(..80).unwrap_or(bytes);
    let header: bitcoin::block::Header = read(header)?;
    if header.target() > easiest {
        return Err(Invalid::EasyTarget);
    }
    if !header.target().is_met_by(header.block_hash()) {
        return Err(Invalid::ProofOfWork);
    }
    let block: Block = read(bytes)?;
    if block.weight() > WEIGHT_MAX {
        return Err(Invalid::TooHeavy(block.weight().to_wu()));
    }
    if !block.coinbase().is_some_and(Transaction::is_coinbase) {
        return Err(Invalid::NoCoinbase);
    }
    if block.txdata.iter().skip(1).any(Transaction::is_coinbase) {
        return Err(Invalid::LooseCoinbase);
    }
    let txids: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
    let hashes = txids.iter().map(|txid| txid.to_raw_hash());
    let root = bitcoin::merkle_tree::calculate_root(hashes);
    if root != Some(block.header.merkle_root.to_raw_hash()) {
        return Err(Invalid::MerkleRoot);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = txids.iter().find(|txid| !seen.insert(txid.to_byte_array())) {
        return Err(Invalid::Duplicate(*twice));
    }
    if !block.check_witness_commitment() {
        return Err(Invalid::WitnessCommitment);
    }
    block.txdata.iter().try_for_each(check_contents)?;
    Ok(CheckedBlock { block, txids })
}

fn read<T: Decodable>(bytes: &[u8]) -> Result<T, Invalid> {
    deserialize(bytes).map_err(|error: encode::Error| Invalid::Unreadable(error.to_string()))
}

/// Bitcoin Core's `CheckTransaction`.
fn check_contents(transaction: &Transaction) -> Result<(), Invalid> {
    if transaction.input.is_empty() {
        return Err(Invalid::NoInputs);
    }
    if transaction.output.is_empty() {
        return Err(Invalid::NoOutputs);
    }
    if transaction.weight() > WEIGHT_MAX {
        return Err(Invalid::TooHeavy(transaction.weight().to_wu()));
    }
    let mut paid = Amount::ZERO;
    for output in &transaction.output {
        paid = paid
            .checked_add(output.value)
            .filter(|paid| *paid <= Amount::MAX_MONEY)
            .ok_or(Invalid::TooMuch)?;
    }
    let coins: BTreeSet<_> = transaction.input.iter().map(|input| input.previous_output).collect();
    if coins.len() < transaction.input.len() {
        return Err(Invalid::SpentTwice);
    }
    match transaction.input.first() {
        Some(input) if transaction.is_coinbase() => {
            let length = input.script_sig.len();
            if COINBASE_SCRIPT.contains(&length) {
                Ok(())
            } else {
                Err(Invalid::CoinbaseScript(length))
            }
        }
        _ if coins.iter().any(bitcoin::OutPoint::is_null) => Err(Invalid::NullCoin),
        _ => Ok(()),
    }
}
