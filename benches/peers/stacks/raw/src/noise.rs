//! Noise XX over TCP by snow with ring's ChaCha20-Poly1305: 2-byte length, record.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::{Bytes, BytesMut};
use kit::{Sink, Source};
use snow::{Builder, HandshakeState, Keypair, StatelessTransportState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
/// Bytes of the longest record (the Noise specification).
const RECORD_MAX: usize = 65_535;
/// Bytes of an authentication tag.
const TAG: usize = 16;

pub fn keypair() -> Result<Keypair> {
    Ok(Builder::new(PATTERN.parse()?).generate_keypair()?)
}

pub async fn initiate(mut stream: TcpStream, keys: &Keypair) -> Result<(NoiseSink, NoiseSource)> {
    let builder = Builder::new(PATTERN.parse()?).local_private_key(&keys.private)?;
    let mut handshake = builder.build_initiator()?;
    say(&mut stream, &mut handshake).await?;
    hear(&mut stream, &mut handshake).await?;
    say(&mut stream, &mut handshake).await?;
    finish(stream, handshake)
}

pub async fn respond(mut stream: TcpStream, keys: &Keypair) -> Result<(NoiseSink, NoiseSource)> {
    let builder = Builder::new(PATTERN.parse()?).local_private_key(&keys.private)?;
    let mut handshake = builder.build_responder()?;
    hear(&mut stream, &mut handshake).await?;
    say(&mut stream, &mut handshake).await?;
    hear(&mut stream, &mut handshake).await?;
    finish(stream, handshake)
}

async fn say(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<()> {
    let mut buffer = vec![0; 512];
    let length = handshake.write_message(&[], &mut buffer[2..])?;
    buffer[..2].copy_from_slice(&(length as u16).to_be_bytes());
    stream.write_all(&buffer[..length + 2]).await?;
    Ok(())
}

async fn hear(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<()> {
    let mut record = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut record).await?;
    handshake.read_message(&record, &mut [0; 512])?;
    Ok(())
}

fn finish(stream: TcpStream, handshake: HandshakeState) -> Result<(NoiseSink, NoiseSource)> {
    let transport = Arc::new(handshake.into_stateless_transport_mode()?);
    let (reader, writer) = stream.into_split();
    let sink =
        NoiseSink { writer, transport: transport.clone(), nonce: 0, plain: vec![], wire: vec![] };
    let reader = BufReader::with_capacity(64 * 1024, reader);
    let (record, pending) = (vec![0; RECORD_MAX], BytesMut::new());
    Ok((sink, NoiseSource { reader, transport, nonce: 0, record, pending }))
}

/// Encrypts each message with its length into records of its own, in one write.
pub struct NoiseSink {
    writer: OwnedWriteHalf,
    transport: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

impl Sink for NoiseSink {
    async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.plain.clear();
        self.plain.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.plain.extend_from_slice(message);
        self.wire.clear();
        for piece in self.plain.chunks(RECORD_MAX - TAG) {
            let at = self.wire.len();
            self.wire.extend_from_slice(&((piece.len() + TAG) as u16).to_be_bytes());
            self.wire.resize(at + 2 + piece.len() + TAG, 0);
            self.transport.write_message(self.nonce, piece, &mut self.wire[at + 2..])?;
            self.nonce += 1;
        }
        self.writer.write_all(&self.wire).await?;
        Ok(())
    }
}

/// The other end of a [`NoiseSink`].
pub struct NoiseSource {
    reader: BufReader<OwnedReadHalf>,
    transport: Arc<StatelessTransportState>,
    nonce: u64,
    record: Vec<u8>,
    pending: BytesMut,
}

impl NoiseSource {
    async fn fill(&mut self, length: usize) -> Result<()> {
        while self.pending.len() < length {
            let size = usize::from(self.reader.read_u16().await?);
            let record = self.record.get_mut(..size).ok_or_else(|| anyhow!("record too long"))?;
            self.reader.read_exact(record).await?;
            let at = self.pending.len();
            self.pending.resize(at + size, 0);
            let plain = self.transport.read_message(self.nonce, record, &mut self.pending[at..])?;
            self.pending.truncate(at + plain);
            self.nonce += 1;
        }
        Ok(())
    }
}

impl Source for NoiseSource {
    async fn next(&mut self) -> Result<Bytes> {
        self.fill(4).await?;
        let head = self.pending.split_to(4);
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        self.pending.reserve(length.saturating_sub(self.pending.len()) + RECORD_MAX);
        self.fill(length).await?;
        Ok(self.pending.split_to(length).freeze())
    }
}
