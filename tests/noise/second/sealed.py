"""Section 10.2: a body that only one node can open."""

from .primitives import Refused, decrypt, encrypt, hkdf, x25519, x25519_public

_INFO = b"peerstage/sealed/1"
_OVERHEAD_BYTES = 32 + 16


def _key(ephemeral, receiver, shared):
    return hkdf(ephemeral + receiver, shared, 32, _INFO)


def seal(receiver, ephemeral_secret, associated, plaintext):
    """For the node with this Noise key; the ephemeral secret is 32 random bytes, used once."""
    ephemeral = x25519_public(ephemeral_secret)
    key = _key(ephemeral, receiver, x25519(ephemeral_secret, receiver))
    return ephemeral + encrypt(key, 0, associated, plaintext)


def open_sealed(secret, associated, body):
    """The plaintext; Refused when it is not for this key and these associated data."""
    if len(body) < _OVERHEAD_BYTES:
        raise Refused("malformed", "a sealed body is too short")
    ephemeral = body[:32]
    key = _key(ephemeral, x25519_public(secret), x25519(secret, ephemeral))
    return decrypt(key, 0, associated, body[32:])
