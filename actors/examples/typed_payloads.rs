//! A chain's own type, in a format of its choice, under a topic of its own.
//!
//! `cargo run --example typed_payloads`

use bytes::Bytes;
use peerstage::{Inbound, Kind, Network, Payload, PayloadError, Topic, Verdict};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Price(String, u64);

impl Payload for Price {
    const KIND: Kind = Kind::Custom;
    const TOPIC: Topic = Topic(7);

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn decode(bytes: Bytes) -> Result<Self, PayloadError> {
        serde_json::from_slice(&bytes).map_err(|error| PayloadError(error.to_string()))
    }
}

async fn judge(price: Inbound<Price>) -> Verdict {
    println!("{:?} arrived", price.payload);
    if price.payload.1 > 0 { Verdict::Accept } else { Verdict::Ignore }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let alice = Network::builder("prices").listen("127.0.0.1:0").start().await?;
    let bob = Network::builder("prices").bootstrap(alice.listening()).on(judge).start().await?;
    bob.ready(1).await?;
    let mut events = bob.subscribe();
    alice.broadcast(Price("BTC/EUR".to_owned(), 95_000)).await?;
    println!("{}", events.find(|what| what.verdict()).await.ok_or("bob stopped")?);
    Ok(())
}
