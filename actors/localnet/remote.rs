//! A node's admin socket, as any operator would use it.

use std::path::PathBuf;

use bytes::Bytes;
use hyper::Method;
use peerstage_core::{
    address::Address,
    identity::{NodeId, hex},
    kinds::Kind,
    messages::Topic,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::LocalnetError;
use crate::{
    node::{Client, ClientError, Endpoint},
    status::{PeerInfo, Status},
};

/// Asks one node.
pub(super) struct Remote {
    index: usize,
    client: Client,
}

/// What a node says about a peer's score.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub(super) struct Explained {
    /// For programs.
    pub(super) explanation: Value,
    /// For people.
    pub(super) text: String,
}

impl Remote {
    pub(super) fn new(index: usize, socket: PathBuf) -> Self {
        Remote { index, client: Client::new(Endpoint::Socket(socket)) }
    }

    pub(super) async fn status(&self) -> Result<Status, LocalnetError> {
        self.get("/v1/status").await
    }

    pub(super) async fn peers(&self) -> Result<Vec<PeerInfo>, LocalnetError> {
        self.get("/v1/peers").await
    }

    pub(super) async fn explain(&self, peer: NodeId) -> Result<Explained, LocalnetError> {
        self.get(&format!("/v1/peers/{peer}/explain")).await
    }

    pub(super) async fn connect(&self, address: Address) -> Result<(), LocalnetError> {
        self.post("/v1/connect", &json!({ "address": address.to_string() })).await
    }

    pub(super) async fn broadcast(
        &self,
        kind: Kind,
        topic: Topic,
        body: &Bytes,
    ) -> Result<(), LocalnetError> {
        let body = json!({ "kind": kind, "topic": topic, "body": hex(body) });
        self.post("/v1/broadcast", &body).await
    }

    /// Asks the node to stop; one that doesn't listen any more has.
    pub(super) async fn shutdown(&self) {
        let _ = self.post("/v1/shutdown", &json!({})).await;
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LocalnetError> {
        let value = self.client.get(path).await.map_err(|error| self.failed(&error))?;
        serde_json::from_value(value)
            .map_err(|error| LocalnetError::Admin { index: self.index, why: error.to_string() })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(), LocalnetError> {
        let answer = self.client.call(Method::POST, path, Some(body)).await;
        answer.map(drop).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ClientError) -> LocalnetError {
        LocalnetError::Admin { index: self.index, why: error.to_string() }
    }
}
