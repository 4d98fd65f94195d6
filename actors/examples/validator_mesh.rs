//! Three validators vote in the midst of a network: every validator hears, nobody else does.
//!
//! `cargo run --example validator_mesh`

use peerstage::{Inbound, Keypair, Network, Verdict, Vote};
use tokio::sync::mpsc;

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = [1, 2, 3].map(|number| Keypair::from_seed(&[number; 32]));
    let (heard, mut votes) = mpsc::channel(16);
    let mut nodes: Vec<Network> = Vec::new();
    for name in ["anna", "bert", "cleo", "observer"] {
        let heard = heard.clone();
        let mut node = Network::builder("votes")
            .listen("127.0.0.1:0")
            .bootstrap(nodes.iter().flat_map(Network::listening))
            .validators(keys.iter().map(Keypair::public))
            .on(move |vote: Inbound<Vote>| {
                let text = String::from_utf8_lossy(&vote.payload.0).into_owned();
                let _ = heard.try_send((name, text));
                async { Verdict::Accept }
            });
        if let Some(key) = keys.get(nodes.len()) {
            node = node.validator(key.clone());
        }
        nodes.push(node.start().await?);
    }
    nodes[3].ready(3).await?;
    for (validator, text) in nodes.iter().zip(["anna votes", "bert votes", "cleo votes"]) {
        validator.broadcast(Vote::from(text)).await?;
    }
    for _ in 0..6 {
        let (name, text) = votes.recv().await.ok_or("everybody stopped")?;
        println!("{name} heard: {text}");
    }
    let refused = nodes[3].broadcast(Vote::from("me too")).await;
    println!("the observer heard nothing and may not vote: {}", refused.is_err());
    Ok(())
}
