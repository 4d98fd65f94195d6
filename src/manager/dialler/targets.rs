//! Places that are dialled for ever: those that the operator names, and a few that DNS or the local
//! network does.
//!
//! # Security
//! Provided: whoever answers for a name has few places for it, and takes none away that anything else
//! names; told the same again, nothing is dialled sooner.
//! Not provided: doubt about where a name of the operator's leads.

use std::collections::BTreeSet;

use super::{DialPurpose, Dialler};
use crate::{
    address::Address,
    identity::NodeId,
    manager::{
        self, NameId,
        config::{FOUND_MAX, TARGETS_MAX},
    },
    time::Time,
};

/// A node that is retried for ever.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Target {
    pub(in crate::manager) address: Address,
    pub(in crate::manager) expected: Option<NodeId>,
    /// Who answered there last.
    pub(in crate::manager) met: Option<NodeId>,
    /// What the configuration names it for, and by which name; without one, by its address.
    configured: BTreeSet<(DialPurpose, Option<NameId>)>,
    /// Whether it was named while the node ran.
    ordered: bool,
    pub(in crate::manager) failures: u32,
    pub(in crate::manager) next: Time,
}

impl Target {
    /// What it is wanted for: the most of what it was named for.
    pub(in crate::manager) fn purpose(&self) -> DialPurpose {
        let persistent = |(why, _): &(DialPurpose, _)| *why == DialPurpose::Persistent;
        if self.ordered || self.configured.iter().any(persistent) {
            DialPurpose::Persistent
        } else {
            DialPurpose::Bootstrap
        }
    }

    /// Whether this is what the operator calls the node.
    pub(in crate::manager) fn is(&self, peer: &NodeId) -> bool {
        self.expected.or(self.met) == Some(*peer)
    }

    /// Whether it is this one. Behind one relay there are many nodes, told apart by their ids.
    pub(super) fn is_at(&self, address: &Address, expected: Option<NodeId>) -> bool {
        self.address == *address && (!address.is_circuit() || self.expected == expected)
    }

    /// Whether DNS or the local network named it, and nobody we trust.
    pub(in crate::manager) fn is_found(&self) -> bool {
        self.configured.is_empty() && !self.ordered
    }
}

impl Dialler {
    /// The target of this name, new if there is none yet; `None` if there are too many.
    fn target(&mut self, now: Time, target: manager::Target) -> Option<&mut Target> {
        let manager::Target { address, expected } = target;
        let known = self.targets.iter().position(|t| t.is_at(&address, expected));
        if known.is_none() {
            if self.targets.len() >= TARGETS_MAX {
                return None;
            }
            self.targets.push(Target {
                address,
                expected,
                met: None,
                configured: BTreeSet::new(),
                ordered: false,
                failures: 0,
                next: now,
            });
        }
        let index = known.unwrap_or(self.targets.len().saturating_sub(1));
        let target = self.targets.get_mut(index)?;
        target.expected = expected.or(target.expected);
        Some(target)
    }

    /// The operator wants this one connected from now on. False if there are too many.
    pub(in crate::manager) fn add_ordered(&mut self, now: Time, target: manager::Target) -> bool {
        let Some(target) = self.target(now, target) else { return false };
        (target.ordered, target.next, target.failures) = (true, now, 0);
        true
    }

    /// The configuration names it, by its address or by a name that leads there. Told again it is
    /// dialled no sooner. False if there are too many.
    pub(in crate::manager) fn add_configured(
        &mut self,
        now: Time,
        target: manager::Target,
        (why, name): (DialPurpose, Option<NameId>),
    ) -> bool {
        let Some(target) = self.target(now, target) else { return false };
        let (before, found) = (target.purpose(), target.is_found());
        target.configured.insert((why, name));
        if found || target.purpose() != before {
            (target.next, target.failures) = (now, 0);
        }
        true
    }

    /// A name of the configuration leads to this address no longer. The target stays if its node is
    /// connected there, or if it is wanted for another reason. Whether one is still there by this name.
    pub(in crate::manager) fn forget_moved(
        &mut self,
        address: &Address,
        name: NameId,
        is_connected: impl Fn(&NodeId) -> bool,
    ) -> bool {
        let mut stays = false;
        self.targets.retain_mut(|target| {
            let of_name = |(_, by): &(DialPurpose, Option<NameId>)| *by == Some(name);
            if target.address != *address || !target.configured.iter().any(of_name) {
                return true;
            }
            let here = target.expected.or(target.met).is_some_and(|peer| is_connected(&peer));
            if here {
                stays = true;
                return true;
            }
            target.configured.retain(|why| !of_name(why));
            !target.is_found()
        });
        stays
    }

    /// A place that DNS or the local network names. Told again it is dialled no sooner; the oldest
    /// of these gives way to it.
    pub(in crate::manager) fn add_found(&mut self, now: Time, target: manager::Target) {
        let manager::Target { address, expected } = target;
        let known = self.targets.iter().find(|known| known.address == address);
        let told =
            |known: &Target| !known.is_found() || expected.is_none() || known.expected == expected;
        if known.is_some_and(told) {
            return;
        }
        if known.is_none() {
            let mut found = self.targets.iter().filter(|target| target.is_found());
            let oldest = found.next().map(|target| target.address);
            if let Some(oldest) = oldest.filter(|_| found.count() >= FOUND_MAX.saturating_sub(1)) {
                self.targets.retain(|target| target.address != oldest);
            }
        }
        if let Some(target) = self.target(now, target) {
            (target.next, target.failures) = (now, 0);
        }
    }

    /// The operator wants this node gone: what was named while the node ran is forgotten, what
    /// the configuration names is again only that.
    pub(in crate::manager) fn dismiss(&mut self, peer: &NodeId) {
        self.targets.retain_mut(|target| {
            let ordered = target.is(peer) && std::mem::take(&mut target.ordered);
            !ordered || !target.is_found()
        });
    }
}
