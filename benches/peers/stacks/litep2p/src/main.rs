//! litep2p: the notification protocol and the request-response protocol over TCP.

mod clients;
mod mesh;
mod node;
mod pair;
mod request;

use std::process::ExitCode;

use anyhow::bail;
use kit::{Role, Task};

fn main() -> ExitCode {
    kit::on_tokio(async |job| match (job.variant.as_str(), job.role, job.task) {
        ("notifications", Role::Mesh, _) => mesh::mesh(job).await,
        ("notifications", Role::Serve, Task::Send { .. }) => pair::serve(job).await,
        ("notifications", Role::Drive, Task::Send { .. }) => pair::drive(job).await,
        ("notifications", Role::Serve, _) => clients::serve(job).await,
        ("notifications", Role::Drive, _) => clients::drive(job).await,
        ("request-response", Role::Serve, _) => request::serve(job).await,
        ("request-response", Role::Drive, _) => request::drive(job).await,
        (variant, role, _) => bail!("{variant} has no {role:?}"),
    })
}
