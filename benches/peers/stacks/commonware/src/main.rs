//! commonware-p2p's authenticated lookup network, on its own runtime.

mod clients;
mod handshake;
mod mesh;
mod node;
mod pair;

use std::process::ExitCode;

use anyhow::Result;
use commonware_runtime::{
    Runner as _,
    tokio::{Context, Runner},
};
use kit::{Job, Role, Task, finish};

fn main() -> ExitCode {
    let job = match Job::from_arguments() {
        Ok(job) => job,
        Err(error) => return finish(Err(error)),
    };
    let runner = Runner::new(commonware_runtime::tokio::Config::default());
    finish(runner.start(|context| async move {
        // A task of the runtime, as in the other stacks: see `kit::on_tokio`.
        let task = tokio::spawn(run(context, job));
        task.await.unwrap_or_else(|error| Err(error.into()))
    }))
}

async fn run(context: Context, job: Job) -> Result<()> {
    match (job.role, job.task) {
        (Role::Mesh, _) => mesh::mesh(context, job).await,
        (Role::Serve, Task::Handshake { .. }) => handshake::serve(context, job).await,
        (Role::Drive, Task::Handshake { .. }) => handshake::drive(context, job).await,
        (Role::Serve, Task::Send { .. } | Task::Request { .. }) => pair::serve(context, job).await,
        (Role::Drive, Task::Send { .. } | Task::Request { .. }) => pair::drive(context, job).await,
        (Role::Serve, _) => clients::serve(context, job).await,
        (Role::Drive, _) => clients::drive(context, job).await,
    }
}
