//! This node's own claims, kept alive at others.

use super::{tasks::Goal, *};
use crate::codec::Capped;

/// Claims that are published anew at a time.
const REPUBLISHED_AT_ONCE: usize = 8;
/// When more wait, ms.
const REPUBLISH_PAUSE: Millis = 1_000;

/// A claim that is kept alive.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    name: [u8; 32],
    value: Vec<u8>,
    next: Time,
}

impl Kademlia {
    /// Signs a claim and keeps it alive from now on.
    pub(super) fn publish(
        &mut self,
        now: Time,
        purpose: ClaimPurpose,
        name: [u8; 32],
        value: Vec<u8>,
    ) -> Result<SignedClaim, DiscoveryError> {
        let key = self.own_key(purpose, name);
        if value.len() > PAYLOAD_MAX {
            return Err(DiscoveryError::TooLong);
        }
        let full = self.publications.len() >= self.config.publications_max;
        if full && !self.publications.contains_key(&key) {
            return Err(DiscoveryError::TooMany);
        }
        let signed = self.sign(now, purpose, name, &value).ok_or(DiscoveryError::Off)?;
        let next = now.plus(self.config.republish_interval);
        self.publications.insert(key, Publication { name, value, next });
        self.next_republish = self.next_republish.min(next);
        Ok(signed)
    }

    /// A claim of this node is not kept alive any more: the copies die within their lives.
    /// Whether there was one.
    pub fn withdraw(&mut self, purpose: ClaimPurpose, name: [u8; 32]) -> bool {
        let key = self.own_key(purpose, name);
        self.publications.remove(&key).is_some()
    }

    fn own_key(&self, purpose: ClaimPurpose, name: [u8; 32]) -> ClaimKey {
        let signer = self.keypair.public();
        let point = match purpose {
            ClaimPurpose::Value => Point::of_value(&signer, &name),
            ClaimPurpose::Provider | ClaimPurpose::Rendezvous => Point(name),
        };
        ClaimKey { purpose, point, signer }
    }

    /// The claim as of now; `None` if this node has no record yet that could go with it.
    fn sign(
        &self,
        now: Time,
        purpose: ClaimPurpose,
        name: [u8; 32],
        value: &[u8],
    ) -> Option<SignedClaim> {
        let payload = match purpose {
            ClaimPurpose::Value => value.to_vec(),
            ClaimPurpose::Provider | ClaimPurpose::Rendezvous => {
                self.own_record.as_ref()?.encode().ok()?
            }
        };
        let claim = Claim {
            purpose,
            signer: self.keypair.public(),
            name,
            sequence: now.0,
            issued: now,
            expires: now.plus(self.config.claim_life.min(CLAIM_LIFE_MAX)),
            payload: Capped::first(payload),
        };
        claim.sign(&self.keypair, &self.network)
    }

    /// Publishes anew what is due, a few at a time.
    pub(super) fn republish(&mut self, now: Time, out: &mut Vec<Action>) {
        let interval = self.config.republish_interval;
        let due = self.publications.iter().filter(|(_, known)| known.next <= now);
        let due: Vec<ClaimKey> = due.map(|(key, _)| *key).take(REPUBLISHED_AT_ONCE).collect();
        for key in due {
            let Some(known) = self.publications.get_mut(&key) else { continue };
            known.next = now.plus(interval);
            let (name, value) = (known.name, known.value.clone());
            if let Some(signed) = self.sign(now, key.purpose, name, &value) {
                self.begin(now, Goal::Store(Box::new(signed)), false, out);
            }
        }
        let next = self.publications.values().map(|known| known.next).min();
        self.next_republish = next.map_or(Time::NEVER, |next| next.max(now.plus(REPUBLISH_PAUSE)));
    }

    /// This node is among the closest itself: it keeps a copy; how many that makes.
    pub(super) fn keep_own(
        &mut self,
        now: Time,
        signed: &SignedClaim,
        out: &mut Vec<Action>,
    ) -> usize {
        let Ok(claim) = signed.clone().verify(&self.network, now) else { return 0 };
        let kept = Box::new(claim.clone());
        match self.storage.put(claim, None) {
            Ok(displaced) => {
                out.extend(displaced.map(Action::ForgetClaim));
                out.push(Action::PersistClaim(kept));
                1
            }
            Err(_) => 0,
        }
    }
}
