//! The `peerstage` command: a node that runs by itself, and the tools to watch and steer one.
//!
//! Exit codes: 0 done; 1 it failed, and said why; 2 the configuration or the command line is
//! wrong; 70 a core actor died (`EX_SOFTWARE` of sysexits), so that the service manager restarts
//! the node; 128 + n a second signal n came while the node was closing. Errors go to standard
//! error, with `--json` as one line `{"error": ..., "hint": ...}`.

mod check;
mod cli;
mod client;
mod doctor;
mod failure;
mod init;
mod logging;
mod panics;
mod query;
pub mod run;
mod seed;
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
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    let json = arguments.json;
    match cli::execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The configuration's errors name their places and need no prefix.
            let prefix = if matches!(failure, Failure::Config(_)) { "" } else { "peerstage: " };
            match json {
                true => eprintln!("{}", failure.to_json()),
                false => eprintln!("{prefix}{failure}"),
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The command line made no sense, or asked for help.
fn misused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let mut parts = text.trim_end().splitn(2, "\n\n");
        let what = parts.next().unwrap_or_default().trim_start_matches("error: ");
        let hint = parts.next().unwrap_or_default();
        eprintln!("{}", serde_json::json!({ "error": what, "hint": hint }));
    } else {
        // A closed standard error changes nothing about the exit code.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
