#!/usr/bin/env python3
"""A second implementation of docs/protocol.md, sections 4 to 10, written from that text alone.

Builds every example of section 13 and the sealed message of section 10.2 from the description
beside it, and compares the bytes. Exits with 1 on the first difference.
"""

import hashlib
import hmac
import pathlib
import re
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NETWORK = b"\x09" * 32
NODE = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
VALIDATOR = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
STAMP = 1_700_000_000_000
BLOCK, CUSTOM, PING, VOTE = 20, 60, 2, 31


# 5 Encoding


def u8(number):
    return number.to_bytes(1, "little")


def u16(number):
    return number.to_bytes(2, "little")


def u32(number):
    return number.to_bytes(4, "little")


def u64(number):
    return number.to_bytes(8, "little")


def text(words):
    return u64(len(words.encode())) + words.encode()


def elements(encoded):
    return u64(len(encoded)) + b"".join(encoded)


def byte_list(some):
    return elements([u8(byte) for byte in some])


def address(ipv4, port):
    return bytes(10) + b"\xff\xff" + bytes(ipv4) + u16(port)


def signature(key, domain, message):
    digest = hashlib.sha256(u8(len(domain)) + domain + NETWORK + message).digest()
    return key.sign(digest)


def public(key):
    return key.public_key().public_bytes_raw()


NODE_ID = hashlib.sha256(public(NODE)).digest()


# 7.1 Ids: BLAKE3 of at most one block, from its paper, sections 2.1 to 2.4


def blake3(data):
    assert len(data) <= 64
    mask = 0xFFFFFFFF
    iv = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A]
    iv += [0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
    block = data.ljust(64, b"\0")
    words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]
    start, end, root = 1, 2, 8
    state = iv + iv[:4] + [0, 0, len(data), start | end | root]

    def turn(word, by):
        return (word >> by | word << (32 - by)) & mask

    def mix(a, b, c, d, x, y):
        for add, first, second in ((x, 16, 12), (y, 8, 7)):
            state[a] = (state[a] + state[b] + add) & mask
            state[d] = turn(state[d] ^ state[a], first)
            state[c] = (state[c] + state[d]) & mask
            state[b] = turn(state[b] ^ state[c], second)

    order = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
    for _ in range(7):
        for i in range(4):
            mix(i, 4 + i, 8 + i, 12 + i, words[2 * i], words[2 * i + 1])
        for i in range(4):
            a, b, c, d = i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4
            mix(a, b, c, d, words[8 + 2 * i], words[9 + 2 * i])
        words = [words[i] for i in order]
    return b"".join(u32(state[i] ^ state[i + 8]) for i in range(8))


def message_id(kind, topic, body):
    return blake3(u8(kind) + u32(topic) + body)


# 4 Frames


def record(lane, kind, header, body):
    payload = u8(kind) + u8(len(header)) + u32(len(body)) + header + body
    return u8(lane) + u8(1 | 2) + u16(len(payload)) + payload


# 6 to 11


def gossip(hops, topic):
    return u8(hops) + u32(topic)


def hello():
    proof = signature(VALIDATOR, b"peerstage/validator-session/1", NODE_ID + b"\x03" * 32)
    return b"".join([
        text("a/1"), byte_list(b"\xaa\xbb"), u64(702_861), address([1, 2, 3, 4], 5),
        elements([text("x") + text("yz")]), u8(1) + public(VALIDATOR) + proof,
    ])


def signed_record():
    binding = signature(VALIDATOR, b"peerstage/validator-binding/1", NODE_ID)
    unsigned = b"".join([
        public(NODE), b"\x05" * 32, elements([address([8, 8, 8, 8], 30400)]), u32(3), u32(1),
        u8(1) + public(VALIDATOR) + binding, u64(7), u64(STAMP), u64(STAMP + 3_600_000),
    ])
    return unsigned + signature(NODE, b"peerstage/record/1", unsigned)


def vote():
    signed = signature(VALIDATOR, b"peerstage/consensus/1", u8(VOTE) + u64(STAMP) + b"yes")
    return public(VALIDATOR) + u64(STAMP) + signed + b"yes"


def sealed():
    receiver = X25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw()
    secret = X25519PrivateKey.from_private_bytes(b"\x09" * 32)
    ephemeral = secret.public_key().public_bytes_raw()
    shared = secret.exchange(X25519PublicKey.from_public_bytes(receiver))
    extracted = hmac.digest(ephemeral + receiver, shared, "sha256")
    key = hmac.digest(extracted, b"peerstage/sealed/1" + b"\x01", "sha256")
    return ephemeral + ChaCha20Poly1305(key).encrypt(bytes(12), b"hello", b"aad")


PING_BODY = u64(0x01020304)
BLOCK_ID = message_id(BLOCK, 0, b"abc")
EXAMPLES = [
    ("node's public key", public(NODE)),
    ("node's id", NODE_ID),
    ("validator's public key", public(VALIDATOR)),
    ("ping", PING_BODY),
    ("record with this ping", record(2, PING, b"", PING_BODY)),
    ("record with the block", record(1, BLOCK, gossip(2, 0), b"abc")),
    ("id of the block", BLOCK_ID),
    ("id of the custom message", message_id(CUSTOM, 7, b"abc")),
    ("gossip header", gossip(3, 0x0A0B)),
    ("have", elements([u8(BLOCK) + BLOCK_ID])),
    ("disconnect", u8(7) + u32(1000)),
    ("peers_request", u8(16)),
    ("peers, one record", elements([byte_list(b"\x05")])),
    ("request header", u64(1) + u32(2) + u32(3000)),
    ("response header", u64(1) + u32(1)),
    ("routed header", b"\x04" * 32 + u8(1)),
    ("hello", hello()),
    ("signed record", signed_record()),
    ("vote", vote()),
]


def main():
    document = pathlib.Path(__file__).parents[2] / "docs" / "protocol.md"
    whole = document.read_text()
    _, section = whole.split("<!-- generated: examples -->")
    written = re.findall(r"^(.+):\n\n```\n([0-9a-f\n]+)```", section, re.MULTILINE)
    assert len(written) == len(EXAMPLES), f"{len(written)} examples, {len(EXAMPLES)} known"
    for (title, shown), (expected, built) in zip(written, EXAMPLES):
        assert title.startswith(expected), f"{title!r} is not {expected!r}"
        if bytes.fromhex(shown) != built:
            sys.exit(f"{title}:\n  document {shown}\n  built    {built.hex()}")
    vector = re.search(r"Test vector:[^`]*`r`.*?```\n([0-9a-f\n]+)```", whole, re.DOTALL)
    if bytes.fromhex(vector.group(1)) != sealed():
        sys.exit(f"sealed message:\n  built {sealed().hex()}")
    print(f"messages: {len(EXAMPLES)} examples and a sealed message agree")


if __name__ == "__main__":
    main()
