//! A real chain on Peerstage: one node replays a Bitcoin block, the other judges all of it.
//!
//! `cargo run --example bitcoin_replay`

mod bitcoin;

use ::bitcoin::consensus::{deserialize, serialize};
use bitcoin::{BitcoinChain, ledger::Role};
use peerstage::Network;

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let raw = bitcoin_test_data::blocks::mainnet_702861();
    let block: ::bitcoin::Block = deserialize(raw)?;

    let (alice, duties) = BitcoinChain::new(Role::Observer);
    let sender = alice.mount(Network::builder("bitcoin").listen("127.0.0.1:0")).start().await?;
    actix_rt::spawn(duties.perform(sender.clone()));

    let (bob, duties) = BitcoinChain::new(Role::Observer);
    let builder = Network::builder("bitcoin").listen("127.0.0.1:0");
    let builder = builder.bootstrap([sender.listening()[0].to_string()]);
    let receiver = bob.mount(builder).start().await?;
    actix_rt::spawn(duties.perform(receiver.clone()));

    sender.ready(1).await?;
    for transaction in block.txdata.iter().skip(1) {
        alice.submit_transaction(&sender, serialize(transaction).into()).await?;
    }
    alice.submit_block(&sender, bytes::Bytes::from_static(raw)).await?;
    let mut facts = bob.facts();
    let verified = facts.wait_for(|facts| !facts.blocks.is_empty()).await?.clone();
    println!("{} transactions, then {:?}", verified.transactions, verified.blocks);

    receiver.shutdown().await;
    sender.shutdown().await;
    Ok(())
}
