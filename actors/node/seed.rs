//! A node as a DNS seed: its signed record as an operator publishes it.

use std::collections::BTreeMap;

use peerstage_core::{
    address::Address,
    bootstrap,
    config::Config,
    identity::Keypair,
    messages::Pace,
    nat::Told,
    record::{Capabilities, Roles},
};

use super::failure::Failure;
use crate::{clock::Clock, own::OwnNode};

/// How long resolvers may keep the line, seconds.
const TTL_S: u32 = 3_600;

/// Where others reach this node as far as its configuration tells.
pub(super) fn reachable(config: &Config) -> Vec<Address> {
    let network = &config.network;
    let external = &network.external_addresses;
    let places = if external.is_empty() { &network.listen } else { external };
    let addresses = places.iter().flat_map(|place| place.addresses(&network.transports));
    addresses.filter(|address| address.is_dialable()).collect()
}

/// The line of a zone file, and the text in it.
pub(super) fn zone_line(
    config: &Config,
    keypair: Keypair,
    name: &str,
) -> Result<(String, String), Failure> {
    let addresses = reachable(config);
    if addresses.is_empty() {
        return Err(Failure::NoAddress);
    }
    let about = (String::new(), BTreeMap::new());
    let roles = Roles::FULL.with(Roles::BOOTSTRAP);
    let able = (Capabilities::HYBRID, Default::default());
    let own = OwnNode::new(keypair, None, config.network_id(), about, roles, able, Pace::default());
    let record = own.sign_record(Clock::system().wall(), &Told::at_start(addresses))?;
    Ok((bootstrap::zone_line(name, &record, TTL_S), bootstrap::txt_of(&record)))
}
