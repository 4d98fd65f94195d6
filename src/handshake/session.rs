//! The handshake machine: bytes in, orders out.

use bytes::{Bytes, BytesMut};
use rand::CryptoRng;

use crate::{
    identity::PublicKey,
    noise::{EphemeralSeeds, Ephemerals, HandshakeState, RECORD_HEADER_LEN, Role, Suite},
    time::Time,
};

use super::{
    action::{Action, Established},
    config::HandshakeConfig,
    error::HandshakeError,
    identity::{self, IDENTITY_LEN},
    preface::{MAGIC, PREFACE_LEN, Preface, prologue},
};

/// One side of a handshake.
pub struct Handshake {
    config: HandshakeConfig,
    role: Role,
    deadline: Time,
    /// Never more than the message that is waited for.
    pub(super) buffer: Vec<u8>,
    step: Step,
}

/// What is waited for, with what is needed then.
enum Step {
    /// Initiator: the responder's preface. Our message A is out already.
    Answer { ours: Preface, ephemerals: Ephemerals, message_a: Vec<u8> },
    /// Initiator: message B.
    MessageB(Agreed),
    /// Responder: the initiator's preface.
    Offer { seeds: EphemeralSeeds },
    /// Responder: message A, of the suite the initiator announced.
    MessageA { seeds: EphemeralSeeds, prefaces: Prefaces, announced: Suite, choice: (u8, Suite) },
    /// Responder: message C.
    MessageC(Agreed),
    /// Done or failed.
    Finished,
}

/// A handshake whose prologue is known.
struct Agreed {
    noise: Box<HandshakeState>,
    version: u8,
    suite: Suite,
}

/// Both prefaces as they were on the wire.
struct Prefaces {
    initiator: [u8; PREFACE_LEN],
    responder: [u8; PREFACE_LEN],
}

impl Handshake {
    /// Starts as the side that dialled: orders the preface and message A to be sent at once.
    pub fn initiator<R: CryptoRng + ?Sized>(
        config: HandshakeConfig,
        now: Time,
        rng: &mut R,
        out: &mut Vec<Action>,
    ) -> Self {
        let ours = Preface::offer(config.versions, config.policy.suites(), config.network);
        // Every policy offers a suite; its best one is what the preface announces.
        let suite = ours.suites.best().unwrap_or(Suite::Classical);
        let ephemerals = Ephemerals::initiator(suite, &EphemeralSeeds::generate(rng));
        let message_a = ephemerals.message_a();

        let mut first = ours.encode().to_vec();
        push_message(&message_a, &mut first);
        out.push(Action::Send(first.into()));
        let step = Step::Answer { ours, ephemerals, message_a };
        Self::new(config, Role::Initiator, now, step)
    }

    /// Starts as the side that was dialled: sends nothing before message A is checked.
    pub fn responder<R: CryptoRng + ?Sized>(
        config: HandshakeConfig,
        now: Time,
        rng: &mut R,
    ) -> Self {
        let step = Step::Offer { seeds: EphemeralSeeds::generate(rng) };
        Self::new(config, Role::Responder, now, step)
    }

    fn new(config: HandshakeConfig, role: Role, now: Time, step: Step) -> Self {
        let deadline = now.plus(config.timeout_ms);
        Handshake { config, role, deadline, buffer: Vec::new(), step }
    }

    /// When the handshake must be complete: one total deadline, whatever trickles in.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.is_finished() { None } else { Some(self.deadline) }
    }

    /// Whether [`Action::Done`] or [`Action::Fail`] was ordered.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.step, Step::Finished)
    }

    /// The deadline has come.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if !self.is_finished() && now >= self.deadline {
            self.fail(HandshakeError::Timeout, out);
        }
    }

    /// Bytes have arrived, in pieces of any size. After the end they are ignored.
    pub fn on_bytes(&mut self, now: Time, bytes: &[u8], out: &mut Vec<Action>) {
        self.on_deadline(now, out);
        let mut rest = bytes;
        while !self.is_finished() {
            let wanted = match self.wanted() {
                Ok(wanted) => wanted,
                Err(error) => return self.fail(error, out),
            };
            let missing = wanted.saturating_sub(self.buffer.len());
            if missing == 0 {
                self.take_step(rest, out);
                continue;
            }
            if rest.is_empty() {
                return;
            }
            // Only what the current step needs is ever kept.
            let (head, tail) = rest.split_at(missing.min(rest.len()));
            self.buffer.extend_from_slice(head);
            rest = tail;
        }
    }

    /// How many bytes the current step takes; refuses what can be refused by then.
    fn wanted(&self) -> Result<usize, HandshakeError> {
        let message_len = match &self.step {
            Step::Answer { .. } | Step::Offer { .. } => {
                let magic_matches = self.buffer.iter().zip(&MAGIC).all(|(a, b)| a == b);
                return if magic_matches {
                    Ok(PREFACE_LEN)
                } else {
                    Err(HandshakeError::WrongMagic)
                };
            }
            Step::MessageA { announced, .. } => announced.message_len(0, 0),
            Step::MessageB(agreed) => agreed.suite.message_len(1, IDENTITY_LEN),
            Step::MessageC(agreed) => agreed.suite.message_len(2, IDENTITY_LEN),
            Step::Finished => return Ok(0),
        };
        let Some(header) = self.buffer.first_chunk::<RECORD_HEADER_LEN>() else {
            return Ok(RECORD_HEADER_LEN);
        };
        match usize::from(u16::from_be_bytes(*header)) {
            len if len > message_len => Err(HandshakeError::Oversized),
            len if len < message_len => Err(HandshakeError::Malformed),
            len => Ok(RECORD_HEADER_LEN + len),
        }
    }

    /// The buffer holds what the current step waits for; `rest` is what came behind it.
    fn take_step(&mut self, rest: &[u8], out: &mut Vec<Action>) {
        let input = std::mem::take(&mut self.buffer);
        let step = std::mem::replace(&mut self.step, Step::Finished);
        let message = input.get(RECORD_HEADER_LEN..).unwrap_or_default();
        let next = match step {
            Step::Answer { ours, ephemerals, message_a } => {
                self.on_answer(ours, ephemerals, &message_a, &input)
            }
            Step::Offer { seeds } => self.on_offer(seeds, &input, out),
            Step::MessageA { seeds, prefaces, announced: _, choice } => {
                self.on_message_a(seeds, &prefaces, choice, message, out)
            }
            Step::MessageB(agreed) => self.on_message_b(agreed, message, rest, out),
            Step::MessageC(agreed) => self.on_message_c(agreed, message, rest, out),
            Step::Finished => Ok(Step::Finished),
        };
        match next {
            Ok(step) => self.step = step,
            Err(error) => self.fail(error, out),
        }
    }

    /// Initiator: the responder's preface is here. Its choice must be the one that both
    /// prefaces lead to; then the prologue is known and message A is absorbed.
    fn on_answer(
        &self,
        ours: Preface,
        ephemerals: Ephemerals,
        message_a: &[u8],
        input: &[u8],
    ) -> Result<Step, HandshakeError> {
        let input = input.first_chunk().ok_or(HandshakeError::Malformed)?;
        let theirs = Preface::decode(input)?;
        let (version, suite) = ours.negotiate(&theirs)?;
        if (theirs.version, theirs.suite) != (version, suite as u8) {
            return Err(HandshakeError::Downgrade);
        }
        let used = suite.message_len(0, 0);
        let unused = message_a.get(used..).ok_or(HandshakeError::Downgrade)?;
        let prologue = prologue(&ours.encode(), input, unused);
        let noise_key = self.config.noise_key.clone();
        let mut noise =
            HandshakeState::new(suite, Role::Initiator, &prologue, noise_key, ephemerals);
        let mut absorbed = Vec::with_capacity(used);
        noise.write_message(&[], &mut absorbed)?;
        debug_assert_eq!(Some(&*absorbed), message_a.get(..used), "what was sent is hashed");
        Ok(Step::MessageB(Agreed { noise: Box::new(noise), version, suite }))
    }

    /// Responder: the initiator's preface is here. A refusal is answered with our own preface,
    /// so that both sides know why, and with nothing else.
    fn on_offer(
        &self,
        seeds: EphemeralSeeds,
        input: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<Step, HandshakeError> {
        let initiator = *input.first_chunk().ok_or(HandshakeError::Malformed)?;
        let theirs = Preface::decode(&initiator)?;
        let config = &self.config;
        let answer = |choice| {
            Preface::answer(config.versions, config.policy.suites(), config.network, choice)
        };
        let choice = match answer(None).negotiate(&theirs) {
            Ok(choice) => choice,
            Err(HandshakeError::Reflection) => return Err(HandshakeError::Reflection),
            Err(error) => {
                out.push(Action::Send(Bytes::copy_from_slice(&answer(None).encode())));
                return Err(error);
            }
        };
        // An initiator announces its best; anything else was changed on the way.
        let announced = theirs.suites.best().ok_or(HandshakeError::Malformed)?;
        if theirs.suite != announced as u8 || theirs.version != theirs.versions.max {
            return Err(HandshakeError::Downgrade);
        }
        let prefaces = Prefaces { initiator, responder: answer(Some(choice)).encode() };
        Ok(Step::MessageA { seeds, prefaces, announced, choice })
    }

    /// Responder: message A is here. Only if its keys are good is anything sent.
    fn on_message_a(
        &self,
        seeds: EphemeralSeeds,
        prefaces: &Prefaces,
        (version, suite): (u8, Suite),
        message: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<Step, HandshakeError> {
        // A classical message A is the first part of a hybrid one.
        let (used, unused) =
            message.split_at_checked(suite.message_len(0, 0)).ok_or(HandshakeError::Downgrade)?;
        let prologue = prologue(&prefaces.initiator, &prefaces.responder, unused);
        let mut noise = HandshakeState::new(
            suite,
            Role::Responder,
            &prologue,
            self.config.noise_key.clone(),
            Ephemerals::responder(&seeds),
        );
        noise.read_message(used)?;
        let mut message_b = Vec::new();
        noise.write_message(&self.proof(&noise), &mut message_b)?;
        let mut answer = prefaces.responder.to_vec();
        push_message(&message_b, &mut answer);
        out.push(Action::Send(answer.into()));
        Ok(Step::MessageC(Agreed { noise: Box::new(noise), version, suite }))
    }

    /// Initiator: message B is here. Only to the expected peer do we name ourselves.
    fn on_message_b(
        &self,
        mut agreed: Agreed,
        message: &[u8],
        rest: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<Step, HandshakeError> {
        let remote = self.read_identity(&mut agreed.noise, Role::Responder, message);
        if remote == Err(HandshakeError::SelfConnection) {
            // Whoever holds our key knows our name; message C tells the other side why we part.
            out.push(Action::Send(self.message_c(&mut agreed.noise)?));
        }
        let remote = remote?;
        let last = self.message_c(&mut agreed.noise)?;
        let done = self.establish(agreed, remote, rest)?;
        out.push(Action::Send(last));
        out.push(done);
        Ok(Step::Finished)
    }

    fn message_c(&self, noise: &mut HandshakeState) -> Result<Bytes, HandshakeError> {
        let mut message_c = Vec::new();
        noise.write_message(&self.proof(noise), &mut message_c)?;
        let mut last = Vec::new();
        push_message(&message_c, &mut last);
        Ok(last.into())
    }

    /// Responder: message C is here.
    fn on_message_c(
        &self,
        mut agreed: Agreed,
        message: &[u8],
        rest: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<Step, HandshakeError> {
        let remote = self.read_identity(&mut agreed.noise, Role::Initiator, message)?;
        out.push(self.establish(agreed, remote, rest)?);
        Ok(Step::Finished)
    }

    /// Our identity payload for the message that is written next.
    fn proof(&self, noise: &HandshakeState) -> [u8; IDENTITY_LEN] {
        let HandshakeConfig { keypair, network, noise_key, .. } = &self.config;
        identity::prove(keypair, network, self.role, noise.handshake_hash(), noise_key.public())
    }

    /// Reads a message with an identity payload and checks who it is.
    fn read_identity(
        &self,
        noise: &mut HandshakeState,
        sender: Role,
        message: &[u8],
    ) -> Result<PublicKey, HandshakeError> {
        let hash = *noise.handshake_hash();
        let payload = noise.read_message(message)?;
        let noise_key = noise.remote_static().ok_or(HandshakeError::Malformed)?;
        let remote = identity::check(&payload, &self.config.network, sender, &hash, noise_key)?;
        if remote == self.config.keypair.public() {
            return Err(HandshakeError::SelfConnection);
        }
        let found = remote.node_id();
        match self.config.expected {
            Some(expected) if expected != found => Err(HandshakeError::UnexpectedPeer { found }),
            _ => Ok(remote),
        }
    }

    fn establish(
        &self,
        agreed: Agreed,
        remote: PublicKey,
        rest: &[u8],
    ) -> Result<Action, HandshakeError> {
        let Agreed { noise, version, suite } = agreed;
        Ok(Action::Done(Box::new(Established {
            remote,
            remote_noise: *noise.remote_static().ok_or(HandshakeError::Malformed)?,
            handshake_hash: *noise.handshake_hash(),
            role: self.role,
            suite,
            version,
            leftover: BytesMut::from(rest),
            transport: noise.into_transport()?,
        })))
    }

    fn fail(&mut self, error: HandshakeError, out: &mut Vec<Action>) {
        self.step = Step::Finished;
        self.buffer = Vec::new();
        out.push(Action::Fail(error));
    }
}

/// Appends `message` behind its length.
fn push_message(message: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    debug_assert_eq!(usize::from(len), message.len(), "handshake messages are under 2 KiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(message);
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let step = match self.step {
            Step::Answer { .. } => "awaits the responder's preface",
            Step::MessageB(_) => "awaits message B",
            Step::Offer { .. } => "awaits the initiator's preface",
            Step::MessageA { .. } => "awaits message A",
            Step::MessageC(_) => "awaits message C",
            Step::Finished => "finished",
        };
        f.debug_struct("Handshake")
            .field("role", &self.role)
            .field("step", &step)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
