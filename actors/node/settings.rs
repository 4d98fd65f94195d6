//! Where a command's configuration comes from: files, environment, flags.

use std::{
    fs,
    path::{Path, PathBuf},
};

use peerstage_core::config::{Layers, Resolved, VARIABLE_PREFIX};

use super::failure::Failure;

/// The configuration that `peerstage init` writes into the data directory, and that every
/// command reads there when it is given no other.
pub const CONFIG_FILE_NAME: &str = "peerstage.toml";

/// The layers of the configuration, for every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Layered {
    /// A configuration file; later ones go over earlier ones. Without this: peerstage.toml in
    /// the data directory, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Sets one key, over files and environment.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder of everything the node keeps: short for --set node.data_dir=DIR.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Layered {
    /// The configuration these layers make.
    ///
    /// # Errors
    /// [`Failure::Config`] with every problem; [`Failure::ConfigFile`] for a file
    /// that can't be read.
    pub fn resolve(&self) -> Result<Resolved, Failure> {
        let files = match self.config.is_empty() {
            true => self.own_file()?.into_iter().collect(),
            false => self.config.clone(),
        };
        self.layers(&files)
    }

    /// As [`Layered::resolve`], without the file in the data directory.
    pub(super) fn resolve_given(&self) -> Result<Resolved, Failure> {
        self.layers(&self.config)
    }

    fn layers(&self, files: &[PathBuf]) -> Result<Resolved, Failure> {
        let mut layers = Layers::new();
        for path in files {
            let failed = |error| Failure::ConfigFile { path: path.clone(), error };
            let text = fs::read_to_string(path).map_err(failed)?;
            layers = layers.file(path.display().to_string(), text);
        }
        Ok(layers.environment(variables(VARIABLE_PREFIX)).flags(self.flags()?).load()?)
    }

    fn flags(&self) -> Result<Vec<String>, Failure> {
        let mut flags = self.set.clone();
        if let Some(folder) = &self.data_dir {
            flags.push(format!("node.data_dir={}", text(folder)?));
        }
        Ok(flags)
    }

    /// The file in the data directory that environment and flags name.
    fn own_file(&self) -> Result<Option<PathBuf>, Failure> {
        let flags = self.flags()?.into_iter().filter(|flag| flag.starts_with("node.data_dir="));
        let place = Layers::new().environment(variables("PEERSTAGE_NODE__DATA_DIR")).flags(flags);
        let file = place.load()?.config.node.data_dir.join(CONFIG_FILE_NAME);
        Ok(file.is_file().then_some(file))
    }
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::Path(path.to_owned()))
}

/// The environment variables that begin like this. What is not text can't be meant for us.
fn variables(prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| name.starts_with(prefix))
}
