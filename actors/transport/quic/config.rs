//! How a QUIC connection is set up: windows, streams, times.

use std::{sync::Arc, time::Duration};

use peerstage_core::{kinds::LANES, time::Millis};
use quinn::{
    ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

/// What may be on its way on one lane, bytes. A lane that nobody reads holds no more than this,
/// and the others have theirs beside it. 512 KiB is 40 Mbit/s at 100 ms, for each lane.
pub const LANE_WINDOW: u32 = 512 * 1024;
/// All lanes of a connection: what a peer can make us hold, and what we hold until it has it.
const WINDOW: u32 = LANE_WINDOW * LANES as u32;

/// Silence in ms after which a packet keeps the NAT's mapping alive. Many forget one after 30 s
/// (Linux without an answer; RFC 4787 REQ-5 asks for 120 s), so two may get lost.
pub const KEEP_ALIVE_MS: Millis = 12_000;
/// Silence in ms after which a connection is dead. The peer's own timers end it earlier.
const IDLE_MS: u32 = 60_000;

/// Connections that wait to be accepted. About a backlog: the manager's queue is as long.
const INCOMING_MAX: usize = 256;
/// What their first packets may hold, bytes: two packets each, and all of them.
const INCOMING_BYTES: u64 = 4 * 1024;
const INCOMING_BYTES_ALL: u64 = 512 * 1024;
/// How long an address that has shown that it receives may use the token, ms.
const RETRY_TOKEN_MS: Millis = 5_000;

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES as u32))
        .stream_receive_window(VarInt::from_u32(LANE_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))));
    Arc::new(config)
}

pub(super) fn client(tls: QuicClientConfig) -> ClientConfig {
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport());
    config
}

pub(super) fn server(tls: QuicServerConfig) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(transport())
        .migration(true)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_ALL)
        .retry_token_lifetime(Duration::from_millis(RETRY_TOKEN_MS));
    config
}
