"""What is signed: node records and proofs (section 6), bodies of validators (8), what is inside a seal (10.3)."""

from .encoding import Malformed, Reader, decode
from .messages import (BY_NUMBER, CLAIM, GOSSIP_HEADER, RECORD, SIGNED_BODY, SIGNED_RECORD_BYTES, U8, U64, Message)
from .primitives import Refused, ed25519_public, is_signed_by, node_id, sign, x25519_public
from .sealed import open_sealed, seal

RECORD_DOMAIN = "peerstage/record/1"
BINDING_DOMAIN = "peerstage/validator-binding/1"
SESSION_DOMAIN = "peerstage/validator-session/1"
CONSENSUS_DOMAIN = "peerstage/consensus/1"
ROUTED_DOMAIN = "peerstage/routed/1"
CLAIM_DOMAIN = "peerstage/claim/1"

_SIGNATURE_BYTES = 64
_MINUTE_MS = 60_000
_ISSUED_AHEAD_MS = 10 * _MINUTE_MS
_LIFETIME_MS = 24 * 60 * _MINUTE_MS
_STAMP_AGE_MS = 180_000
_STAMP_AHEAD_MS = 30_000


def validator_binding(validator_seed, network, bound_id):
    """What a validator signs for the records of its node."""
    return ed25519_public(validator_seed), sign(validator_seed, BINDING_DOMAIN, network, bound_id)


def session_proof(validator_seed, network, own_id, handshake_hash):
    """What a validator's node shows in its hello; worth nothing on another connection."""
    return ed25519_public(validator_seed), sign(validator_seed, SESSION_DOMAIN, network, own_id + handshake_hash)


def is_session_proof(proof, network, remote_id, handshake_hash):
    public, signature = proof
    return is_signed_by(public, signature, SESSION_DOMAIN, network, remote_id + handshake_hash)


def sign_record(seed, network, record):
    """The signed record: its encoding and the signature over it."""
    encoded = RECORD.encode(record)
    signed = encoded + sign(seed, RECORD_DOMAIN, network, encoded)
    if len(signed) > SIGNED_RECORD_BYTES:
        raise Malformed(f"a record of {len(signed)} bytes")
    return signed


def sign_claim(seed, network, claim):
    """A signed claim (section 9.3): its encoding and the signature over it."""
    encoded = CLAIM.encode(claim)
    return encoded + sign(seed, CLAIM_DOMAIN, network, encoded)


def open_record(signed, network, now_ms):
    """The record. Refused("malformed"), ("bad_signature"), or for a receiver with this clock ("expired", "future")."""
    encoded, signature = signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
    try:
        record = decode(RECORD, encoded)
    except Malformed as error:
        raise Refused("malformed", str(error)) from None
    if len(signed) > SIGNED_RECORD_BYTES or not 0 < record["expires"] - record["issued"] <= _LIFETIME_MS:
        raise Refused("malformed", "too long, or a lifetime that is not allowed")
    if record["expires"] <= now_ms:
        raise Refused("expired")
    if record["issued"] > now_ms + _ISSUED_AHEAD_MS:
        raise Refused("future")
    if not is_signed_by(record["public_key"], signature, RECORD_DOMAIN, network, encoded):
        raise Refused("bad_signature")
    if record["validator"]:
        public, binding = record["validator"]
        if not is_signed_by(public, binding, BINDING_DOMAIN, network, node_id(record["public_key"])):
            raise Refused("bad_signature", "the binding's")
    return record


def _check_stamp(stamp, now_ms):
    if not now_ms - _STAMP_AGE_MS <= stamp <= now_ms + _STAMP_AHEAD_MS:
        raise Refused("stamp")


def sign_body(validator_seed, network, kind, stamp, payload):
    """The body of a proposal or a vote."""
    signed = U8.encode(kind.number) + U64.encode(stamp) + payload
    head = {
        "validator": ed25519_public(validator_seed),
        "stamp": stamp,
        "signature": sign(validator_seed, CONSENSUS_DOMAIN, network, signed),
    }
    return SIGNED_BODY.encode(head) + payload


def open_body(body, network, kind, now_ms):
    """(validator's key, payload) of a proposal or a vote."""
    reader = Reader(body)
    try:
        head = SIGNED_BODY.decode(reader)
    except Malformed as error:
        raise Refused("malformed", str(error)) from None
    payload = reader.take(reader.left())
    signed = U8.encode(kind.number) + U64.encode(head["stamp"]) + payload
    _check_stamp(head["stamp"], now_ms)
    if not is_signed_by(head["validator"], head["signature"], CONSENSUS_DOMAIN, network, signed):
        raise Refused("bad_signature")
    return head["validator"], payload


def seal_message(seed, network, receiver_id, receiver_noise_key, item, stamp, ephemeral_secret):
    """The body of a routed message that carries a gossiped one."""
    inside = (U64.encode(stamp) + U8.encode(item.kind.number) + GOSSIP_HEADER.encode(item.header) + item.body)
    signature = sign(seed, ROUTED_DOMAIN, network, receiver_id + inside)
    plaintext = ed25519_public(seed) + signature + inside
    return seal(receiver_noise_key, ephemeral_secret, receiver_id, plaintext)


def open_message(noise_secret, network, own_id, body, now_ms):
    """(sender's public key, message) from a routed body for this node."""
    plaintext = open_sealed(noise_secret, own_id, body)
    if len(plaintext) < 110:
        raise Refused("malformed", "a sealed message is too short")
    sender, signature, inside = plaintext[:32], plaintext[32:96], plaintext[96:]
    if not is_signed_by(sender, signature, ROUTED_DOMAIN, network, own_id + inside):
        raise Refused("bad_signature")
    reader = Reader(inside)
    _check_stamp(U64.decode(reader), now_ms)
    kind = BY_NUMBER.get(U8.decode(reader))
    if kind is None or not kind.is_gossiped:
        raise Refused("malformed", "the inner kind is not a gossiped one")
    header = GOSSIP_HEADER.decode(reader)
    if header["topic"] and kind.name != "custom":
        raise Refused("malformed", "a topic")
    return sender, Message(kind, header, reader.take(reader.left()))


def new_is_kept(own_id, remote_id, old, new):
    """Section 6.5: whether the newer of two connections survives.

    A connection is a triple: age of its greeting in milliseconds, whether this side dialled it, its handshake hash.
    """
    old_age_ms, old_is_own, old_hash = old
    _, new_is_own, new_hash = new
    if old_age_ms > 30_000:
        return True
    if old_is_own != new_is_own:
        return new_is_own == (own_id < remote_id)
    return new_hash > old_hash


def record_of(seed, noise_secret, issued, **fields):
    """The fields of a node's own record; the given ones replace the plain ones."""
    plain = {
        "public_key": ed25519_public(seed), "noise_key": x25519_public(noise_secret), "addresses": [], "roles": 1,
        "capabilities": 1, "coordinate": None, "uplink": {"kind": "unsaid", "rate_kib": 0}, "validator": None, "sequence": issued, "issued": issued, "expires": issued + _LIFETIME_MS,
    }
    return plain | fields
