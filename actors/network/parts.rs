//! What a node is made of when nobody says otherwise: entropy, keys, the store, the transports.

use std::{path::Path, sync::Arc};

use peerstage_core::{
    address::TransportKind,
    config::{Backend, Config},
    identity::{Keypair, NetworkId},
};

use super::{StartError, reach::Transports};
use crate::{
    identity_file,
    store::{
        self, StoreBackend,
        open::{BackendChoice, OpenError},
    },
    transport::{QuicTransport, TcpTransport, Transport},
};

/// What the configuration names; one transport alone if there is one instead, which is a
/// stream of bytes and so stands for TCP.
pub(super) fn transports(
    config: &mut Config,
    instead: Option<Arc<dyn Transport>>,
    keypair: &Keypair,
    network: NetworkId,
) -> Transports {
    if let Some(plain) = instead {
        config.network.transports = vec![TransportKind::Tcp];
        return Transports { plain, quic: None, kinds: vec![TransportKind::Tcp] };
    }
    let named = &config.network.transports;
    let kinds: Vec<TransportKind> =
        TransportKind::ALL.into_iter().filter(|kind| named.contains(kind)).collect();
    let policy = super::settings::post_quantum(config);
    let quic = || Arc::new(QuicTransport::new(keypair.clone(), network, policy));
    let quic = kinds.contains(&TransportKind::Quic).then(quic);
    Transports { plain: Arc::new(TcpTransport), quic, kinds }
}

/// 32 bytes from the operating system.
pub(super) fn entropy() -> Result<[u8; 32], StartError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
    Ok(seed)
}

pub(super) fn load_key(config: &Config, file: &Path) -> Result<Keypair, StartError> {
    let loaded = identity_file::load_or_create(&config.path(file))?;
    Ok(loaded.keypair)
}

fn backend(config: &Config) -> BackendChoice {
    match config.store.backend {
        Backend::Auto => BackendChoice::Auto,
        Backend::Rocksdb => BackendChoice::Rocksdb,
        Backend::Redb => BackendChoice::Redb,
        Backend::Memory => BackendChoice::Memory,
    }
}

/// Looks at the store that the configuration names and leaves it as it is: its backend, if it is
/// there.
pub(crate) fn inspect_store(config: &Config) -> Result<Option<&'static str>, OpenError> {
    store::open::inspect(&config.path(&config.store.path), backend(config))
}

pub(super) fn open_store(config: &Config) -> Result<Box<dyn StoreBackend>, StartError> {
    let opened = store::open(&config.path(&config.store.path), backend(config))?;
    if let Some(aside) = &opened.moved_aside {
        let restored = opened.restored_bans;
        tracing::warn!(to = %aside.display(), restored, "the peer database was damaged and moved aside");
    }
    Ok(opened.backend)
}
