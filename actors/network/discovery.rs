//! The part of the handle that finds things: nodes, values, providers, namespaces.

use bytes::Bytes;
use peerstage_core::{
    identity::{NodeId, PublicKey},
    kademlia::{Claim, ClaimPurpose, DiscoveryError, Outcome, Point, VerifiedClaim, Wish},
    record::{SignedRecord, VerifiedRecord},
};
use tokio::sync::oneshot;

use super::{Network, Stopped};
use crate::discovery::{Publication, Seek, Withdraw};

/// Why something was not found or not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Discovery ended without a result.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

impl From<Stopped> for FindError {
    fn from(_: Stopped) -> Self {
        FindError::Stopped
    }
}

impl Network {
    async fn seek(&self, wish: Wish) -> Result<Outcome, FindError> {
        let (answer, answered) = oneshot::channel();
        let seek = Seek { wish, answer };
        self.core.actors.discovery.send(seek).await.map_err(|_| FindError::Stopped)?;
        Ok(answered.await.map_err(|_| FindError::Stopped)??)
    }

    async fn publish_claim(
        &self,
        purpose: ClaimPurpose,
        name: [u8; 32],
        value: Vec<u8>,
    ) -> Result<usize, FindError> {
        match self.seek(Wish::Publish { purpose, name, value }).await? {
            Outcome::Stored(copies) => Ok(copies),
            Outcome::Nodes(_) | Outcome::Claims(_) => Ok(0),
        }
    }

    async fn claims(
        &self,
        purpose: ClaimPurpose,
        point: Point,
    ) -> Result<Vec<VerifiedClaim>, FindError> {
        match self.seek(Wish::Find(purpose, point.0)).await? {
            Outcome::Claims(claims) => Ok(claims),
            Outcome::Nodes(_) | Outcome::Stored(_) => Ok(Vec::new()),
        }
    }

    async fn withdraw(&self, purpose: ClaimPurpose, name: [u8; 32]) -> Result<bool, Stopped> {
        let known = Publication { purpose, name };
        Ok(self.core.actors.discovery.send(Withdraw(known)).await?)
    }

    /// This node's own signed record, as it is told to others now.
    #[must_use]
    pub fn record(&self) -> Option<SignedRecord> {
        self.core.own.signed_record()
    }

    /// A node's signed record, found through others; first of the list. If it can't be found, the
    /// list begins with the nodes whose ids are closest.
    ///
    /// # Errors
    /// [`FindError`]: nobody to ask, or too many lookups at once.
    pub async fn find_node(&self, node: NodeId) -> Result<Vec<VerifiedRecord>, FindError> {
        match self.seek(Wish::FindNode(node)).await? {
            Outcome::Nodes(nodes) => Ok(nodes),
            Outcome::Claims(_) | Outcome::Stored(_) => Ok(Vec::new()),
        }
    }

    /// Publishes a value of this node's own under a name, at the nodes closest to both, and keeps
    /// it alive until [`Network::remove_value`] or the end of the network. How many nodes took it.
    ///
    /// # Errors
    /// [`FindError`]: longer than 1,024 bytes, nobody to ask, or nobody took it.
    pub async fn put_value(
        &self,
        name: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> Result<usize, FindError> {
        let name = Point::of(name.as_ref()).0;
        self.publish_claim(ClaimPurpose::Value, name, value.into()).await
    }

    /// The value that the node with this key published under a name; `None` if there is none.
    ///
    /// # Errors
    /// [`FindError`]: nobody to ask.
    pub async fn get_value(
        &self,
        publisher: PublicKey,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, FindError> {
        let name = Point::of(name.as_ref()).0;
        let point = Point::of_value(&publisher, &name);
        let claims = self.claims(ClaimPurpose::Value, point).await?;
        let newest = claims.iter().map(VerifiedClaim::claim).max_by_key(|claim| claim.sequence);
        Ok(newest.map(|claim: &Claim| Bytes::copy_from_slice(&claim.payload)))
    }

    /// Stops keeping a value alive: the copies are gone within 6 h. Whether there was one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn remove_value(&self, name: impl AsRef<[u8]>) -> Result<bool, Stopped> {
        self.withdraw(ClaimPurpose::Value, Point::of(name.as_ref()).0).await
    }

    /// Tells the network that this node has what `key` names (a block, a snapshot, a shard), until
    /// [`Network::stop_providing`]. How many nodes keep that.
    ///
    /// # Errors
    /// [`FindError`]: nobody to ask, or nobody took it.
    pub async fn provide(&self, key: impl AsRef<[u8]>) -> Result<usize, FindError> {
        let name = Point::of(key.as_ref()).0;
        self.publish_claim(ClaimPurpose::Provider, name, Vec::new()).await
    }

    /// The nodes that say they have what `key` names, as their own signed records.
    ///
    /// # Errors
    /// [`FindError`]: nobody to ask.
    pub async fn providers(&self, key: impl AsRef<[u8]>) -> Result<Vec<VerifiedRecord>, FindError> {
        let claims = self.claims(ClaimPurpose::Provider, Point::of(key.as_ref())).await?;
        Ok(claims.iter().filter_map(|claim| claim.record().cloned()).collect())
    }

    /// Stops saying that this node has what `key` names. Whether it did.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn stop_providing(&self, key: impl AsRef<[u8]>) -> Result<bool, Stopped> {
        self.withdraw(ClaimPurpose::Provider, Point::of(key.as_ref()).0).await
    }

    /// Registers this node under a namespace at the rendezvous points closest to it, until
    /// [`Network::unregister`]. How many points took it.
    ///
    /// # Errors
    /// [`FindError`]: no point is known, or none took it.
    pub async fn register(&self, namespace: &str) -> Result<usize, FindError> {
        let name = Point::of(namespace.as_bytes()).0;
        self.publish_claim(ClaimPurpose::Rendezvous, name, Vec::new()).await
    }

    /// The nodes registered under a namespace at several rendezvous points, as their own signed
    /// records; a random few of many.
    ///
    /// # Errors
    /// [`FindError`]: no point is known.
    pub async fn discover(&self, namespace: &str) -> Result<Vec<VerifiedRecord>, FindError> {
        let point = Point::of(namespace.as_bytes());
        let claims = self.claims(ClaimPurpose::Rendezvous, point).await?;
        Ok(claims.iter().filter_map(|claim| claim.record().cloned()).collect())
    }

    /// Stops keeping a registration alive. Whether there was one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn unregister(&self, namespace: &str) -> Result<bool, Stopped> {
        self.withdraw(ClaimPurpose::Rendezvous, Point::of(namespace.as_bytes()).0).await
    }
}
