//! How far apart hosts are, and how narrow their lines become.

use std::net::IpAddr;

use peerstage_core::address::Address;

use super::{
    config::{Bandwidth, Latency, RTO_MIN_MS},
    fabric::{Event, Fabric, Micros},
    rules::Packet,
    traffic::US_PER_MS,
};

impl Fabric {
    /// Puts a limit on a host's line, or takes it off.
    pub(super) fn on_limit(&mut self, now: Micros, ip: IpAddr, id: u64, limit: Option<Bandwidth>) {
        let Some(host) = self.hosts.get_mut(&ip) else { return };
        host.limits.retain(|(other, _)| *other != id);
        host.limits.extend(limit.map(|limit| (id, limit)));
        // What the old line had begun is begun again on the new one.
        host.generation += 1;
        host.line_free_at = now;
        let generation = host.generation;
        host.send_scheduled = !host.sending.is_empty();
        host.receive_scheduled = !host.arriving.is_empty();
        let wait = host.arriving.front().map(|next| host.down_us(next.packet.bytes));
        if host.send_scheduled {
            self.schedule(now, Event::Send { host: ip, generation });
        }
        if let Some(wait) = wait {
            self.schedule(now + wait, Event::Receive { host: ip, generation });
        }
    }

    /// The time from one host to another, in microseconds, without jitter.
    pub(super) fn trip_us(&self, from: IpAddr, to: IpAddr) -> Micros {
        if from == to {
            return 0;
        }
        let ms = match &self.config.latency {
            Latency::Constant(ms) => *ms,
            Latency::Regions(matrix) => {
                let region = |ip| self.hosts.get(&ip).map_or(0, |host| host.placement.region);
                matrix.one_way_ms(region(from), region(to))
            }
        };
        ms.saturating_mul(US_PER_MS)
    }

    /// What a sender waits for before it repeats a segment: a round trip and some patience.
    pub(super) fn timeout_us(&self, from: Address, to: Address) -> Micros {
        let round_trip = self.trip_us(from.ip(), to.ip()).saturating_mul(2);
        round_trip.saturating_add(RTO_MIN_MS * US_PER_MS)
    }

    pub(super) fn jittered_trip_us(&mut self, packet: &Packet) -> Micros {
        let (from, to) = (packet.from.ip(), packet.to.ip());
        if from == to {
            return 0;
        }
        let jitter = self.draw(self.config.jitter_us);
        self.trip_us(from, to).saturating_add(jitter)
    }
}
