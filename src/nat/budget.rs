//! How much is sent to addresses that others name.
//!
//! # Security
//! Provided: however many nodes name an address, it gets so many datagrams at once and so many a
//! minute in the long run, until a connection with it has shown that it wants them; a probe that
//! comes from there shows nothing, as whoever named it can forge one. Memory is bounded, and when
//! it is full nobody else is sent to.
//! Not provided: a bound for many victims together; that is the rate of the offers.

use std::{collections::BTreeMap, net::IpAddr};

use super::own::household;
use crate::time::{Millis, Time};

/// Datagrams to one machine at once that others' offers ask for; and as many in
/// [`COUNTS_FOR`] after these. Two rounds of a punch to two ports of it.
pub(super) const ANSWERED_MAX: u32 = 40;
/// The same for punches of our own: two of them, three rounds each.
pub(super) const OPENED_MAX: u32 = 120;
/// How long it takes until nothing of what was sent counts any more, ms; and for how long a NAT may
/// let in whoever was sent to (see [`super::strangers`]).
pub(super) const COUNTS_FOR: Millis = 10 * 60 * 1_000;
/// Machines that are remembered: in that time the offers that are answered name some 3,700, and
/// the punches of our own some 2,400.
const MACHINES_MAX: usize = 8_192;

#[derive(Clone, Copy, Debug)]
struct Sent {
    last: Time,
    /// When all of it has been worked off (generic cell rate algorithm, ITU-T I.371 annex A).
    until: Time,
}

/// What was sent, and where.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// How long one datagram counts, ms.
    price: Millis,
    by_machine: BTreeMap<IpAddr, Sent>,
}

impl Budget {
    /// So many datagrams to one machine at once.
    pub(super) fn new(at_once: u32) -> Self {
        let price = COUNTS_FOR.checked_div(u64::from(at_once)).unwrap_or(COUNTS_FOR);
        Budget { price, by_machine: BTreeMap::new() }
    }

    /// Whether so many more machines could be sent to.
    pub(super) fn has_room(&mut self, now: Time, machines: usize) -> bool {
        if self.by_machine.len().saturating_add(machines) > MACHINES_MAX {
            self.by_machine.retain(|_, sent| now.since(sent.last) < COUNTS_FOR);
        }
        self.by_machine.len().saturating_add(machines) <= MACHINES_MAX
    }

    /// Whether a datagram may be sent there.
    pub(super) fn allows(&mut self, now: Time, ip: IpAddr) -> bool {
        let known = self.by_machine.get(&household(ip));
        match known.map(|sent| sent.until.max(now).plus(self.price).since(now)) {
            Some(owed) => owed <= COUNTS_FOR,
            None => self.has_room(now, 1),
        }
    }

    /// One datagram; false if it must not be sent.
    pub(super) fn take(&mut self, now: Time, ip: IpAddr) -> bool {
        let granted = self.allows(now, ip);
        if granted {
            let machine = self.by_machine.entry(household(ip));
            let sent = machine.or_insert(Sent { last: now, until: now });
            *sent = Sent { last: now, until: sent.until.max(now).plus(self.price) };
        }
        granted
    }

    /// A connection with it is open: it wants what we send.
    pub(super) fn on_answered(&mut self, ip: IpAddr) {
        if let Some(sent) = self.by_machine.get_mut(&household(ip)) {
            sent.until = Time::ZERO;
        }
    }

    /// Whether something was sent there lately.
    pub(super) fn was_sent(&self, now: Time, ip: IpAddr) -> bool {
        let sent = self.by_machine.get(&household(ip));
        sent.is_some_and(|sent| now.since(sent.last) < COUNTS_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gets_its_share_and_four_a_minute() {
        let (mut budget, ip) = (Budget::new(ANSWERED_MAX), IpAddr::from([66, 1, 1, 1]));
        let mut take = |at: Millis| (0..100).filter(|_| budget.take(Time(at), ip)).count();
        assert_eq!(take(0), 40);
        assert_eq!((take(60_000), take(60_000 + COUNTS_FOR)), (4, 40));
        let now = Time(60_000 + COUNTS_FOR);
        assert!(!budget.allows(now, ip));
        budget.on_answered(ip);
        assert!(budget.take(now, ip) && budget.was_sent(now, ip));
        assert!(!budget.was_sent(now.plus(COUNTS_FOR), ip));
        let host = |n: u16| IpAddr::from([0x2a01, 4, 4, 4, 0, 0, 0, n]);
        let granted = (0..100).filter(|n| budget.take(Time(0), host(*n))).count();
        assert_eq!(granted, 40, "a /64 is one machine's");
    }

    /// When all places are taken, nobody else is sent to, and nobody is forgotten.
    #[test]
    fn a_full_budget_grants_nothing_new() {
        let mut budget = Budget::new(ANSWERED_MAX);
        let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        assert!((0..MACHINES_MAX).all(|n| budget.take(Time(n as u64), ip(n))));
        assert!(!budget.take(Time(9_000), ip(MACHINES_MAX)) && budget.take(Time(9_000), ip(0)));
        assert!(budget.was_sent(Time(9_000), ip(1)));
        assert!(budget.has_room(Time(COUNTS_FOR + 100), 100));
        assert_eq!(budget.by_machine.len(), MACHINES_MAX - 100);
    }
}
