//! The `peerstage` command: a node that runs by itself, and the tools to watch and steer one.
//!
//! Exit codes: 0 done; 1 it failed, and said why; 2 the configuration or the command line is
//! wrong; 70 a core actor died (`EX_SOFTWARE` of sysexits), so that the service manager restarts
//! the node.

mod cli;
mod client;
mod failure;
mod init;
mod logging;
mod panics;
mod query;
pub mod run;
mod settings;
mod table;
mod views;

use std::process::ExitCode;

use clap::Parser;

pub use client::{Client, ClientError, Endpoint};
pub use failure::Failure;
pub use logging::{LogLimiter, start as start_logging};
pub use run::{RunError, Started};
pub use settings::{CONFIG_FILE_NAME, Layered};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The configuration's errors name their places and need no prefix.
            let prefix = if matches!(failure, Failure::Config(_)) { "" } else { "peerstage: " };
            eprintln!("{prefix}{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
