//! The claims this node keeps for others.
//!
//! # Security
//! Provided (attack row 23): the store is bounded in all, for each signer, for each point, for
//! each neighbourhood that claims come from and for that at one point, so a flood displaces little
//! that is not its own; at a full point the most crowded neighbourhood makes room; when all is full,
//! what lies farthest from this node goes, which others keep better.
//! Not provided: a signer costs nothing, so the quotas of neighbourhoods are those that hold against
//! somebody with many keys; after a restart those of claims kept before it begin anew.

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
    /// Of these, at one point.
    pub per_point_and_group_max: usize,
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
            per_point_and_group_max: 4,
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
        claim.claim().key()
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
        let near = |kept: &&Kept| group.is_some() && kept.group == group;
        let of_both = self.at(key.purpose, &key.point).filter(near).count();
        if count(self.signers.get(&key.signer)) >= self.limits.per_signer_max
            || of_group >= self.limits.per_group_max
            || of_both >= self.limits.per_point_and_group_max
        {
            return Err(Refusal::Full);
        }
        let mut displaced = None;
        if self.at(key.purpose, &key.point).count() >= self.limits.per_point_max {
            let crowding = self.crowding(&key, of_both).ok_or(Refusal::Full)?;
            self.remove(&crowding);
            displaced = Some(crowding);
        } else if self.claims.len() >= self.limits.claims_max {
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

    /// At a full point, the claim that gives way: the first to die of the neighbourhood that has the
    /// most there, if that is more than the newcomer's would have.
    fn crowding(&self, newcomer: &ClaimKey, of_newcomer: usize) -> Option<ClaimKey> {
        let mut crowds: BTreeMap<NetworkGroup, (usize, Time, ClaimKey)> = BTreeMap::new();
        for kept in self.at(newcomer.purpose, &newcomer.point) {
            let (key, end) = (ClaimKey::of(&kept.claim), kept.claim.claim().expires);
            let Some(group) = kept.group else { continue };
            let crowd = crowds.entry(group).or_insert((0, end, key));
            *crowd = (crowd.0.saturating_add(1), crowd.1.min(end), crowd.2);
            if end == crowd.1 {
                crowd.2 = key;
            }
        }
        let most = crowds.into_values().max_by_key(|(many, _, key)| (*many, *key))?;
        (most.0 > of_newcomer.saturating_add(1)).then_some(most.2)
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
