//! `peerstage init`: a data directory with a key and an annotated configuration.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use peerstage_core::{
    config::{Key, Origin, Resolved, annotated_default, keys},
    identity::NodeId,
};
use serde::Serialize;

use super::{
    failure::Failure,
    settings::{CONFIG_FILE_NAME, Layered},
};
use crate::identity_file;

/// What `init` made.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    /// The node.
    pub(super) node: NodeId,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// Whether the key was there before.
    pub(super) key_was_there: bool,
}

/// Makes the data directory of a node. What environment and flags set is written down; a key
/// that is there is kept.
pub(super) fn init(layered: &Layered) -> Result<Made, Failure> {
    let mut resolved = layered.resolve_given()?;
    make_data_dir(&resolved.config.node.data_dir)?;
    // Absolute, so that the file means the same from wherever it is used.
    let folder = fs::canonicalize(&resolved.config.node.data_dir)
        .map_err(|error| failed(&resolved.config.node.data_dir, error))?;
    resolved.config.node.data_dir.clone_from(&folder);
    let config = folder.join(CONFIG_FILE_NAME);
    if config.exists() {
        return Err(Failure::Exists(config));
    }
    let key = resolved.config.path(&resolved.config.node.key_file);
    let loaded = identity_file::load_or_create(&key)?;
    write(&config, &annotated(&resolved)).map_err(|error| failed(&config, error))?;
    let node = loaded.keypair.node_id();
    Ok(Made { node, config, key, key_was_there: !loaded.created })
}

/// Makes the folder of a node, for its user alone.
pub(super) fn make_data_dir(folder: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed(folder, error))
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::File { path: path.to_owned(), error }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The annotated default file. Only what differs from the defaults is set, so that later
/// versions may improve the rest; the others stand there as comments.
fn annotated(resolved: &Resolved) -> String {
    let assignments: Vec<(&Key, String)> = keys()
        .map(|key| (key, format!("{} = {}", key.name, key.value(&resolved.config))))
        .collect();
    let mut keys = assignments.iter();
    let mut text = String::new();
    for line in annotated_default().lines() {
        let is_assignment = !line.is_empty() && !line.starts_with(['#', '[']);
        // Assignments stand in the order of the keys, one line each.
        match if is_assignment { keys.next() } else { None } {
            Some((key, assignment)) if is_set(resolved, key) => text.push_str(assignment),
            Some(_) => text.push_str(&format!("#{line}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn is_set(resolved: &Resolved, key: &Key) -> bool {
    let path = key.path();
    path == "node.data_dir" || resolved.origins.get(&path).is_some_and(|o| *o != Origin::Default)
}

#[cfg(test)]
mod tests {
    use peerstage_core::config::Layers;

    use super::*;

    #[test]
    fn the_file_sets_what_was_given_and_nothing_else() {
        let flags = ["network.max_peers=9", "network.name=test net", "node.data_dir=/var/x"];
        let given = Layers::new().flags(flags).load().unwrap();
        let text = annotated(&given);
        let loaded = Layers::new().file("peerstage.toml", text.as_str()).load().unwrap();
        assert_eq!(loaded.config, given.config);
        let set = |resolved: &Resolved| {
            resolved.origins.values().filter(|origin| **origin != Origin::Default).count()
        };
        assert_eq!(set(&loaded), 3);
        assert!(text.contains("\nmax_peers = 9\n") && text.contains("\n#min_peers = 8\n"));
    }
}
