//! A host of the simulated network: its line and the queues at both ends of it.

use std::collections::VecDeque;

use super::{
    config::{Bandwidth, Placement},
    end::{EndId, Segment},
    fabric::Micros,
};

/// Headers of IP and TCP in bytes, which a segment occupies the line with besides its payload.
const HEADER_BYTES: usize = 40;

/// First of the ports that diallers get (IANA, RFC 6335 section 6).
const EPHEMERAL_FIRST: u16 = 49_152;

pub(super) struct Host {
    pub(super) placement: Placement,
    /// Limits put on top of the line by faults; the narrowest counts.
    pub(super) limits: Vec<(u64, Bandwidth)>,
    /// Crashes so far: sockets of an earlier life are dead.
    pub(super) life: u64,
    next_port: u16,
    /// Ends that have something to send, served in turn, a segment each.
    pub(super) sending: VecDeque<EndId>,
    pub(super) line_free_at: Micros,
    pub(super) send_scheduled: bool,
    /// Segments that arrived at the far side of a narrow downlink.
    pub(super) arriving: VecDeque<Segment>,
    pub(super) receive_scheduled: bool,
    /// Events of an earlier generation are void: the line was changed.
    pub(super) generation: u64,
}

impl Host {
    pub(super) fn new(placement: Placement) -> Self {
        Host {
            placement,
            limits: Vec::new(),
            life: 0,
            next_port: EPHEMERAL_FIRST,
            sending: VecDeque::new(),
            line_free_at: 0,
            send_scheduled: false,
            arriving: VecDeque::new(),
            receive_scheduled: false,
            generation: 0,
        }
    }

    pub(super) fn ephemeral_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(EPHEMERAL_FIRST);
        port
    }

    /// Time in microseconds to push this payload into the network.
    pub(super) fn up_us(&self, bytes: usize) -> Micros {
        let limits = self.limits.iter().filter_map(|(_, limit)| limit.up);
        line_us(bytes, limits.chain(self.placement.bandwidth.up).min())
    }

    /// Time in microseconds to pull this payload out of the network.
    pub(super) fn down_us(&self, bytes: usize) -> Micros {
        let limits = self.limits.iter().filter_map(|(_, limit)| limit.down);
        line_us(bytes, limits.chain(self.placement.bandwidth.down).min())
    }
}

fn line_us(bytes: usize, bits_per_second: Option<u64>) -> Micros {
    let Some(bits_per_second) = bits_per_second else { return 0 };
    let bits = u64::try_from(bytes.saturating_add(HEADER_BYTES)).unwrap_or(u64::MAX);
    bits.saturating_mul(8_000_000) / bits_per_second.max(1)
}
