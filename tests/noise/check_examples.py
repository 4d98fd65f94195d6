#!/usr/bin/env python3
"""Builds every example of docs/protocol.md with the second implementation, and reads each back."""

import hashlib
import os
import re
import sys

from second import frames, signed
from second.blake3 import blake3
from second.encoding import Malformed, decode
from second.messages import (ANSWER, BY_NAME, BY_NUMBER, CIRCUIT_CLOSE_HEADER, CIRCUIT_CREDIT_HEADER,
                             CIRCUIT_OPEN_HEADER, DISCONNECT, DISCOVERY_HEADER, GOSSIP_HEADER, HELLO, ITEMS, KINDS,
                             NONCE, PEERS, PEERS_REQUEST, QUERY, REASONS, REQUEST_HEADER, RESPONSE_HEADER,
                             ROUTED_HEADER, message)
from second.primitives import Refused, ed25519_public, node_id, x25519_public
from second.sealed import open_sealed, seal

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/protocol.md")
NETWORK = b"\x09" * 32
NODE, VALIDATOR = b"\x01" * 32, b"\x02" * 32
NODE_ID = node_id(ed25519_public(NODE))
STAMP = 1_700_000_000_000
HOUR_MS = 3_600_000


def block(hops=0):
    return message("block", b"abc", hops=hops)


def record():
    return signed.record_of(
        NODE, b"\0" * 32, STAMP, noise_key=b"\x05" * 32, addresses=[("8.8.8.8", 30400), ("8.8.8.8", 30400, 1)], roles=3, capabilities=1,
        coordinate={"x": -15, "y": 1_200, "height": 35}, uplink={"kind": "home", "rate_kib": 5_120},
        validator=signed.validator_binding(VALIDATOR, NETWORK, NODE_ID), sequence=7, expires=STAMP + HOUR_MS)


def claim():
    return {"purpose": "value", "signer": ed25519_public(NODE), "name": b"\x03" * 32, "sequence": 5, "issued": STAMP,
            "expires": STAMP + HOUR_MS, "payload": b"xyz"}


def point_of_value(signer, name):
    return hashlib.sha256(b"peerstage/value-key/1" + signer + name).digest()


def hello():
    return {
        "agent": "a/1", "record": b"\xaa\xbb", "height": 702861, "observed": ("1.2.3.4", 5), "metadata": [("x", "yz")],
        "validator": signed.session_proof(VALIDATOR, NETWORK, NODE_ID, b"\x03" * 32),
        "rate_factor": 2, "bytes_per_second": 1_000, "blocks_only": True, "purpose": "visit",
    }


def encoded_examples():
    """Those that are one type's encoding: (title, type, value)."""
    return [
        ("ping, nonce 0x01020304", NONCE, {"nonce": 0x01020304}),
        ("gossip header: hops 3, topic 0x0a0b", GOSSIP_HEADER, {"hops": 3, "topic": 0x0A0B}),
        ("have, that block", ITEMS, {"items": [(BY_NAME["block"].number, block().id)]}),
        ("disconnect: shutdown, come back in 1 s", DISCONNECT,
         {"reason": REASONS.index("shutdown"), "retry_after": 1_000}),
        ("peers_request, 16", PEERS_REQUEST, {"count": 16}),
        ("peers, one record of the one byte 05", PEERS, {"records": [b"\x05"]}),
        ("request header: id 1, topic 2, 3 s", REQUEST_HEADER, {"id": 1, "topic": 2, "deadline": 3_000}),
        ("response header: id 1, busy", RESPONSE_HEADER, {"id": 1, "status": "busy"}),
        ("routed header to 32 bytes 04, hops 1", ROUTED_HEADER, {"receiver": b"\x04" * 32, "hops": 1}),
        ("discovery header: id 1", DISCOVERY_HEADER, {"id": 1}),
        ("query: find_node, 32 bytes 04", QUERY, ("find_node", {"target": b"\x04" * 32})),
        ("query: get_record, provider, 32 bytes 04", QUERY,
         ("get_record", {"purpose": "provider", "point": b"\x04" * 32})),
        ("query: put_record, a claim of the one byte 05", QUERY, ("put_record", {"claim": b"\x05"})),
        ("answer: nodes, one record of the one byte 05", ANSWER, ("nodes", {"nodes": [b"\x05"]})),
        ("answer: records, one claim of the one byte 06, no nodes", ANSWER,
         ("records", {"claims": [b"\x06"], "nodes": []})),
        ("answer: stored", ANSWER, ("stored", {})),
        ("answer: refused, stale", ANSWER, ("refused", {"reason": "stale"})),
        ("circuit_open header: circuit 1, to 32 bytes 04", CIRCUIT_OPEN_HEADER,
         {"circuit": 1, "other_end": "to", "node": b"\x04" * 32}),
        ("circuit_credit header: circuit 1, 16384 bytes", CIRCUIT_CREDIT_HEADER, {"circuit": 1, "bytes": 16_384}),
        ("circuit_close header: circuit 1, peer_quota", CIRCUIT_CLOSE_HEADER, {"circuit": 1, "reason": 9}),
        ("hello: agent `a/1`, record aa bb, height 702861, observed 1.2.3.4:5, metadata `x`: `yz`, "
         "validator proof of the node for the handshake hash 32 bytes 03, twice the rates, 1,000 bytes a second, blocks only, a visit", HELLO, hello()),
    ]


def framed_examples():
    """Records of one message: (title, message)."""
    return [
        ("record with this ping", message("ping", {"nonce": 0x01020304})),
        ("record with the block `abc`, hops 2", block(hops=2)),
    ]


def other_examples():
    return [
        ("node's public key", ed25519_public(NODE)),
        ("node's id", NODE_ID),
        ("validator's public key", ed25519_public(VALIDATOR)),
        ("id of the block `abc`", block().id),
        ("id of the custom message `abc`, topic 7", message("custom", b"abc", topic=7).id),
        ("signed record: noise key 32 bytes 05, addresses 8.8.8.8:30400 over TCP and over QUIC, roles 3, capabilities 1, "
         "coordinate -1.5, 120, 3.5 ms, uplink of a home, 5,120 KiB a second, bound to the validator, sequence 7, issued 1700000000000, one hour",
         signed.sign_record(NODE, NETWORK, record())),
        ("signed claim of the node: value `xyz` of the name 32 bytes 03, sequence 5, issued 1700000000000, one hour",
         signed.sign_claim(NODE, NETWORK, claim())),
        ("point of that value", point_of_value(ed25519_public(NODE), b"\x03" * 32)),
        ("vote `yes` of the validator, stamp 1700000000000",
         signed.sign_body(VALIDATOR, NETWORK, BY_NAME["vote"], STAMP, b"yes")),
    ]


def fail(what):
    raise SystemExit(f"check_examples: {what}")


def generated(document, name):
    return re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", document, re.DOTALL)[1]


def check_examples(document):
    """The document's examples are exactly these, each with these bytes."""
    found = re.findall(r"^(.+):\n\n```\n([0-9a-f\n]+)```$", generated(document, "examples"), re.MULTILINE)
    wanted = {title: bytes.fromhex(text) for title, text in found}
    built = dict(other_examples())
    for title, kind, value in encoded_examples():
        built[title] = kind.encode(value)
        if decode(kind, wanted[title]) != value:
            fail(f"{title}: read as {decode(kind, wanted[title])}")
        for damaged in (wanted[title][:-1], wanted[title] + b"\0"):
            if not is_refused(lambda: decode(kind, damaged)):
                fail(f"{title}: a missing or an additional byte is not refused")
    for title, item in framed_examples():
        built[title] = b"".join(frames.cut(item))
        if frames.Assembler().messages(wanted[title]) != [item]:
            fail(f"{title}: read differently")
    if built.keys() != wanted.keys():
        fail(f"examples differ: {sorted(built.keys() ^ wanted.keys())}")
    for title, data in built.items():
        if data != wanted[title]:
            fail(f"{title}: built {data.hex()}, the document has {wanted[title].hex()}")
    return len(built)


def is_refused(action):
    try:
        action()
    except (Malformed, Refused):
        return True
    return False


def check_signatures():
    """What was signed opens; with any byte changed it doesn't."""
    vote = BY_NAME["vote"]
    body = signed.sign_body(VALIDATOR, NETWORK, vote, STAMP, b"yes")
    if signed.open_body(body, NETWORK, vote, STAMP) != (ed25519_public(VALIDATOR), b"yes"):
        fail("the vote does not open")
    item = message("custom", b"psst", hops=255, topic=9)
    noise_secret, ephemeral = b"\x07" * 32, b"\x09" * 32
    sealed = signed.seal_message(NODE, NETWORK, NODE_ID, x25519_public(noise_secret), item, STAMP, ephemeral)
    if signed.open_message(noise_secret, NETWORK, NODE_ID, sealed, STAMP) != (ed25519_public(NODE), item):
        fail("the sealed message does not open")
    whole = signed.sign_record(NODE, NETWORK, record())
    if signed.open_record(whole, NETWORK, STAMP) != record():
        fail("the record does not open")
    openers = (
        ("vote", body, lambda data: signed.open_body(data, NETWORK, vote, STAMP)),
        ("sealed", sealed, lambda data: signed.open_message(noise_secret, NETWORK, NODE_ID, data, STAMP)),
        ("record", whole, lambda data: signed.open_record(data, NETWORK, STAMP)),
    )
    for name, data, opener in openers:
        for position in range(len(data)):
            damaged = data[:position] + bytes([data[position] ^ 4]) + data[position + 1:]
            if not is_refused(lambda: opener(damaged)):
                fail(f"{name}: a change of byte {position} is not refused")
    if not signed.is_session_proof(hello()["validator"], NETWORK, NODE_ID, b"\x03" * 32):
        fail("the proof does not verify")
    if signed.is_session_proof(hello()["validator"], NETWORK, NODE_ID, b"\x04" * 32):
        fail("the proof verifies on another connection")


def check_seal(document):
    """The vector of section 10.2."""
    text = re.search(r"plaintext `hello`:\n\n```\n([0-9a-f\n]+)```", document)[1]
    built = seal(x25519_public(b"\x07" * 32), b"\x09" * 32, b"aad", b"hello")
    if built != bytes.fromhex(text) or open_sealed(b"\x07" * 32, b"aad", built) != b"hello":
        fail(f"seal: built {built.hex()}")


def check_tables(document):
    """The kinds and reasons known here are those of the document's tables."""
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\w+) \| (\d+) \|", generated(document, "kinds"), re.MULTILINE)
    lanes = ["Consensus", "Blocks", "Control", "Transactions", "Bulk"]
    if rows != [(kind.name, str(kind.number), lanes[kind.lane], str(kind.body_limit)) for kind in KINDS]:
        fail("the kinds differ")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|$", generated(document, "reasons"), re.MULTILINE)
    if rows != [(str(code), name) for code, name in enumerate(REASONS)]:
        fail("the reasons differ")


def check_frames():
    """A long message in small frames, another lane's between them; and what must be refused."""
    long, ping = message("custom", bytes(range(256)) * 40, topic=3), message("ping", {"nonce": 5})
    pieces = list(frames.cut(long, 1_000))
    assembler = frames.Assembler()
    got = [item for piece in pieces for item in assembler.messages(piece + b"".join(frames.cut(ping)))]
    if got != [ping] * (len(pieces) - 1) + [long, ping] or len(pieces) < 10:
        fail("interleaved frames are read differently")
    whole = b"".join(frames.cut(ping))
    wrong = {
        "cut short": whole[:-1], "unknown lane": b"\x05" + whole[1:], "unknown flag": whole[:1] + b"\x07" + whole[2:],
        "continues nothing": frames.frame(2, frames.LAST, b""), "inside another": pieces[0] * 2,
        "unknown kind": frames.frame(2, 3, b"\x09" + bytes(5)), "another lane's": b"\x04" + whole[1:],
        "over its limit": frames.frame(2, 1, b"\x02\x00\x11\0\0\0"), "ends before": frames.frame(2, 3, b"\x02\0\x08\0\0\0"),
        "goes on after": frames.frame(2, 1, b"\x02\0\x01\0\0\0" + bytes(2)),
    }
    for name, data in wrong.items():
        if not is_refused(lambda: frames.Assembler().messages(data)):
            fail(f"frames: {name} is not refused")


def main():
    with open(DOCUMENT, encoding="utf-8") as file:
        document = file.read()
    # The BLAKE3 team's vector of 2,049 bytes 0, 1, ... 250, 0, ...: a tree of three chunks.
    if blake3(bytes(i % 251 for i in range(2_049))).hex()[:16] != "5f4d72f40d7a5f82":
        fail("BLAKE3")
    count = check_examples(document)
    check_signatures()
    check_seal(document)
    check_tables(document)
    check_frames()
    print(f"{count} examples, the seal and the tables of docs/protocol.md reproduced; {len(BY_NUMBER)} kinds")


if __name__ == "__main__":
    sys.exit(main())
