//! TLS 1.3 as QUIC's handshake: raw Ed25519 keys instead of certificates, on both sides.
//!
//! # Security
//! Provided: each side proves its identity key over the whole transcript, and the dialler learns
//! who answers before it names itself; the network is in the protocol's name; only the key
//! agreements of the policy are offered and accepted, and only AEADs of TLS 1.3; no resumption,
//! no early data, so nothing can be replayed.
//! Not provided: secrecy of who listens at an address: whoever dials it on the right network
//! learns the key, as with Noise XX.

use std::sync::{Arc, Mutex, PoisonError};

use peerstage_core::{
    handshake::{
        HandshakeError, PqPolicy,
        tls::{key_from_spki, key_to_spki, protocol_names, sign_transcript, verify_transcript},
    },
    identity::{Keypair, NetworkId, NodeId, PublicKey},
};
use quinn::{
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
    rustls::{
        self, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
        SignatureAlgorithm, SignatureScheme,
        client::{
            AlwaysResolvesClientRawPublicKeys, Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
        pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
        server::{
            AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
        sign::{CertifiedKey, Signer, SigningKey},
    },
};

/// A node's side of every TLS handshake.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    keypair: Keypair,
    network: NetworkId,
    policy: PqPolicy,
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
}

/// Why the handshake of one dial was refused by us: TLS itself only has an alert for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<HandshakeError>>>);

impl Refusal {
    fn set(&self, error: HandshakeError) -> Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        // Each has its alert, so that the other side knows as much as over Noise.
        Error::InvalidCertificate(match error {
            HandshakeError::BadIdentitySignature => CertificateError::BadSignature,
            _ => CertificateError::ApplicationVerificationFailure,
        })
    }

    /// The reason, if it was us who refused.
    pub(super) fn take(&self) -> Option<HandshakeError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tls {
    pub(super) fn new(keypair: Keypair, network: NetworkId, policy: PqPolicy) -> Self {
        let hybrid: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519MLKEM768;
        let classical: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519;
        let kx_groups = match policy {
            PqPolicy::Prefer => vec![hybrid, classical],
            PqPolicy::Require => vec![hybrid],
            PqPolicy::Classical => vec![classical],
        };
        let provider = Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() });
        let key = IdentityKey(keypair.clone());
        let spki = CertificateDer::from(key_to_spki(&keypair.public()).to_vec());
        let certified = Arc::new(CertifiedKey::new(vec![spki], Arc::new(key)));
        Tls { keypair, network, policy, provider, certified }
    }

    pub(super) fn network(&self) -> &NetworkId {
        &self.network
    }

    pub(super) fn own_key(&self) -> PublicKey {
        self.keypair.public()
    }

    /// The same with another key in place of its own, for tests of liars.
    #[cfg(test)]
    pub(super) fn with_certified(
        &self,
        certified: impl FnOnce(Arc<dyn SigningKey>) -> CertifiedKey,
    ) -> Self {
        let own = Arc::new(IdentityKey(self.keypair.clone()));
        Tls { certified: Arc::new(certified(own)), ..self.clone() }
    }

    /// For one dial; what it refuses shows in the refusal.
    ///
    /// # Errors
    /// None that a node's settings can cause.
    pub(super) fn client(
        &self,
        expected: Option<NodeId>,
    ) -> Result<(QuicClientConfig, Refusal), Error> {
        let refusal = Refusal::default();
        let verifier = Verifier { own: self.own_key(), expected, refusal: refusal.clone() };
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocol_names(&self.network, self.policy);
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        let config = QuicClientConfig::try_from(config);
        Ok((config.map_err(|error| Error::General(error.to_string()))?, refusal))
    }

    /// For everything that is accepted.
    ///
    /// # Errors
    /// None that a node's settings can cause.
    pub(super) fn server(&self) -> Result<QuicServerConfig, Error> {
        let (own, expected) = (self.own_key(), None);
        let verifier = Verifier { own, expected, refusal: Refusal::default() };
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocol_names(&self.network, self.policy);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        let config = QuicServerConfig::try_from(config);
        config.map_err(|error| Error::General(error.to_string()))
    }
}

/// The node's key, as TLS signs with it.
#[derive(Clone, Debug)]
struct IdentityKey(Keypair);

impl SigningKey for IdentityKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(key_to_spki(&self.0.public()).to_vec()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for IdentityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = sign_transcript(&self.0, message);
        let signature = signature.ok_or_else(|| Error::General("no transcript".to_owned()))?;
        Ok(signature.0.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Checks who the other side is.
#[derive(Debug)]
struct Verifier {
    own: PublicKey,
    expected: Option<NodeId>,
    refusal: Refusal,
}

impl Verifier {
    fn check(&self, key: &[u8], chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = key_from_spki(key).filter(|_| chain.is_empty());
        let key = key.ok_or_else(|| self.refusal.set(HandshakeError::Malformed))?;
        if key == self.own {
            return Err(self.refusal.set(HandshakeError::SelfConnection));
        }
        let found = key.node_id();
        match self.expected {
            Some(expected) if expected != found => {
                Err(self.refusal.set(HandshakeError::UnexpectedPeer { found }))
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_from_spki(key).filter(|_| signed.scheme == SignatureScheme::ED25519);
        let good = key.is_some_and(|key| verify_transcript(&key, message, signed.signature()));
        let bad = || self.refusal.set(HandshakeError::BadIdentitySignature);
        good.then(HandshakeSignatureValid::assertion).ok_or_else(bad)
    }
}

/// TLS 1.2 is not offered, so nobody comes here.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key, chain).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key, chain).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
