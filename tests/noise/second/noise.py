"""Section 2.2: Noise XX, and XXhfs with ML-KEM-768; section 3: what it splits into."""

from . import mlkem768
from .primitives import Refused, check_x25519_key, decrypt, encrypt, hkdf, sha256, x25519, x25519_public

CLASSICAL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
HYBRID_NAME = b"Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256"
_CLASSICAL_TOKENS = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
_HYBRID_TOKENS = (("e", "e1"), ("e", "ee", "ekem1", "s", "es"), ("s", "se"))
TAG_BYTES = 16
_KEY_BYTES = 32


class SymmetricState:
    """Noise revision 34, section 5.2."""

    def __init__(self, name, prologue):
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name)
        self.chaining = self.hash
        self.key = None
        self.counter = 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = sha256(self.hash + data)

    def mix_key(self, material):
        both = hkdf(self.chaining, material, 64)
        self.chaining, self.key, self.counter = both[:32], both[32:], 0

    def tag_bytes(self):
        return TAG_BYTES if self.key else 0

    def encrypt_and_hash(self, plaintext):
        ciphertext = plaintext
        if self.key:
            ciphertext = encrypt(self.key, self.counter, self.hash, plaintext)
            self.counter += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext):
        plaintext = ciphertext
        if self.key:
            plaintext = decrypt(self.key, self.counter, self.hash, ciphertext)
            self.counter += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self):
        both = hkdf(self.chaining, b"", 64)
        return both[:32], both[32:]


class Handshake:
    """One side of XX. Messages must be written and read in their order."""

    def __init__(self, name, prologue, is_initiator, static_secret, ephemeral_secret, kem_randomness=None):
        self.state = SymmetricState(name, prologue)
        self.tokens = list(_HYBRID_TOKENS if name == HYBRID_NAME else _CLASSICAL_TOKENS)
        self.is_initiator = is_initiator
        self.static, self.ephemeral, self.kem_randomness = static_secret, ephemeral_secret, kem_randomness
        self.kem_secret = self.remote_kem_key = None
        self.remote_static = self.remote_ephemeral = None

    @property
    def hash(self):
        return self.state.hash

    def _agree(self, token):
        if token == "ee":
            return x25519(self.ephemeral, self.remote_ephemeral)
        # The first letter is the initiator's key, the second the responder's.
        own, remote = token if self.is_initiator else token[::-1]
        secret = self.static if own == "s" else self.ephemeral
        return x25519(secret, self.remote_static if remote == "s" else self.remote_ephemeral)

    def write(self, payload=b""):
        out = b""
        for token in self.tokens.pop(0):
            if token == "e":
                public = x25519_public(self.ephemeral)
                self.state.mix_hash(public)
                out += public
            elif token == "e1":
                key, self.kem_secret = mlkem768.key_pair(self.kem_randomness)
                out += self.state.encrypt_and_hash(key)
            elif token == "ekem1":
                shared, ciphertext = mlkem768.encapsulate(self.remote_kem_key, self.kem_randomness[:32])
                out += self.state.encrypt_and_hash(ciphertext)
                self.state.mix_key(shared)
            elif token == "s":
                out += self.state.encrypt_and_hash(x25519_public(self.static))
            else:
                self.state.mix_key(self._agree(token))
        return out + self.state.encrypt_and_hash(payload)

    def read(self, message):
        position = 0

        def take(length):
            nonlocal position
            position += length
            if position > len(message):
                raise Refused("malformed", "a handshake message is cut short")
            return message[position - length:position]

        for token in self.tokens.pop(0):
            if token == "e":
                self.remote_ephemeral = take(_KEY_BYTES)
                check_x25519_key(self.remote_ephemeral)
                if self.remote_ephemeral == x25519_public(self.ephemeral):
                    raise Refused("reflection", "one's own ephemeral key")
                self.state.mix_hash(self.remote_ephemeral)
            elif token == "e1":
                self.remote_kem_key = self.state.decrypt_and_hash(take(mlkem768.KEY_BYTES + self.state.tag_bytes()))
                if not mlkem768.is_valid_key(self.remote_kem_key):
                    raise Refused("invalid_kem_key")
            elif token == "ekem1":
                sealed = take(mlkem768.CIPHERTEXT_BYTES + self.state.tag_bytes())
                self.state.mix_key(mlkem768.decapsulate(self.kem_secret, self.state.decrypt_and_hash(sealed)))
            elif token == "s":
                self.remote_static = self.state.decrypt_and_hash(take(_KEY_BYTES + self.state.tag_bytes()))
                check_x25519_key(self.remote_static)
            else:
                self.state.mix_key(self._agree(token))
        return self.state.decrypt_and_hash(take(len(message) - position))
