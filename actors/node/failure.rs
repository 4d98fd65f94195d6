//! Why a command failed, and the exit code that says so.

use std::{io, path::PathBuf};

use peerstage_core::config::ConfigError;
use serde_json::{Value, json};

use super::{client::ClientError, run::RunError};
use crate::{
    StartError, admin::TokenError, identity_file::IdentityFileError, localnet::LocalnetError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A configuration file that can't be read.
    #[error("{}: the configuration can't be read: {error}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// `init` would overwrite something.
    #[error("{} exists; edit it, or choose another folder with --data-dir", .0.display())]
    Exists(PathBuf),
    /// There is no key yet.
    #[error("{}: there is no key yet; `peerstage init` makes one", .0.display())]
    NoKey(PathBuf),
    /// A seed must be reachable.
    #[error(
        "a seed needs an address: set network.external_addresses, or a place in network.listen that is no wildcard"
    )]
    NoAddress,
    /// The node's record.
    #[error(transparent)]
    Record(#[from] peerstage_core::record::RecordError),
    /// The key file.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// The token file.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A path that is not text.
    #[error("{}: a path must be UTF-8", .0.display())]
    Path(PathBuf),
    /// The configuration has neither socket nor TCP address.
    #[error("admin.socket and admin.listen are both \"none\": there is no way to the node")]
    NoEndpoint,
    /// The node did not start, or did not stop in order.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The running node could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `doctor` found something that must be put right.
    #[error("{0} of the checks are bad")]
    Unwell(usize),
    /// The localnet.
    #[error(transparent)]
    Localnet(#[from] LocalnetError),
    /// Standard output is closed, or the runtime did not start.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The answer of the node is not what this version expects.
    #[error("the node's answer can't be read ({0}); are both of the same version?")]
    Answer(#[from] serde_json::Error),
}

impl Failure {
    /// As one object for programs: `error` and `hint`, as the admin interface answers, and the
    /// problems of a configuration one by one.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Failure::Client(ClientError::Refused { error, hint, .. }) => {
                json!({ "error": error, "hint": hint })
            }
            Failure::Config(error) => json!({
                "error": self.to_string(),
                "hint": "",
                "problems": serde_json::to_value(error).map_or(Value::Null, |mut error| {
                    error.get_mut("problems").map_or(Value::Null, Value::take)
                }),
            }),
            _ => json!({ "error": self.to_string(), "hint": "" }),
        }
    }

    /// A configuration that is wrong is one, whoever reads it.
    pub(super) fn of_localnet(error: LocalnetError) -> Self {
        match error {
            LocalnetError::Config(error) => Failure::Config(error),
            other => Failure::Localnet(other),
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_)
            | Failure::ConfigFile { .. }
            | Failure::Run(RunError::Start(StartError::Config(_))) => 2,
            Failure::Localnet(error) => error.exit_code(),
            _ => 1,
        }
    }
}
