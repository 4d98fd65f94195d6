//! rust-libp2p: a bare stream over TCP and QUIC, request-response, and gossipsub.

mod gossip;
mod hub;
mod request;
mod stream;
mod swarm;

use std::process::ExitCode;

use anyhow::bail;
use kit::{Role, Task};

fn main() -> ExitCode {
    kit::on_tokio(async |job| match (job.variant.as_str(), job.role) {
        ("tcp" | "quic", Role::Serve) => stream::serve(job).await,
        ("tcp" | "quic", Role::Drive) => match job.task {
            Task::Handshake { .. } | Task::Idle { .. } => stream::clients(job).await,
            _ => stream::drive(job).await,
        },
        ("request-response", Role::Serve) => request::serve(job).await,
        ("request-response", Role::Drive) => request::drive(job).await,
        ("gossipsub-unsigned" | "gossipsub-signed", Role::Mesh) => gossip::mesh(job).await,
        ("gossipsub-unsigned" | "gossipsub-signed", Role::Serve) => hub::serve(job).await,
        ("gossipsub-unsigned" | "gossipsub-signed", Role::Drive) => hub::drive(job).await,
        (variant, role) => bail!("{variant} has no {role:?}"),
    })
}
