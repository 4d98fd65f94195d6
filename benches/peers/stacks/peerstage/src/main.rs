//! Peerstage through its public API: `Network::builder`, handlers, `send`, `broadcast`, `request`.

mod clients;
mod mesh;
mod node;
mod pair;

use std::process::ExitCode;

use kit::{Job, Role, Task, finish};

fn main() -> ExitCode {
    let job = match Job::from_arguments() {
        Ok(job) => job,
        Err(error) => return finish(Err(error)),
    };
    finish(actix_rt::System::new().block_on(async {
        match (job.role, job.task) {
            (Role::Mesh, _) => mesh::mesh(job).await,
            (Role::Serve, Task::Send { .. } | Task::Request { .. }) => pair::serve(job).await,
            (Role::Drive, Task::Send { .. } | Task::Request { .. }) => pair::drive(job).await,
            (Role::Serve, _) => clients::serve(job).await,
            (Role::Drive, _) => clients::drive(job).await,
        }
    }))
}
