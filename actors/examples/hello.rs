//! Two nodes say hello: the shortest program that spreads a block.
//!
//! `cargo run --example hello`

use peerstage::{Block, Inbound, Network, Verdict};

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let alice = Network::builder("hello").listen("127.0.0.1:0").start().await?;
    let (seen, mut blocks) = tokio::sync::mpsc::channel(1);
    let bob = Network::builder("hello")
        .listen("127.0.0.1:0")
        .bootstrap(alice.listening())
        .on(move |block: Inbound<Block>| {
            let seen = seen.clone();
            async move {
                let _ = seen.send(block.payload).await;
                Verdict::Accept
            }
        })
        .start()
        .await?;

    alice.ready(1).await?;
    let delivery = alice.broadcast(Block::from("the first block")).await?;
    println!("queued to {} peer", delivery.queued);
    let block = blocks.recv().await.ok_or("bob stopped")?;
    println!("bob received: {}", String::from_utf8_lossy(&block.0));

    bob.shutdown().await;
    alice.shutdown().await;
    Ok(())
}
