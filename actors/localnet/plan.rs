//! Who takes part: folders, keys, roles and configurations, decided before anything starts.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use peerstage_core::{
    address::Address,
    config::Layers,
    identity::{NodeId, PublicKey, hex},
};

use super::{LocalnetArgs, LocalnetError};
use crate::identity_file;

/// The name of a node's configuration in its folder.
pub(super) const CONFIG_FILE: &str = "peerstage.toml";
/// The name of a node's log in its folder.
pub(super) const LOG_FILE: &str = "node.log";
/// The name of a node's admin socket in its folder.
const SOCKET_FILE: &str = "admin.sock";
/// Peers that every node dials even if it has enough. More are dialled while there are fewer than
/// the least of the degree, so that the graph stays as thin as it may.
const OUTBOUND: usize = 1;
/// The configuration's own floor under bans (`scoring.ban_floor`): peers that must remain.
const BAN_FLOOR: usize = 3;

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Verifies and votes.
    Validator,
    /// Verifies.
    Observer,
    /// Lies, after the others are done.
    Hostile,
}

/// The network.
pub(super) struct Plan {
    /// Where everything is.
    pub(super) folder: PathBuf,
    /// The nodes; the first one is everybody's bootstrap node.
    pub(super) nodes: Vec<NodePlan>,
    settings: Settings,
}

/// One node.
pub(super) struct NodePlan {
    pub(super) index: usize,
    pub(super) part: Part,
    pub(super) node: NodeId,
    pub(super) key: PublicKey,
    pub(super) folder: PathBuf,
}

/// What all configurations have in common.
struct Settings {
    network: String,
    least: usize,
    most: usize,
    transports: &'static str,
    nodes: usize,
    validators: Vec<PublicKey>,
    /// Flags that go over everything.
    set: Vec<String>,
}

impl Plan {
    /// Makes the folders and the keys.
    pub(super) fn make(args: &LocalnetArgs, set: &[String]) -> Result<Self, LocalnetError> {
        let name = random_name()?;
        let folder = match &args.dir {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(&name),
        };
        make_folder(&folder)?;
        if fs::read_dir(&folder)?.next().is_some() {
            let text = format!("{} is not empty; choose another --dir", folder.display());
            return Err(LocalnetError::Usage(text));
        }
        let mut nodes = Vec::new();
        for index in 0..args.nodes {
            let part = match index {
                _ if !args.no_hostile && index + 1 == args.nodes => Part::Hostile,
                _ if index < args.validators => Part::Validator,
                _ => Part::Observer,
            };
            let folder = folder.join(format!("node-{index}"));
            make_folder(&folder)?;
            let keypair = identity_file::load_or_create(&folder.join("node.key"))?.keypair;
            let (node, key) = (keypair.node_id(), keypair.public());
            nodes.push(NodePlan { index, part, node, key, folder });
        }
        let validators = nodes.iter().filter(|node| node.part == Part::Validator);
        let settings = Settings {
            network: name,
            least: *args.degree.0.start(),
            most: *args.degree.0.end(),
            transports: args.transport.transports(),
            nodes: args.nodes,
            validators: validators.map(|node| node.key).collect(),
            set: set.to_vec(),
        };
        Ok(Plan { folder, nodes, settings })
    }

    /// Nodes that keep to the rules.
    pub(super) fn honest(&self) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(|node| node.part != Part::Hostile)
    }

    /// The node that lies.
    pub(super) fn hostile(&self) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.part == Part::Hostile)
    }

    /// Whether everybody has room for the hostile node, so that everybody must judge it. In a
    /// larger network it meets whom it can.
    pub(super) fn is_small(&self) -> bool {
        self.settings.nodes - 1 <= self.settings.most
    }

    /// Flags that go over every node's configuration.
    pub(super) fn set(&self) -> &[String] {
        &self.settings.set
    }

    pub(super) fn validators(&self) -> usize {
        self.settings.validators.len()
    }

    /// The fewest peers a node must have.
    pub(super) fn degree_min(&self) -> usize {
        self.settings.least.min(self.settings.nodes - 1)
    }

    /// The most peers this node may have. The bootstrap node serves everybody's first question,
    /// and validators are connected to each other on top.
    pub(super) fn degree_max(&self, node: &NodePlan) -> usize {
        let others = self.settings.nodes - 1;
        match node.part {
            _ if node.index == 0 => others,
            Part::Hostile => others,
            Part::Validator => {
                others.min(self.settings.most.max(self.settings.least + self.validators() - 1))
            }
            Part::Observer => others.min(self.settings.most),
        }
    }

    /// A node's configuration, written to its folder and checked with the flags that go over
    /// it. `bootstrap` is where the first node listens; the first node itself has none.
    pub(super) fn write_config(
        &self,
        node: &NodePlan,
        bootstrap: Option<Address>,
    ) -> Result<PathBuf, LocalnetError> {
        let path = node.folder.join(CONFIG_FILE);
        let text = self.settings.config(node, bootstrap, self.degree_max(node));
        let layers = Layers::new().file(path.display().to_string(), text.as_str());
        layers.flags(self.settings.set.iter().cloned()).load()?;
        fs::write(&path, text)
            .map_err(|error| LocalnetError::File { path: path.clone(), error })?;
        Ok(path)
    }

    /// Removes what [`Plan::make`] made.
    pub(super) fn remove_files(&self) -> Result<(), LocalnetError> {
        fs::remove_dir_all(&self.folder)
            .map_err(|error| LocalnetError::File { path: self.folder.clone(), error })
    }
}

impl NodePlan {
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET_FILE)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(LOG_FILE)
    }
}

impl Settings {
    /// Only what differs from the defaults.
    fn config(&self, node: &NodePlan, bootstrap: Option<Address>, degree_max: usize) -> String {
        let role = if node.part == Part::Validator { "validator" } else { "full" };
        let validators = self.validators.iter().map(|key| quoted(&hex(&key.0)));
        let validators: Vec<String> = validators.collect();
        let bootstrap = bootstrap.map(|address| quoted(&address.to_string())).unwrap_or_default();
        // Other validators come on top of the ordinary peers.
        let overlay = if role == "validator" { self.validators.len() - 1 } else { 0 };
        // A validator counts them in, or it would have twice as many peers as others.
        let least = self.least.min(self.nodes - 1).saturating_sub(overlay).max(1);
        let whole = degree_max >= self.nodes - 1;
        let peers_max = if whole { 2 * self.nodes } else { degree_max - overlay };
        // Both directions together make the degree.
        let outbound_max = self.least.min(peers_max / 2).max(OUTBOUND);
        let inbound_max = peers_max - outbound_max;
        let (nodes, floor) = (2 * self.nodes, BAN_FLOOR.min((self.nodes - 1) / 2).min(self.least));
        let mut text = String::from("# Written by `peerstage localnet`.\n");
        let _ = write!(
            text,
            "[node]\nname = \"node-{index}\"\nrole = \"{role}\"\ndata_dir = {folder}\n\n\
             [network]\nname = {network}\nvalidators = [{validators}]\n\
             listen = [\"127.0.0.1:0\"]\ntransports = {transports}\nallow_private_addresses = true\n\
             bootstrap = [{bootstrap}]\nmin_peers = {least}\nwished_outbound = {OUTBOUND}\n\
             max_outbound = {outbound_max}\nmax_peers = {peers_max}\nmax_inbound = {inbound_max}\n\
             max_outbound_per_group = {nodes}\nmax_inbound_per_group = {nodes}\n\
             max_inbound_per_ip = {nodes}\n\
             discovery_interval = \"1500ms\"\ndial_backoff_base = \"250ms\"\n\
             ping_interval = \"5s\"\nping_timeout = \"4s\"\n\n\
             [scoring]\nban_floor = {floor}\n\n[gossip]\ninterval = \"250ms\"\n\n\
             [metrics]\nenabled = false\n",
            index = node.index,
            transports = self.transports,
            folder = quoted(&node.folder.to_string_lossy()),
            network = quoted(&self.network),
            validators = validators.join(", "),
        );
        text
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn make_folder(path: &Path) -> Result<(), LocalnetError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| LocalnetError::File { path: path.to_owned(), error })
}

/// A name that nobody else has, for the folder and for the network.
fn random_name() -> Result<String, LocalnetError> {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("peerstage-localnet-{}", hex(&bytes)))
}

#[cfg(test)]
mod tests {
    use peerstage_core::config::Config;

    use super::*;

    fn settings(nodes: usize, validators: u8) -> Settings {
        Settings {
            network: "test".to_owned(),
            least: 4,
            transports: "[\"tcp\", \"quic\"]",
            most: 8,
            nodes,
            validators: (0..validators).map(|number| PublicKey([number; 32])).collect(),
            set: Vec::new(),
        }
    }

    fn plan(nodes: usize, validators: u8) -> Plan {
        let part = |index| match index {
            _ if index + 1 == nodes => Part::Hostile,
            _ if index < usize::from(validators) => Part::Validator,
            _ => Part::Observer,
        };
        let node = |index| NodePlan {
            index,
            part: part(index),
            node: NodeId([0; 32]),
            key: PublicKey([0; 32]),
            folder: PathBuf::from("/a \"folder\" \\ of ours"),
        };
        let nodes_planned = (0..nodes).map(node).collect();
        Plan { folder: PathBuf::new(), nodes: nodes_planned, settings: settings(nodes, validators) }
    }

    fn config(plan: &Plan, node: &NodePlan) -> Config {
        let bootstrap = Some("127.0.0.1:4000".parse().unwrap());
        let text = plan.settings.config(node, bootstrap, plan.degree_max(node));
        let config = Layers::new().file("test", text).load().unwrap().config;
        config.validate().unwrap();
        config
    }

    #[test]
    fn every_configuration_is_valid_for_every_size() {
        for (nodes, validators) in [(2, 0), (4, 2), (8, 4), (9, 8), (20, 4), (64, 10)] {
            let plan = plan(nodes, validators);
            for node in &plan.nodes {
                let config = config(&plan, node);
                assert_eq!(config.node.data_dir, node.folder);
                assert_eq!(config.network.validators.len(), usize::from(validators));
            }
        }
    }

    #[test]
    fn a_large_network_keeps_to_the_degree() {
        let plan = plan(30, 4);
        let limit = |index: usize| config(&plan, &plan.nodes[index]).network.max_peers;
        assert_eq!((limit(0), limit(1), limit(10)), (60, 5, 8));
        assert_eq!(plan.degree_max(&plan.nodes[1]), 8);
        assert_eq!(plan.degree_min(), 4);
    }

    /// With four nodes an honest one has two others beside the liar.
    #[test]
    fn a_small_network_can_still_ban() {
        let plan = plan(4, 2);
        assert_eq!(config(&plan, &plan.nodes[1]).scoring.ban_floor, 1);
    }
}
