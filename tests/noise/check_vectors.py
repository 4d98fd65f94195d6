#!/usr/bin/env python3
"""Reproduces every vector of this directory with the second implementation."""

import hashlib
import json
import os
import sys

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from second import mlkem768
from second.handshake import Local, initiate, respond
from second.noise import CLASSICAL_NAME, Handshake
from second.primitives import Refused
from second.records import Direction

DIRECTORY = os.path.dirname(os.path.abspath(__file__))


class Script:
    """A stream that has all its input already."""

    def __init__(self, incoming):
        self.incoming, self.written = incoming, b""

    def read_exactly(self, count):
        if len(self.incoming) < count:
            raise EOFError
        taken, self.incoming = self.incoming[:count], self.incoming[count:]
        return taken

    def write(self, data):
        self.written += data


def load(name):
    with open(os.path.join(DIRECTORY, name), encoding="ascii") as file:
        return json.load(file)


def equal(got, wanted, what):
    if got != wanted:
        raise SystemExit(f"{what}: got {got!r}, the vector has {wanted!r}")


def unhex(text):
    return bytes.fromhex(text)


def check_noise(vector, name):
    """A generic Noise session: three handshake messages, then transport messages by turns."""
    sides = []
    for side in ("init", "resp"):
        sides.append(Handshake(CLASSICAL_NAME, unhex(vector[f"{side}_prologue"]), side == "init",
                               unhex(vector[f"{side}_static"]), unhex(vector[f"{side}_ephemeral"])))
    equal(vector["protocol_name"].encode(), CLASSICAL_NAME, f"{name}: protocol")
    directions = None
    for number, message in enumerate(vector["messages"]):
        writer, reader = sides[number % 2], sides[1 - number % 2]
        payload, wanted = unhex(message["payload"]), message["ciphertext"]
        if number < 3:
            sent = writer.write(payload)
            received = reader.read(sent)
        else:
            if directions is None:
                equal(sides[0].state.split(), sides[1].state.split(), f"{name}: split")
                directions = [(Direction(key), Direction(key)) for key in sides[0].state.split()]
            # Message 0 was the initiator's, so in turn every odd one is the responder's.
            sealer, opener = directions[number % 2]
            sent = sealer.seal(payload)[2:]
            received = opener.open(sent)
        equal(sent.hex(), wanted, f"{name}: message {number}")
        equal(received, payload, f"{name}: payload {number}")
    for side in sides:
        equal(side.hash.hex(), vector["handshake_hash"], f"{name}: handshake hash")


def local_of(session, side):
    fields = session[side]
    return Local(unhex(fields["identity_secret"]), unhex(fields["noise_secret"]), unhex(session["network"]),
                 fields["suites"], tuple(session["versions"]), unhex(fields["ephemeral_secret"]),
                 unhex(fields["kem_randomness"]))


def record_payload(number):
    """What the vectors put into a record: see README.md."""
    return number.to_bytes(4, "big") * (number % 7)


def check_records(name, wanted, sealer, opener):
    everything = b""
    for number in range(wanted["records"]):
        record = sealer.seal(record_payload(number))
        equal(opener.open(record[2:]), record_payload(number), f"{name}: record {number}")
        everything += record
        if number == 1:
            equal(everything.hex(), wanted["first_two"], f"{name}: first two records")
    equal(hashlib.sha256(everything).hexdigest(), wanted["sha256"], f"{name}: all records")


def check_damage(session, name):
    """Each byte of the answer counts: a changed one is refused by the initiator."""
    answer = unhex(session["answer"])
    for position in [*range(0, 14), *range(16, 50), *range(50, len(answer), 97), len(answer) - 1]:
        damaged = answer[:position] + bytes([answer[position] ^ 1]) + answer[position + 1:]
        try:
            initiate(Script(damaged), local_of(session, "initiator"))
        except Refused:
            continue
        raise SystemExit(f"{name}: byte {position} of the answer was changed and nobody saw it")


def check_session(session):
    name = session["name"]
    script = Script(unhex(session["answer"]))
    initiator = initiate(script, local_of(session, "initiator"))
    equal(script.written.hex(), session["first_bytes"] + session["last_bytes"], f"{name}: initiator")
    script = Script(unhex(session["first_bytes"] + session["last_bytes"]))
    responder = respond(script, local_of(session, "responder"))
    equal(script.written.hex(), session["answer"], f"{name}: responder")
    for side in (initiator, responder):
        equal(side.hash.hex(), session["handshake_hash"], f"{name}: handshake hash")
    equal(initiator.remote_public_key, local_of(session, "responder").public_key, f"{name}: identity")
    equal(responder.remote_public_key, local_of(session, "initiator").public_key, f"{name}: identity")
    check_records(f"{name}, initiator's", session["from_initiator"], initiator.sending, responder.receiving)
    check_records(f"{name}, responder's", session["from_responder"], responder.sending, initiator.receiving)
    check_damage(session, name)


def check_kem():
    """Against the ML-KEM-768 of the library, which is a third one."""
    for number in range(4):
        randomness = hashlib.sha512(bytes([number])).digest()
        key, secret = mlkem768.key_pair(randomness)
        library = MLKEM768PrivateKey.from_seed_bytes(randomness)
        equal(key, library.public_key().public_bytes_raw(), "ML-KEM key")
        shared, ciphertext = mlkem768.encapsulate(key, randomness[:32])
        equal(library.decapsulate(ciphertext), shared, "ML-KEM encapsulation")
        shared, ciphertext = MLKEM768PublicKey.from_public_bytes(key).encapsulate()
        equal(mlkem768.decapsulate(secret, ciphertext), shared, "ML-KEM decapsulation")
        damaged = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
        equal(mlkem768.decapsulate(secret, damaged), library.decapsulate(damaged), "ML-KEM rejection")
    # A coefficient of q or more: FIPS 203 section 7.2.
    equal(mlkem768.is_valid_key(b"\xff" * mlkem768.KEY_BYTES), False, "ML-KEM key check")


def main():
    check_kem()
    sessions = load("hybrid.json")["sessions"]
    for session in sessions:
        check_session(session)
    vectors = [(name, vector) for name in ("cacophony-xx-sha256.json", "snow-xx-sha256.json")
               for vector in load(name)["vectors"]]
    for name, vector in vectors:
        check_noise(vector, name)
    equal(bool(sessions and vectors), True, "there are vectors")
    print(f"{len(sessions)} sessions and {len(vectors)} Noise vectors reproduced")


if __name__ == "__main__":
    sys.exit(main())
