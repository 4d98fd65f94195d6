"""Section 3: records, in one direction."""

import struct

from .primitives import Refused, decrypt, encrypt

TAG_BYTES = 16
CAPACITY_BYTES = 65_535 - TAG_BYTES
RECORDS_PER_KEY = 1_024
COUNTER_END = 2**48
_REKEY_COUNTER = 2**64 - 1


class Direction:
    """The key and the counter of one direction; both sides hold the same."""

    def __init__(self, key):
        self.key = key
        self.counter = 0

    def _advance(self):
        self.counter += 1
        if self.counter % RECORDS_PER_KEY == 0:
            self.key = encrypt(self.key, _REKEY_COUNTER, b"", bytes(32))[:32]

    def _check_counter(self):
        if self.counter >= COUNTER_END:
            raise Refused("exhausted", "the direction's counter is used up")

    def seal(self, plaintext):
        """The whole record, its length in front."""
        self._check_counter()
        if len(plaintext) > CAPACITY_BYTES:
            raise ValueError(f"{len(plaintext)} bytes do not fit into a record")
        ciphertext = encrypt(self.key, self.counter, b"", plaintext)
        self._advance()
        return struct.pack(">H", len(ciphertext)) + ciphertext

    def open(self, ciphertext):
        """The plaintext of what followed the length."""
        self._check_counter()
        if len(ciphertext) < TAG_BYTES:
            raise Refused("malformed", "a record is shorter than its tag")
        plaintext = decrypt(self.key, self.counter, b"", ciphertext)
        self._advance()
        return plaintext

    def read(self, stream):
        """The next record's plaintext from a stream."""
        (length,) = struct.unpack(">H", stream.read_exactly(2))
        if length < TAG_BYTES:
            raise Refused("malformed", "a record is shorter than its tag")
        return self.open(stream.read_exactly(length))
