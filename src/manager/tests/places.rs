//! Where the nodes of a simulated network are, and what they say of themselves.

use std::net::IpAddr;

use super::super::*;
use crate::{
    identity::Keypair,
    record::{
        LIFE_MAX, VerifiedRecord,
        tests::{NET, record_of},
    },
};

pub(super) fn place(number: usize) -> Address {
    Address::new(IpAddr::from([127, 0, 0, 1]), 20_000 + u16::try_from(number).unwrap())
}

/// An address in a neighbourhood of its own.
pub(super) fn public_place(number: usize) -> Address {
    let [.., a, b] = number.to_be_bytes();
    Address::new(IpAddr::from([50 + a, b, 1, 1]), 30_400)
}

/// A record signed now, good for a day.
pub(super) fn fresh(key: &Keypair, address: Address, now: Time) -> VerifiedRecord {
    let mut record = record_of(key, &[address], now);
    record.expires = now.plus(LIFE_MAX);
    record.sign(key, &NET).unwrap().verify(&NET, now).unwrap()
}

/// A second address of the node at the first.
pub(super) fn alias(address: Address) -> Address {
    Address::new(address.ip(), address.port() + 10_000)
}

/// Whose second address this would be.
pub(super) fn alias_of(address: Address) -> Address {
    Address::new(address.ip(), address.port().saturating_sub(10_000))
}

pub(super) fn manager(key: &Keypair, config: &ManagerConfig, seed: u64) -> Manager {
    let identity = ManagerIdentity { node: key.node_id(), network: NET, validator: None };
    let mut bytes = key.node_id().0;
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Manager::new(identity, config.clone(), bytes)
}
