"""Signatures, key agreement, cipher and key derivation, as sections 2, 5.1 and 10.2 use them."""

import hashlib
import hmac
import struct

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_FIELD = 2**255 - 19
_GROUP = 2**252 + 27742317777372353535851937790883648493
_CURVE_D = -121665 * pow(121666, -1, _FIELD) % _FIELD
# The y of the points whose order divides 8; the last two have order 8.
_SMALL_ORDER_Y = (
    0,
    1,
    _FIELD - 1,
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
    int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
)
for _y in _SMALL_ORDER_Y[3:]:
    # Twice such a point has y = 0, that is x^2 + y^2 = 0, which with the curve's equation gives this.
    assert (_CURVE_D * pow(_y, 4, _FIELD) + 2 * _y * _y - 1) % _FIELD == 0


class Refused(Exception):
    """What the other side sent must be refused; `reason` is the document's word for it."""

    def __init__(self, reason, detail=""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(salt, key_material, length, info=b""):
    """RFC 5869 with SHA-256."""
    secret = hmac.digest(salt, key_material, "sha256")
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes([number]), "sha256")
        out, number = out + block, number + 1
    return out[:length]


def encrypt(key, counter, associated, plaintext):
    """ChaCha20-Poly1305 with Noise's nonce: four zero bytes, then the counter, little-endian."""
    return ChaCha20Poly1305(key).encrypt(struct.pack("<IQ", 0, counter), plaintext, associated)


def decrypt(key, counter, associated, ciphertext):
    """The reverse; Refused("bad_mac") when the tag does not match."""
    try:
        return ChaCha20Poly1305(key).decrypt(struct.pack("<IQ", 0, counter), ciphertext, associated)
    except InvalidTag:
        raise Refused("bad_mac") from None


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def check_x25519_key(public):
    """Section 2.4: no honest side sends a key that is not reduced."""
    if int.from_bytes(public, "little") >= _FIELD:
        raise Refused("low_order_point", "not a reduced encoding")


def x25519(secret, public):
    """RFC 7748; Refused("low_order_point") when the agreement is all zero."""
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Refused("low_order_point", "the agreement is zero") from None


def ed25519_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def node_id(public):
    return sha256(public)


def _is_strict_point(encoded):
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y < _FIELD and y not in _SMALL_ORDER_Y


def verify_strictly(public, signature, message):
    """RFC 8032 without its freedoms: no small order, no second encoding of a point or of the scalar."""
    scalar = int.from_bytes(signature[32:], "little")
    if not (_is_strict_point(public) and _is_strict_point(signature[:32]) and scalar < _GROUP):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_hash(domain, network, message):
    """Section 5.1: the 32 bytes that every signature of this protocol is over."""
    name = domain.encode("ascii")
    return sha256(bytes([len(name)]) + name + network + message)


def sign(seed, domain, network, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed_hash(domain, network, message))


def is_signed_by(public, signature, domain, network, message):
    return verify_strictly(public, signature, signed_hash(domain, network, message))
