//! A mempool that is an actix actor judges every transaction before it is forwarded.
//!
//! `cargo run --example actix_handlers`

use actix::{Actor, Context, Handler};
use peerstage::{Inbound, Network, Transaction, Verdict};

struct Mempool;

impl Actor for Mempool {
    type Context = Context<Self>;
}

impl Handler<Inbound<Transaction>> for Mempool {
    type Result = Verdict;

    fn handle(&mut self, inbound: Inbound<Transaction>, _: &mut Context<Self>) -> Verdict {
        match inbound.payload.0.as_ref() {
            b"" => Verdict::Reject("an empty transaction".to_owned()),
            _ => Verdict::Accept,
        }
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mempool = Mempool.start();
    let alice = Network::builder("pool").listen("127.0.0.1:0").start().await?;
    let bob = Network::builder("pool").bootstrap(alice.listening()).to(mempool.recipient());
    let bob = bob.start().await?;
    alice.ready(1).await?;
    let mut events = bob.subscribe();
    for text in ["alice pays bob 5", ""] {
        alice.broadcast(Transaction::from(text)).await?;
        let verdict = events.find(|what| what.verdict()).await.ok_or("bob stopped")?;
        println!("\"{text}\" is {verdict}");
    }
    Ok(())
}
