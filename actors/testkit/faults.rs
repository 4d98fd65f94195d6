//! Ready-made faults. Install rules with [`SimNetwork::install`]; each fault ends when its guard
//! is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use peerstage_core::{address::Address, time::Millis};
use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use crate::{
    clock::Clock,
    transport::sim::{Bandwidth, FaultGuard, Packet, PacketKind, Rule, SimNetwork, Verdict},
};

/// Hosts of different groups can't reach each other. Hosts of no group reach everybody.
pub fn partition(groups: &[&[IpAddr]]) -> impl Rule + use<> {
    let mut group_of = BTreeMap::new();
    for (group, members) in groups.iter().enumerate() {
        group_of.extend(members.iter().map(|ip| (*ip, group)));
    }
    move |packet: &Packet, _: &mut ChaCha8Rng| match (
        group_of.get(&packet.from.ip()),
        group_of.get(&packet.to.ip()),
    ) {
        (Some(from), Some(to)) if from != to => Verdict::Drop,
        _ => Verdict::Pass,
    }
}

/// Nobody reaches this host, and it reaches nobody but itself.
pub fn isolate(host: IpAddr) -> impl Rule + use<> {
    move |packet: &Packet, _: &mut ChaCha8Rng| {
        let ends = [packet.from.ip(), packet.to.ip()];
        if ends.contains(&host) && ends != [host, host] { Verdict::Drop } else { Verdict::Pass }
    }
}

/// These hosts let nothing in but answers to what they have sent themselves, as a NAT or a firewall
/// with an address- and port-dependent filter does (RFC 4787 section 5).
pub fn firewall(hosts: &[IpAddr]) -> impl Rule + use<> {
    let behind: BTreeSet<IpAddr> = hosts.iter().copied().collect();
    let mut flows: BTreeSet<(Address, Address)> = BTreeSet::new();
    move |packet: &Packet, _: &mut ChaCha8Rng| {
        if behind.contains(&packet.to.ip()) && !flows.contains(&(packet.to, packet.from)) {
            return Verdict::Drop;
        }
        if behind.contains(&packet.from.ip()) {
            flows.insert((packet.from, packet.to));
        }
        Verdict::Pass
    }
}

/// Each packet is lost with this probability, in parts per million.
pub fn loss(parts_per_million: u32) -> impl Rule + use<> {
    move |_: &Packet, rng: &mut ChaCha8Rng| {
        let dice = rng.next_u64() % 1_000_000;
        if dice < u64::from(parts_per_million) { Verdict::Drop } else { Verdict::Pass }
    }
}

/// Each packet takes `ms` longer.
pub fn delay(ms: Millis) -> impl Rule + use<> {
    move |_: &Packet, _: &mut ChaCha8Rng| Verdict::Delay(ms)
}

/// No new connections; those that are open go on.
pub fn no_new_connections() -> impl Rule + use<> {
    |packet: &Packet, _: &mut ChaCha8Rng| match packet.kind {
        PacketKind::Connect => Verdict::Drop,
        _ => Verdict::Pass,
    }
}

/// Applies a rule to what travels between two hosts, and to nothing else.
pub fn between<R: Rule>(a: IpAddr, b: IpAddr, mut rule: R) -> impl Rule + use<R> {
    move |packet: &Packet, rng: &mut ChaCha8Rng| {
        if packet.is_between(a, b) { rule.judge(packet, rng) } else { Verdict::Pass }
    }
}

/// A host takes no more than this many bits per second from the network: its windows fill, and
/// those who write to it have to wait.
pub fn slow_reader(network: &SimNetwork, host: IpAddr, bits_per_second: u64) -> FaultGuard {
    network.limit(host, Bandwidth { up: None, down: Some(bits_per_second) })
}

/// Moves the wall clock of a node; dropping the guard moves it back.
pub fn clock_jump(clock: &Clock, ms: i64) -> ClockJump {
    clock.jump(ms);
    ClockJump { clock: clock.clone(), ms }
}

/// A wall clock that is wrong.
#[must_use = "the clock jumps back when this is dropped"]
pub struct ClockJump {
    clock: Clock,
    ms: i64,
}

impl Drop for ClockJump {
    fn drop(&mut self) {
        self.clock.jump(self.ms.saturating_neg());
    }
}
