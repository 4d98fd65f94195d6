//! Faults: rules that see every packet before it travels and say what becomes of it.

use std::net::IpAddr;

use peerstage_core::{address::Address, time::Millis};
use rand_chacha::ChaCha8Rng;

/// A packet about to leave its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender's end of the connection.
    pub from: Address,
    /// The receiver's end of the connection.
    pub to: Address,
    /// What it carries.
    pub kind: PacketKind,
    /// Payload in bytes.
    pub bytes: usize,
}

impl Packet {
    /// Whether it goes from one of these hosts to the other, in either direction.
    #[must_use]
    pub fn is_between(&self, a: IpAddr, b: IpAddr) -> bool {
        let ends = (self.from.ip(), self.to.ip());
        ends == (a, b) || ends == (b, a)
    }
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A request to connect, or one of the two answers that complete it.
    Connect,
    /// Bytes of a stream.
    Data,
    /// The end of one direction of a stream.
    Finish,
    /// The sudden end of a connection. Lost, it is not sent again.
    Reset,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It travels as usual.
    Pass,
    /// It takes this many ms longer.
    Delay(Millis),
    /// It is lost. What belongs to a stream is sent again later, with growing pauses.
    Drop,
}

/// A fault. Of several installed rules one `Drop` is enough, and delays add up.
///
/// Rules are asked in the order they were installed, under the lock of the network: they must
/// not call the network. Randomness comes from the argument alone, so that runs repeat.
pub trait Rule: Send {
    /// What becomes of this packet.
    fn judge(&mut self, packet: &Packet, rng: &mut ChaCha8Rng) -> Verdict;
}

impl<F: FnMut(&Packet, &mut ChaCha8Rng) -> Verdict + Send> Rule for F {
    fn judge(&mut self, packet: &Packet, rng: &mut ChaCha8Rng) -> Verdict {
        self(packet, rng)
    }
}

/// The installed rules, in order.
#[derive(Default)]
pub(super) struct Rules {
    installed: Vec<(u64, Box<dyn Rule>)>,
    next: u64,
}

impl Rules {
    pub(super) fn install(&mut self, rule: Box<dyn Rule>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.installed.push((id, rule));
        id
    }

    /// Takes a rule out; the caller drops it outside of the lock.
    pub(super) fn remove(&mut self, id: u64) -> Option<Box<dyn Rule>> {
        let index = self.installed.iter().position(|(other, _)| *other == id)?;
        Some(self.installed.remove(index).1)
    }

    /// The delay in ms, or `None` if the packet is lost. Every rule is asked, also about a
    /// packet that an earlier one drops, so that one rule can't change the dice of another.
    pub(super) fn judge(&mut self, packet: &Packet, rng: &mut ChaCha8Rng) -> Option<Millis> {
        let mut delay_ms = Some(0u64);
        for (_, rule) in &mut self.installed {
            delay_ms = match rule.judge(packet, rng) {
                Verdict::Pass => delay_ms,
                Verdict::Delay(ms) => delay_ms.map(|sum| sum.saturating_add(ms)),
                Verdict::Drop => None,
            };
        }
        delay_ms
    }
}
