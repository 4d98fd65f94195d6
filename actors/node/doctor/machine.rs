//! What the machine gives the node: descriptors, ports, interfaces, room, the database.

use std::{
    net::{IpAddr, TcpListener, UdpSocket},
    path::Path,
};

use peerstage_core::{
    address::{Address, TransportKind},
    config::Size,
};
use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};

use super::{Finding, Patient};
use crate::{nat, store::OpenError};

/// Descriptors that a node has open beside its connections: logs, the store's files, sockets.
const DESCRIPTORS_BESIDE: u64 = 256;
/// Room below which a node's database may end in trouble, and below which it does.
const ROOM_LOW: u64 = 1 << 30;
const ROOM_NONE: u64 = 64 << 20;

/// Whether there are descriptors for every connection that is allowed.
pub(super) fn file_limit(patient: &Patient<'_>) -> Finding {
    let check = "file limit";
    let network = &patient.config.network;
    let connections = u64::from(network.max_peers)
        + u64::from(network.validator_slots)
        + u64::from(network.max_half_open);
    let needed = connections + DESCRIPTORS_BESIDE;
    let whose = if patient.running.is_some() { " in this shell, not for the node" } else { "" };
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => {
            let found = format!("{limit} descriptors{whose}, {needed} may be needed");
            let advice = format!("`ulimit -n {needed}`, or LimitNOFILE={needed} in the service");
            if whose.is_empty() {
                Finding::bad(check, found, advice)
            } else {
                Finding::warning(check, found, advice)
            }
        }
        limit => {
            let limit = limit.map_or("no limit".to_owned(), |limit| limit.to_string());
            Finding::good(check, format!("{limit}{whose}, {needed} may be needed"))
        }
    }
}

/// Whether every port can be had, or is the running node's.
pub(super) fn ports(patient: &Patient<'_>) -> Vec<Finding> {
    let network = &patient.config.network;
    let places = network.listen.iter().flat_map(|place| place.addresses(&network.transports));
    places.map(|address| port(patient, address)).collect()
}

fn port(patient: &Patient<'_>, address: Address) -> Finding {
    let check = "port";
    if patient.running.is_some() {
        return Finding::good(check, format!("{address} is the running node's"));
    }
    if patient.unasked.is_some() {
        return Finding::skipped(check, format!("{address} may be a node's that can't be asked"));
    }
    let bound = match address.transport() {
        TransportKind::Quic => UdpSocket::bind(address.socket()).map(drop),
        _ => TcpListener::bind(address.socket()).map(drop),
    };
    match bound {
        Ok(()) => Finding::good(check, format!("{address} is free")),
        Err(error) => Finding::bad(
            check,
            format!("{address}: {error}"),
            "stop who has it (`ss -lntup`), or choose another with network.listen",
        ),
    }
}

/// What addresses the machine has.
pub(super) fn interfaces() -> Finding {
    let check = "interfaces";
    let all = nat::interfaces();
    let useful: Vec<String> =
        all.iter().filter(|ip| is_useful(ip)).map(IpAddr::to_string).collect();
    if useful.is_empty() {
        let advice = "connect the machine to a network";
        return Finding::bad(check, "no address but this machine's own", advice);
    }
    Finding::good(check, useful.join(", "))
}

fn is_useful(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !link_local
}

/// Whether there is room where the node keeps its things.
pub(super) fn disk(patient: &Patient<'_>) -> Finding {
    let check = "disk";
    let folder = &patient.config.node.data_dir;
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let free = match statvfs(there) {
        Ok(system) => system.f_bavail.saturating_mul(system.f_frsize),
        Err(error) => {
            let advice = "choose another folder with node.data_dir";
            return Finding::bad(check, format!("{}: {error}", there.display()), advice);
        }
    };
    let found = format!("{} free at {}", Size(free), there.display());
    match free {
        ..ROOM_NONE => Finding::bad(check, found, "make room"),
        ROOM_NONE..ROOM_LOW => Finding::warning(check, found, "make room"),
        _ => Finding::good(check, found),
    }
}

/// Whether the database is in order.
pub(super) fn database(patient: &Patient<'_>) -> Finding {
    let check = "database";
    let path = patient.config.path(&patient.config.store.path);
    match &patient.running {
        Some(status) if status.store.contains("healthy") => Finding::good(check, &status.store),
        Some(status) => Finding::bad(check, &status.store, "look at the node's log for why"),
        None if !path.exists() => {
            Finding::skipped(check, format!("{} is not there yet: `run` makes it", path.display()))
        }
        None if patient.unasked.is_some() => {
            Finding::skipped(check, "a node that can't be asked may have it open")
        }
        None => match crate::network::inspect_store(patient.config) {
            Ok(Some(name)) => Finding::good(check, format!("{name} at {}", path.display())),
            Ok(None) => Finding::skipped(check, format!("none yet at {}", path.display())),
            Err(error @ OpenError::Held { .. }) => Finding::warning(
                check,
                error.to_string(),
                "if that is a node, name its socket with --socket, or its address with --admin",
            ),
            Err(error @ OpenError::Damaged { .. }) => Finding::warning(
                check,
                error.to_string(),
                "the next start moves it aside, keeps the bans and finds peers again",
            ),
            Err(error) => {
                Finding::bad(check, error.to_string(), "look at the disk and the files' owner")
            }
        },
    }
}
