//! Connections whose peer has another now, and which are heard out before they end.
//!
//! # Security
//! Provided: they are few, in all and for each IP or relay, whoever makes how many; a ban, or whatever
//! else ends the peer, ends them too.
//! Not provided: hearing out where there are more; what was under way there is lost.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Action, Manager, SessionId, close};
use crate::{address::Address, identity::NodeId, reason::CloseReason};

/// Connections that are heard out at a time. Twice what relayed peers have by default, and some.
pub const RETIRING_MAX: usize = 32;
/// Of these, from one IP, or through relays at one: two upgrades at a time.
pub const RETIRING_PER_IP_MAX: usize = 4;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Retiring {
    live: BTreeMap<SessionId, (NodeId, (IpAddr, bool))>,
}

impl Manager {
    /// Whether one more connection may be heard out; then it is.
    pub(super) fn hears_out(&mut self, session: SessionId, peer: NodeId, address: Address) -> bool {
        let live = &mut self.retiring.live;
        let place = (address.ip(), address.is_circuit());
        let near = live.values().filter(|(_, other)| *other == place).count();
        let exempt = self.book.is_exempt(address);
        let room = live.len() < RETIRING_MAX && (exempt || near < RETIRING_PER_IP_MAX);
        if room {
            live.insert(session, (peer, place));
        }
        room
    }

    /// A connection is gone.
    pub(super) fn on_heard_out(&mut self, session: SessionId) {
        self.retiring.live.remove(&session);
    }

    /// A peer's connections that are heard out end with it.
    pub(super) fn end_retiring(
        &mut self,
        peer: &NodeId,
        reason: CloseReason,
        out: &mut Vec<Action>,
    ) {
        let live = &mut self.retiring.live;
        let ended = live.extract_if(.., |_, (of, _)| of == peer);
        out.extend(ended.map(|(session, _)| close(session, reason)));
    }

    /// This node stops: nobody waits for what they still bring.
    pub(super) fn end_all_retiring(&mut self, out: &mut Vec<Action>) {
        let all = std::mem::take(&mut self.retiring.live);
        out.extend(all.into_keys().map(|session| close(session, CloseReason::Shutdown)));
    }
}
