//! The real block is accepted; every corruption is refused, with its reason.

use bitcoin::{
    Amount, Block, OutPoint, Target, Transaction, TxIn,
    consensus::{deserialize, serialize},
    hashes::Hash as _,
};
use peerstage::{Payload as _, core::identity::Keypair};

use super::{
    ledger::{BALLOTS_MAX, BlockFacts, Duty, Ledger, Role, read_hash},
    note::Note,
    rules::{CheckedBlock, Invalid, check_block, check_transaction},
};

fn raw() -> &'static [u8] {
    bitcoin_test_data::blocks::mainnet_702861()
}

fn block() -> Block {
    deserialize(raw()).unwrap()
}

fn judge(block: &Block) -> Result<CheckedBlock, Invalid> {
    check_block(&serialize(block), Target::MAX_ATTAINABLE_MAINNET)
}

/// An ordinary transaction of the block.
fn transaction() -> Transaction {
    block().txdata.swap_remove(1)
}

fn refusal(transaction: &Transaction) -> Invalid {
    check_transaction(&serialize(transaction)).unwrap_err()
}

#[test]
fn the_real_block_is_accepted_with_every_transaction() {
    let checked = judge(&block()).unwrap();
    let hash = "000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae";
    assert_eq!(checked.block.block_hash().to_string(), hash);
    assert_eq!(checked.block.bip34_block_height(), Ok(702_861));
    let mut txids = checked.txids.into_iter();
    assert!(txids.next().is_some(), "the coinbase");
    for (transaction, txid) in checked.block.txdata.iter().skip(1).zip(txids) {
        assert_eq!(check_transaction(&serialize(transaction)).unwrap().1, txid);
    }
}

#[test]
fn a_block_must_have_its_proof_of_work() {
    let mut other = block();
    other.header.nonce ^= 1;
    assert_eq!(judge(&other).unwrap_err(), Invalid::ProofOfWork);
}

#[test]
fn a_block_must_not_choose_a_target_easier_than_the_network() {
    let mut easy = block();
    easy.header.bits = Target::MAX_ATTAINABLE_REGTEST.to_compact_lossy();
    assert_eq!(judge(&easy).unwrap_err(), Invalid::EasyTarget);
}

#[test]
fn a_block_must_hold_the_transactions_its_header_names() {
    let mut shorter = block();
    shorter.txdata.pop();
    assert_eq!(judge(&shorter).unwrap_err(), Invalid::MerkleRoot);
    let mut swapped = block();
    swapped.txdata.swap(1, 2);
    assert_eq!(judge(&swapped).unwrap_err(), Invalid::MerkleRoot);
}

/// CVE-2012-2459: a list whose tail is repeated can have the same merkle root.
#[test]
fn a_transaction_must_not_be_in_a_block_twice() {
    let mut mutated = block();
    let count = mutated.txdata.len();
    // The last level that has an odd number of nodes is the one whose tail can be repeated.
    let tail = 1 << count.trailing_zeros();
    mutated.txdata.extend_from_within(count - tail..);
    let duplicate = mutated.txdata[count].compute_txid();
    assert_eq!(judge(&mutated).unwrap_err(), Invalid::Duplicate(duplicate));
}

#[test]
fn a_block_must_commit_to_its_witnesses() {
    let mut stripped = block();
    let witness = |input: &TxIn| !input.witness.is_empty();
    let found = stripped.txdata.iter_mut().skip(1).find(|tx| tx.input.iter().any(witness));
    found.unwrap().input.iter_mut().for_each(|input| input.witness.clear());
    assert_eq!(judge(&stripped).unwrap_err(), Invalid::WitnessCommitment);
}

#[test]
fn a_block_has_one_coinbase_and_has_it_first() {
    let mut without = block();
    without.txdata.remove(0);
    assert_eq!(judge(&without).unwrap_err(), Invalid::NoCoinbase);
    let mut empty = block();
    empty.txdata.clear();
    assert_eq!(judge(&empty).unwrap_err(), Invalid::NoCoinbase);
    let mut two = block();
    two.txdata.push(two.txdata[0].clone());
    assert_eq!(judge(&two).unwrap_err(), Invalid::LooseCoinbase);
}

#[test]
fn bytes_that_are_no_block_are_refused_wherever_they_end() {
    let easiest = Target::MAX_ATTAINABLE_MAINNET;
    for length in [0, 79, 80, 81, 1_000, raw().len() - 1] {
        let refused = check_block(&raw()[..length], easiest).unwrap_err();
        assert!(matches!(refused, Invalid::Unreadable(_)), "{length}: {refused}");
    }
    let mut longer = raw().to_vec();
    longer.push(0);
    assert!(matches!(check_block(&longer, easiest).unwrap_err(), Invalid::Unreadable(_)));
}

#[test]
fn a_transaction_must_keep_to_the_rules() {
    assert!(check_transaction(&serialize(&transaction())).is_ok());
    assert_eq!(refusal(&block().txdata[0]), Invalid::LooseCoinbase);

    let mut poor = transaction();
    poor.output.clear();
    assert_eq!(refusal(&poor), Invalid::NoOutputs);

    let mut rich = transaction();
    rich.output[0].value = Amount::MAX_MONEY + Amount::ONE_SAT;
    assert_eq!(refusal(&rich), Invalid::TooMuch);

    let mut richer = transaction();
    richer.output = vec![richer.output[0].clone(); 2];
    richer.output.iter_mut().for_each(|output| output.value = Amount::MAX_MONEY);
    assert_eq!(refusal(&richer), Invalid::TooMuch);

    let mut greedy = transaction();
    greedy.input.push(greedy.input[0].clone());
    assert_eq!(refusal(&greedy), Invalid::SpentTwice);

    let mut nobody = transaction();
    nobody.input.push(TxIn { previous_output: OutPoint::null(), ..TxIn::default() });
    assert_eq!(refusal(&nobody), Invalid::NullCoin);
}

#[test]
fn bytes_that_are_no_transaction_are_refused() {
    let bytes = serialize(&transaction());
    for length in 0..bytes.len() {
        let refused = check_transaction(&bytes[..length]).unwrap_err();
        assert!(matches!(refused, Invalid::Unreadable(_)), "{length}: {refused}");
    }
}

#[test]
fn a_note_needs_postage() {
    let paid = Note::paid("hello").unwrap();
    assert!(Note::decode(paid.encode()).unwrap().is_paid());
    let spam = (0..20).map(|nonce| Note::new(nonce, "buy now")).filter(Note::is_paid);
    assert_eq!(spam.count(), 0);
    assert!(Note::decode(b"short".as_slice().into()).is_err());
    assert!(Note::paid(&"a".repeat(281)).is_none());
}

fn verified(byte: u8) -> BlockFacts {
    BlockFacts {
        hash: read_hash(&[byte; 32]).unwrap(),
        height: None,
        transactions: 1,
        known: 0,
        first_byte: Default::default(),
        verified: Default::default(),
        votes: 0,
    }
}

#[test]
fn a_validator_votes_once_for_what_it_verified_and_the_proposer_proposed() {
    let [own, proposer, other] = [1, 2, 3].map(|seed| Keypair::from_seed(&[seed; 32]).public());
    let mut ledger = Ledger::new(Role::Validator { own, proposer });
    let (block, mut duties) = (verified(9), Vec::new());

    assert!(!ledger.on_proposal(other, block.hash, &mut duties), "not its turn");
    assert!(ledger.on_proposal(proposer, block.hash, &mut duties));
    assert_eq!(duties, [], "not verified yet");
    assert!(ledger.on_block(block.clone(), &mut duties));
    assert!(!ledger.on_block(block.clone(), &mut duties));
    assert_eq!(duties, [Duty::Vote(block.hash)]);

    ledger.on_vote(other, block.hash);
    ledger.on_vote(other, block.hash);
    assert_eq!(ledger.facts().votes, 2, "its own and another's");
}

#[test]
fn the_proposer_proposes_and_an_observer_only_watches() {
    let own = Keypair::from_seed(&[1; 32]).public();
    let (block, mut duties) = (verified(9), Vec::new());
    let mut proposer = Ledger::new(Role::Validator { own, proposer: own });
    proposer.on_block(block.clone(), &mut duties);
    assert_eq!(duties, [Duty::Propose(block.hash), Duty::Vote(block.hash)]);

    duties.clear();
    let mut observer = Ledger::new(Role::Observer);
    observer.on_block(block, &mut duties);
    assert_eq!((duties.len(), observer.facts().votes), (0, 0));
}

#[test]
fn votes_for_blocks_that_never_come_are_forgotten() {
    let own = Keypair::from_seed(&[1; 32]).public();
    let mut ledger = Ledger::new(Role::Validator { own, proposer: own });
    for number in 0..2 * BALLOTS_MAX as u64 {
        let hash = bitcoin::hashes::sha256d::Hash::hash(&number.to_le_bytes());
        ledger.on_vote(own, bitcoin::BlockHash::from_raw_hash(hash));
    }
    assert_eq!(ledger.facts().votes, BALLOTS_MAX);
}
