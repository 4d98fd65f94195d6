//! The claims this node keeps for others.
//!
//! # Security
//! Provided (attack row 23): the store is bounded in all, for each signer, for each point and
//! for each neighbourhood that claims come from, so a flood displaces little that is not its
//! own; when it is full, what lies farthest from this node goes, which others keep better.
//! Not provided: a signer costs nothing, so the quotas of point and neighbourhood are those that
//! hold against somebody with many keys.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, seq::SliceRandom};

use super::{CLAIMS_MAX, ClaimPurpose, Distance, Point, Refusal, VerifiedClaim};
use crate::{
    address::NetworkGroup,
    identity::{NodeId, PublicKey},
    time::Time,
};

/// Names a claim: there is one of each signer for each purpose and point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// What it says.
    pub purpose: ClaimPurpose,
    /// Where it is.
    pub point: Point,
    /// Who says it.
    pub signer: PublicKey,
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// Claims in all; one has 1,188 bytes at most, so the default is 20 MiB.
    pub claims_max: usize,
    /// Claims of one signer.
    pub per_signer_max: usize,
    /// Claims at one point.
    pub per_point_max: usize,
    /// Claims that came from one neighbourhood.
    pub per_group_max: usize,
    /// Whether registrations of namespaces are kept.
    pub rendezvous: bool,
}

impl Default for StorageLimits {
    fn default() -> Self {
        StorageLimits {
            claims_max: 16_384,
            per_signer_max: 64,
            per_point_max: 64,
            per_group_max: 1_024,
            rendezvous: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Kept {
    claim: VerifiedClaim,
    group: Option<NetworkGroup>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Storage {
    own: Point,
    limits: StorageLimits,
    claims: BTreeMap<ClaimKey, Kept>,
    distances: BTreeSet<(Distance, ClaimKey)>,
    ends: BTreeSet<(Time, ClaimKey)>,
    signers: BTreeMap<PublicKey, usize>,
    groups: BTreeMap<NetworkGroup, usize>,
}

impl ClaimKey {
    /// The key of a claim.
    #[must_use]
    pub fn of(claim: &VerifiedClaim) -> Self {
        let said = claim.claim();
        ClaimKey { purpose: said.purpose, point: said.point(), signer: said.signer }
    }
}

impl Storage {
    /// An empty store of a node.
    #[must_use]
    pub fn new(own: NodeId, limits: StorageLimits) -> Self {
        Storage {
            own: own.into(),
            limits,
            claims: BTreeMap::new(),
            distances: BTreeSet::new(),
            ends: BTreeSet::new(),
            signers: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Keeps a claim that came from this neighbourhood; what had to go for it.
    ///
    /// # Errors
    /// [`Refusal`]: stale, over a quota, or not kept here.
    pub fn put(
        &mut self,
        claim: VerifiedClaim,
        group: Option<NetworkGroup>,
    ) -> Result<Option<ClaimKey>, Refusal> {
        let key = ClaimKey::of(&claim);
        if key.purpose == ClaimPurpose::Rendezvous && !self.limits.rendezvous {
            return Err(Refusal::Unsupported);
        }
        if let Some(known) = self.claims.get(&key) {
            if known.claim.claim().sequence > claim.claim().sequence {
                return Err(Refusal::Stale);
            }
            // Its place is its own, whoever brought it first.
            let group = known.group;
            self.remove(&key);
            self.insert(key, Kept { claim, group });
            return Ok(None);
        }
        let count = |of: Option<&usize>| of.copied().unwrap_or(0);
        let of_group = group.map_or(0, |group| count(self.groups.get(&group)));
        if count(self.signers.get(&key.signer)) >= self.limits.per_signer_max
            || of_group >= self.limits.per_group_max
            || self.at(key.purpose, &key.point).count() >= self.limits.per_point_max
        {
            return Err(Refusal::Full);
        }
        let mut displaced = None;
        if self.claims.len() >= self.limits.claims_max {
            let distance = self.own.distance(&key.point);
            let farthest = self.distances.last().copied();
            let Some((_, farthest)) = farthest.filter(|(far, _)| *far > distance) else {
                return Err(Refusal::Full);
            };
            self.remove(&farthest);
            displaced = Some(farthest);
        }
        self.insert(key, Kept { claim, group });
        Ok(displaced)
    }

    fn at(&self, purpose: ClaimPurpose, point: &Point) -> impl Iterator<Item = &Kept> {
        let key = |byte| ClaimKey { purpose, point: *point, signer: PublicKey([byte; 32]) };
        self.claims.range(key(0)..=key(255)).map(|(_, kept)| kept)
    }

    fn insert(&mut self, key: ClaimKey, kept: Kept) {
        self.distances.insert((self.own.distance(&key.point), key));
        self.ends.insert((kept.claim.claim().expires, key));
        let count = self.signers.entry(key.signer).or_insert(0);
        *count = count.saturating_add(1);
        if let Some(group) = kept.group {
            let count = self.groups.entry(group).or_insert(0);
            *count = count.saturating_add(1);
        }
        self.claims.insert(key, kept);
    }

    fn remove(&mut self, key: &ClaimKey) {
        let Some(gone) = self.claims.remove(key) else { return };
        self.distances.remove(&(self.own.distance(&key.point), *key));
        self.ends.remove(&(gone.claim.claim().expires, *key));
        less(&mut self.signers, &key.signer);
        if let Some(group) = gone.group {
            less(&mut self.groups, &group);
        }
    }

    /// The claims at a point, a random few if there are more than fit an answer.
    pub fn get(
        &self,
        purpose: ClaimPurpose,
        point: &Point,
        rng: &mut impl Rng,
    ) -> Vec<&VerifiedClaim> {
        let mut found: Vec<_> = self.at(purpose, point).map(|kept| &kept.claim).collect();
        if found.len() > CLAIMS_MAX {
            found.shuffle(rng);
            found.truncate(CLAIMS_MAX);
        }
        found
    }

    /// When the next claim dies.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Forgets what is dead; which that was.
    pub fn expire(&mut self, now: Time) -> Vec<ClaimKey> {
        let mut dead = Vec::new();
        while let Some((_, key)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.remove(&key);
            dead.push(key);
        }
        dead
    }

    /// How many claims there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }
}

fn less<T: Ord>(counts: &mut BTreeMap<T, usize>, of: &T) {
    if let Some(count) = counts.get_mut(of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(of);
        }
    }
}
