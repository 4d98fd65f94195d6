#!/usr/bin/env python3
"""A second implementation of docs/protocol.md, sections 1 to 3, written from that text alone.

Reproduces every byte of hybrid.json from the secrets in it, as initiator and as responder, and
reads every message back. Exits with 1 on the first difference.

    python3 -m pip install -r tests/noise/requirements.txt
    python3 tests/noise/hybrid.py
"""

import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import mlkem768

CLASSICAL, HYBRID = 1, 2
NAMES = {
    CLASSICAL: b"Noise_XX_25519_ChaChaPoly_SHA256",
    HYBRID: b"Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
}
INITIATOR, RESPONDER = 1, 2
REKEY_RECORDS = 1024


def u16(number):
    return number.to_bytes(2, "big")


# 1 Preface


def preface(role, versions, version, suites, suite, network):
    head = bytes([role, versions[0], versions[1], version, suites, suite, 0, 0])
    return b"PEERSTGE" + head + network


def best(bitmap):
    return next((suite for suite in (HYBRID, CLASSICAL) if bitmap & suite), 0)


# 2 Handshake


def hkdf(chaining_key, material):
    temp = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(temp, b"\x01", "sha256")
    return first, hmac.digest(temp, first + b"\x02", "sha256")


class Cipher:
    def __init__(self, key):
        self.key, self.counter = key, 0

    def nonce(self, counter):
        return bytes(4) + counter.to_bytes(8, "little")

    def encrypt(self, associated, text):
        sealed = ChaCha20Poly1305(self.key).encrypt(self.nonce(self.counter), text, associated)
        self.counter += 1
        return sealed

    def decrypt(self, associated, sealed):
        text = ChaCha20Poly1305(self.key).decrypt(self.nonce(self.counter), sealed, associated)
        self.counter += 1
        return text

    def rekey(self):
        nonce = self.nonce(2**64 - 1)
        self.key = ChaCha20Poly1305(self.key).encrypt(nonce, bytes(32), b"")[:32]


class Symmetric:
    def __init__(self, name):
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.ck, self.cipher = self.h, None

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, material):
        self.ck, key = hkdf(self.ck, material)
        self.cipher = Cipher(key)

    def encrypt_and_hash(self, text):
        sealed = self.cipher.encrypt(self.h, text) if self.cipher else text
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed):
        text = self.cipher.decrypt(self.h, sealed) if self.cipher else sealed
        self.mix_hash(sealed)
        return text


def patterns(suite):
    if suite == HYBRID:
        return ["e e1", "e ee ekem1 s es", "s se"]
    return ["e", "e ee s es", "s se"]


class Side:
    """One side of the handshake with all its secrets."""

    def __init__(self, role, party, network):
        secret = lambda field: bytes.fromhex(party[field])
        self.role, self.network, self.suites = role, network, party["suites"]
        self.identity = Ed25519PrivateKey.from_private_bytes(secret("identity_secret"))
        self.s = X25519PrivateKey.from_private_bytes(secret("noise_secret"))
        self.e = X25519PrivateKey.from_private_bytes(secret("ephemeral_secret"))
        self.randomness = secret("kem_randomness")
        self.re = self.rs = self.re1 = None
        if role == INITIATOR:
            self.e1, self.e1_state = mlkem768.keygen(self.randomness)
            check("key generation", MLKEM768PrivateKey.from_seed_bytes(self.randomness)
                  .public_key().public_bytes_raw(), self.e1)

    def start(self, suite, prologue):
        self.suite, self.symmetric = suite, Symmetric(NAMES[suite])
        self.symmetric.mix_hash(prologue)

    def agree(self, token):
        mine_first = (token == "es") == (self.role == INITIATOR)
        if token == "ee":
            secret, public = self.e, self.re
        elif mine_first:
            secret, public = self.e, self.rs
        else:
            secret, public = self.s, self.re
        # The library refuses an all-zero result.
        self.symmetric.mix_key(secret.exchange(X25519PublicKey.from_public_bytes(public)))

    def write(self, index, payload):
        symmetric, out = self.symmetric, b""
        for token in patterns(self.suite)[index].split():
            if token == "e":
                public = self.e.public_key().public_bytes_raw()
                symmetric.mix_hash(public)
                out += public
            elif token == "e1":
                out += symmetric.encrypt_and_hash(self.e1)
            elif token == "ekem1":
                ciphertext, shared = mlkem768.encapsulate(self.re1, self.randomness)
                out += symmetric.encrypt_and_hash(ciphertext)
                symmetric.mix_key(shared)
            elif token == "s":
                out += symmetric.encrypt_and_hash(self.s.public_key().public_bytes_raw())
            else:
                self.agree(token)
        return out + symmetric.encrypt_and_hash(payload)

    def read(self, index, message):
        symmetric = self.symmetric

        def take(length):
            nonlocal message
            head, message = message[:length], message[length:]
            return head

        for token in patterns(self.suite)[index].split():
            tag = 16 if symmetric.cipher else 0
            if token == "e":
                self.re = take(32)
                assert int.from_bytes(self.re, "little") < 2**255 - 19
                symmetric.mix_hash(self.re)
            elif token == "e1":
                self.re1 = symmetric.decrypt_and_hash(take(1184 + tag))
                assert mlkem768.is_valid(self.re1)
            elif token == "ekem1":
                ciphertext = symmetric.decrypt_and_hash(take(1088 + tag))
                shared = mlkem768.decapsulate(self.e1_state, ciphertext)
                library = MLKEM768PrivateKey.from_seed_bytes(self.randomness)
                check("decapsulation", library.decapsulate(ciphertext), shared)
                symmetric.mix_key(shared)
            elif token == "s":
                self.rs = symmetric.decrypt_and_hash(take(32 + tag))
                assert int.from_bytes(self.rs, "little") < 2**255 - 19
            else:
                self.agree(token)
        return symmetric.decrypt_and_hash(message)

    def statement(self, role, h, noise_key):
        domain = b"peerstage/handshake/1"
        data = bytes([len(domain)]) + domain + self.network + bytes([role]) + h + noise_key
        return hashlib.sha256(data).digest()

    def prove(self):
        key = self.s.public_key().public_bytes_raw()
        signature = self.identity.sign(self.statement(self.role, self.symmetric.h, key))
        return self.identity.public_key().public_bytes_raw() + signature

    def read_identity(self, index, message):
        h, sender = self.symmetric.h, INITIATOR + RESPONDER - self.role
        payload = self.read(index, message)
        assert len(payload) == 96
        key = Ed25519PublicKey.from_public_bytes(payload[:32])
        key.verify(payload[32:], self.statement(sender, h, self.rs))
        return payload[:32]


# 3 Records


class Direction:
    def __init__(self, key):
        self.cipher = Cipher(key)

    def count(self):
        if self.cipher.counter % REKEY_RECORDS == 0:
            self.cipher.rekey()

    def seal(self, text):
        sealed = self.cipher.encrypt(b"", text)
        self.count()
        return u16(len(sealed)) + sealed

    def open(self, record):
        assert int.from_bytes(record[:2], "big") == len(record) - 2
        text = self.cipher.decrypt(b"", record[2:])
        self.count()
        return text


# The vectors


def check(what, ours, expected):
    if ours != expected:
        show = lambda value: value.hex() if isinstance(value, bytes) else value
        sys.exit(f"{what} differs:\n  ours     {show(ours)}\n  expected {show(expected)}")


def check_records(name, key, expected):
    ours, theirs, stream = Direction(key), Direction(key), b""
    for number in range(expected["records"]):
        text = number.to_bytes(4, "big") * (number % 7)
        record = ours.seal(text)
        check(f"{name} record {number}", theirs.open(record), text)
        stream += record
    first_two = bytes.fromhex(expected["first_two"])
    check(f"{name}, the first records", stream[: len(first_two)], first_two)
    check(f"{name}, all records", hashlib.sha256(stream).hexdigest(), expected["sha256"])
    damaged = bytearray(Direction(key).seal(b"text"))
    damaged[-1] ^= 1
    try:
        Direction(key).open(bytes(damaged))
        sys.exit("a damaged record was accepted")
    except InvalidTag:
        pass


def check_session(session):
    field = lambda name: bytes.fromhex(session[name])
    network, versions = field("network"), session["versions"]
    initiator = Side(INITIATOR, session["initiator"], network)
    responder = Side(RESPONDER, session["responder"], network)
    announced = best(initiator.suites)
    suite = best(initiator.suites & responder.suites)
    check("suite", NAMES[suite].decode(), session["protocol_name"])

    offer = preface(INITIATOR, versions, versions[1], initiator.suites, announced, network)
    answer = preface(RESPONDER, versions, versions[1], responder.suites, suite, network)
    full_a = initiator.e.public_key().public_bytes_raw()
    full_a += initiator.e1 if announced == HYBRID else b""
    used = 1216 if suite == HYBRID else 32
    prologue = b"peerstage/1" + offer + answer + full_a[used:]
    initiator.start(suite, prologue)
    responder.start(suite, prologue)

    message_a = initiator.write(0, b"")
    check("message A", message_a, full_a[:used])
    check("first bytes", offer + u16(len(full_a)) + full_a, field("first_bytes"))
    check("payload of A", responder.read(0, message_a), b"")

    message_b = responder.write(1, responder.prove())
    check("answer", answer + u16(len(message_b)) + message_b, field("answer"))
    found = initiator.read_identity(1, message_b)
    check("responder", found, responder.identity.public_key().public_bytes_raw())

    message_c = initiator.write(2, initiator.prove())
    check("last bytes", u16(len(message_c)) + message_c, field("last_bytes"))
    found = responder.read_identity(2, message_c)
    check("initiator", found, initiator.identity.public_key().public_bytes_raw())

    for side in (initiator, responder):
        check("handshake hash", side.symmetric.h, field("handshake_hash"))
    keys = hkdf(initiator.symmetric.ck, b"")
    check_records("initiator's", keys[0], session["from_initiator"])
    check_records("responder's", keys[1], session["from_responder"])


def main():
    path = pathlib.Path(__file__).with_name("hybrid.json")
    sessions = json.loads(path.read_text())["sessions"]
    if not sessions:
        sys.exit("no sessions")
    for session in sessions:
        check_session(session)
        print(f"ok: {session['name']}")


if __name__ == "__main__":
    main()
