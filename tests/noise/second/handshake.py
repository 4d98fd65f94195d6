"""Sections 1 and 2: from a fresh byte stream to two directions of records.

A stream has `read_exactly(count)` and `write(data)`; the caller closes it, whatever comes of it.
"""

import os
import struct
from dataclasses import dataclass, field

from . import preface as prefaces
from .noise import CLASSICAL_NAME, HYBRID_NAME, Handshake
from .preface import CLASSICAL, HYBRID, INITIATOR, RESPONDER, Preface, best_suite, negotiate
from .primitives import Refused, ed25519_public, is_signed_by, node_id, sign, x25519_public
from .records import Direction

_NAMES = {CLASSICAL: CLASSICAL_NAME, HYBRID: HYBRID_NAME}
_LENGTHS = {CLASSICAL: (32, 192, 160), HYBRID: (1216, 1296, 160)}
_DOMAIN = "peerstage/handshake/1"


@dataclass
class Local:
    """What one side brings: its secrets (32 bytes each), its network and what it speaks."""

    identity_seed: bytes
    noise_secret: bytes
    network: bytes
    suites: int = CLASSICAL | HYBRID
    versions: tuple = (1, 1)
    # Only the vectors give these.
    ephemeral_secret: bytes = field(default_factory=lambda: os.urandom(32))
    kem_randomness: bytes = field(default_factory=lambda: os.urandom(64))

    @property
    def public_key(self):
        return ed25519_public(self.identity_seed)

    @property
    def node_id(self):
        return node_id(self.public_key)

    def preface(self, role, version, suite):
        return Preface(role, *self.versions, version, self.suites, suite, self.network)


@dataclass
class Session:
    """What a completed handshake leaves."""

    hash: bytes
    remote_public_key: bytes
    remote_noise_key: bytes
    suite: int
    sending: Direction
    receiving: Direction

    @property
    def remote_id(self):
        return node_id(self.remote_public_key)


def _read_preface(stream, own_role):
    # A wrong magic is refused at its first wrong byte.
    data = b""
    for expected in prefaces.MAGIC:
        data += stream.read_exactly(1)
        if data[-1] != expected:
            raise Refused("wrong_magic")
    data += stream.read_exactly(prefaces.LENGTH_BYTES - len(data))
    return data, prefaces.decode(data, own_role)


def _read_message(stream, expected):
    (length,) = struct.unpack(">H", stream.read_exactly(2))
    if length != expected:
        raise Refused("oversized" if length > expected else "malformed", f"{length} bytes, not {expected}")
    return stream.read_exactly(length)


def _with_length(message):
    return struct.pack(">H", len(message)) + message


def _identity(local, role, state_hash):
    message = bytes([role]) + state_hash + x25519_public(local.noise_secret)
    return local.public_key + sign(local.identity_seed, _DOMAIN, local.network, message)


def _check_identity(local, role, state_hash, noise_key, payload):
    public, signature = payload[:32], payload[32:]
    message = bytes([role]) + state_hash + noise_key
    if not is_signed_by(public, signature, _DOMAIN, local.network, message):
        raise Refused("bad_identity_signature")
    return public


def _noise(local, suite, is_initiator, first_preface, second_preface, unused):
    prologue = b"peerstage/1" + first_preface + second_preface + unused
    return Handshake(_NAMES[suite], prologue, is_initiator, local.noise_secret, local.ephemeral_secret,
                     local.kem_randomness)


def _session(noise, public, suite):
    first, second = noise.state.split()
    sending, receiving = (first, second) if noise.is_initiator else (second, first)
    return Session(noise.hash, public, noise.remote_static, suite, Direction(sending), Direction(receiving))


def _first_message(local, suite):
    """Message A does not depend on the prologue, so any will do."""
    return _noise(local, suite, True, b"", b"", b"").write()


def initiate(stream, local, expected_id=None):
    """The side that opened the connection."""
    offered = best_suite(local.suites)
    own = local.preface(INITIATOR, local.versions[1], offered).encode()
    message_a = _first_message(local, offered)
    stream.write(own + _with_length(message_a))

    answer, remote = _read_preface(stream, INITIATOR)
    version, suite = negotiate(prefaces.decode(own, RESPONDER), remote)
    if (remote.version, remote.suite) != (version, suite):
        raise Refused("downgrade", "the answer is not what both prefaces lead to")

    used = _LENGTHS[suite][0]
    noise = _noise(local, suite, True, own, answer, message_a[used:])
    if noise.write() != message_a[:used]:
        raise AssertionError("message A depends on the prologue")
    before_b = noise.hash
    payload = noise.read(_read_message(stream, _LENGTHS[suite][1]))
    public = _check_identity(local, RESPONDER, before_b, noise.remote_static, payload)
    if public == local.public_key:
        # Message C tells the responder, which holds the same key, why.
        stream.write(_with_length(noise.write(_identity(local, INITIATOR, noise.hash))))
        raise Refused("self_connection")
    if expected_id not in (None, node_id(public)):
        raise Refused("unexpected_peer")

    stream.write(_with_length(noise.write(_identity(local, INITIATOR, noise.hash))))
    return _session(noise, public, suite)


def respond(stream, local):
    """The side that accepted the connection."""
    first, remote = _read_preface(stream, RESPONDER)
    try:
        version, suite = negotiate(remote, local.preface(RESPONDER, 0, 0))
    except Refused:
        stream.write(local.preface(RESPONDER, 0, 0).encode())
        raise
    if remote.suite != best_suite(remote.suites) or remote.version != remote.newest:
        raise Refused("downgrade", "the offer is not the initiator's best")
    own = local.preface(RESPONDER, version, suite).encode()

    message_a = _read_message(stream, _LENGTHS[remote.suite][0])
    used = _LENGTHS[suite][0]
    noise = _noise(local, suite, False, first, own, message_a[used:])
    noise.read(message_a[:used])
    # Written only now that message A has passed, and the agreement with its key too.
    message_b = noise.write(_identity(local, RESPONDER, noise.hash))
    stream.write(own + _with_length(message_b))

    before_c = noise.hash
    payload = noise.read(_read_message(stream, _LENGTHS[suite][2]))
    public = _check_identity(local, INITIATOR, before_c, noise.remote_static, payload)
    if public == local.public_key:
        raise Refused("self_connection")
    return _session(noise, public, suite)
