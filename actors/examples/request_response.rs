//! One node serves blocks by height, another one asks whoever has them.
//!
//! `cargo run --example request_response`

use std::time::Duration;

use bytes::Bytes;
use peerstage::{Network, NodeId, Reply, Target, Topic};

const BLOCK_BY_HEIGHT: Topic = Topic(1);

async fn block_by_height(_asker: NodeId, question: Bytes) -> Reply {
    match std::str::from_utf8(&question).map(str::parse::<u64>) {
        Ok(Ok(height)) if height < 100 => Reply::Answer(format!("block {height}").into()),
        _ => Reply::Failed,
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let archive = Network::builder("archive")
        .listen("127.0.0.1:0")
        .serve(BLOCK_BY_HEIGHT, block_by_height)
        .start()
        .await?;
    let light = Network::builder("archive").bootstrap(archive.listening()).start().await?;
    light.ready(1).await?;

    for question in ["7", "1000"] {
        let deadline = Duration::from_secs(5);
        match light.request(Target::Any, BLOCK_BY_HEIGHT, question, deadline).await {
            Ok(answer) => println!("{question}: {}", String::from_utf8_lossy(&answer)),
            Err(error) => println!("{question}: {error}"),
        }
    }
    Ok(())
}
