//! `peerstage config check`: what `peerstage run` would say, before anything is started or made.

use std::{io, path::Path};

use peerstage_core::config::{
    Config, ConfigError, Fault, Optional, Problem, Resolved, Role as NodeRole,
};

use super::failure::Failure;
use crate::{
    admin::SOCKET_PATH_MAX,
    identity_file::{self, IdentityFileError},
    store::BackendChoice,
};

/// Refuses what this build can't do.
pub(super) fn refuse_unbuilt(resolved: &Resolved) -> Result<(), ConfigError> {
    let backend = resolved.config.store.backend.name();
    let is_there = backend.parse::<BackendChoice>().is_ok_and(BackendChoice::is_compiled_in);
    let message = || {
        format!(
            "store.backend = \"{backend}\": this build has no such backend; build with --features \
             {backend}, or write \"auto\""
        )
    };
    require(resolved, is_there, "store.backend", message)
}

/// Refuses what `run` would refuse; answers what it would make.
pub(super) fn check(resolved: &Resolved) -> Result<Vec<String>, Failure> {
    refuse_unbuilt(resolved)?;
    let config = &resolved.config;
    let folder = &config.node.data_dir;
    // The nearest one that is there says whether the others can be made below it.
    let there = folder.ancestors().find(|path| path.exists());
    let is_folder = there.is_none_or(Path::is_dir);
    require(resolved, is_folder, "node.data_dir", || {
        let there = there.unwrap_or(folder).display();
        format!("node.data_dir = {}: {there} is not a directory", folder.display())
    })?;
    if let Optional::Some(socket) = &config.admin.socket {
        let path = config.path(socket);
        let fits = path.as_os_str().len() <= SOCKET_PATH_MAX;
        require(resolved, fits, "admin.socket", || {
            format!("{}: a socket's path may have {SOCKET_PATH_MAX} bytes", path.display())
        })?;
    }
    let mut notes = Vec::new();
    if !folder.exists() {
        let folder = folder.display();
        notes.push(format!("the data directory {folder} is not there yet: `run` makes it"));
    }
    keys(config, &mut notes)?;
    Ok(notes)
}

fn keys(config: &Config, notes: &mut Vec<String>) -> Result<(), Failure> {
    let own = Some(&config.node.key_file);
    let validator = match config.node.role {
        NodeRole::Validator => config.node.validator_key_file.as_option(),
        NodeRole::Full => None,
    };
    for file in own.into_iter().chain(validator) {
        let path = config.path(file);
        match identity_file::load(&path) {
            Ok(_) => {}
            Err(IdentityFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                notes.push(format!("there is no key {} yet: `run` makes one", path.display()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn require(
    resolved: &Resolved,
    holds: bool,
    key: &str,
    message: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    let origin = resolved.origins.get(key).cloned().unwrap_or_default();
    let fault = Fault::Rule { keys: vec![key.to_owned()], message: message() };
    Err(ConfigError { problems: vec![Problem { origin, fault }] })
}
