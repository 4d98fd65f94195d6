"""Sections 6 to 11: the kinds of messages, their headers and bodies."""

from dataclasses import dataclass

from .blake3 import blake3
from .encoding import (ADDRESS, I16, ID, KEY, PROOF, SIGNATURE, TIME, U8, U16, U32, U64, Boolean, Bytes, Enumeration, Listing,
                       Malformed, Option, Pair, Structure, Text, Variant, decode)

CONSENSUS, BLOCKS, CONTROL, TRANSACTIONS, BULK = range(5)

SIGNED_RECORD_BYTES = 2_048
MAXIMUM_HOPS = 16
DELIVER_ONLY_HOPS = 255

HELLO = Structure(
    agent=Text(64),
    record=Bytes(SIGNED_RECORD_BYTES),
    height=U64,
    observed=ADDRESS,
    metadata=Listing(Pair(Text(64), Text(256)), 16),
    validator=Option(PROOF),
    rate_factor=U16,
    bytes_per_second=U64,
    blocks_only=Boolean(),
    purpose=Enumeration("peer", "visit"),
)
RECORD = Structure(
    public_key=KEY,
    noise_key=KEY,
    addresses=Listing(ADDRESS, 8),
    roles=U32,
    capabilities=U32,
    coordinate=Option(Structure(x=I16, y=I16, height=U16)),
    uplink=Structure(kind=Enumeration("unsaid", "mobile", "home", "office", "server"), rate_kib=U32),
    validator=Option(PROOF),
    sequence=U64,
    issued=TIME,
    expires=TIME,
)
NONCE = Structure(nonce=U64)
# Bytes a second that the sender takes from now on; 0 is no limit.
TAKES = Structure(bytes_per_second=U64)
DISCONNECT = Structure(reason=U8, retry_after=U32)
PEERS_REQUEST = Structure(count=U8)
PEERS = Structure(records=Listing(Bytes(SIGNED_RECORD_BYTES), 32))
ITEMS = Structure(items=Listing(Pair(U8, ID), 512))
GOSSIP_HEADER = Structure(hops=U8, topic=U32)
ROUTED_HEADER = Structure(receiver=ID, hops=U8)
REQUEST_HEADER = Structure(id=U64, topic=U32, deadline=U32)
RESPONSE_HEADER = Structure(id=U64, status=Enumeration("ok", "busy", "unsupported", "failed"))
# Section 9.2 to 9.4.
CLAIM_BYTES = 1_188
PURPOSE = Enumeration("value", "provider", "rendezvous")
CLAIM = Structure(purpose=PURPOSE, signer=KEY, name=ID, sequence=U64, issued=TIME, expires=TIME, payload=Bytes(1_024))
DISCOVERY_HEADER = Structure(id=U64)
NODES = Listing(Bytes(SIGNED_RECORD_BYTES), 20)
QUERY = Variant(
    find_node=Structure(target=ID),
    get_record=Structure(purpose=PURPOSE, point=ID),
    put_record=Structure(claim=Bytes(CLAIM_BYTES)),
)
ANSWER = Variant(
    nodes=Structure(nodes=NODES),
    records=Structure(claims=Listing(Bytes(CLAIM_BYTES), 12), nodes=NODES),
    stored=Structure(),
    refused=Structure(reason=Enumeration("busy", "full", "stale", "unsupported", "invalid")),
)
# Section 15.
CIRCUIT_OPEN_HEADER = Structure(circuit=U32, other_end=Enumeration("to", "from"), node=ID)
CIRCUIT_HEADER = Structure(circuit=U32)
CIRCUIT_CREDIT_HEADER = Structure(circuit=U32, bytes=U32)
CIRCUIT_CLOSE_HEADER = Structure(circuit=U32, reason=U8)
# Section 8; the payload follows.
SIGNED_BODY = Structure(validator=KEY, stamp=TIME, signature=SIGNATURE)
EMPTY = Structure()

REASONS = (
    "unspecified", "too_many_peers", "duplicate", "banned", "self_connection", "wrong_network", "wrong_version",
    "shutdown", "idle", "ping_timeout", "protocol_error", "requested", "group_limit", "handshake_failed",
    "handshake_timeout", "panicked", "unexpected_identity", "rate_limited", "evicted", "slow_reader",
    "connection_lost", "upgraded",
)


@dataclass(frozen=True)
class Kind:
    name: str
    number: int
    lane: int
    body_limit: int
    header: Structure = EMPTY
    # None: the body is the chain's own.
    body: Structure = None

    @property
    def is_gossiped(self):
        return self.header is GOSSIP_HEADER


KINDS = (
    Kind("hello", 1, CONTROL, 8_192, body=HELLO),
    Kind("ping", 2, CONTROL, 16, body=NONCE),
    Kind("pong", 3, CONTROL, 16, body=NONCE),
    Kind("disconnect", 4, CONTROL, 256, body=DISCONNECT),
    Kind("takes", 5, CONTROL, 16, body=TAKES),
    Kind("peers_request", 10, CONTROL, 16, body=PEERS_REQUEST),
    Kind("peers", 11, CONTROL, 32_768, body=PEERS),
    Kind("discovery_query", 12, CONTROL, 2_048, DISCOVERY_HEADER, QUERY),
    Kind("discovery_answer", 13, CONTROL, 32_768, DISCOVERY_HEADER, ANSWER),
    Kind("block", 20, BLOCKS, 4_194_304, GOSSIP_HEADER),
    Kind("transaction", 21, TRANSACTIONS, 524_288, GOSSIP_HEADER),
    Kind("have", 22, CONTROL, 17_408, body=ITEMS),
    Kind("want", 23, CONTROL, 17_408, body=ITEMS),
    Kind("proposal", 30, CONSENSUS, 4_194_304, GOSSIP_HEADER),
    Kind("vote", 31, CONSENSUS, 4_096, GOSSIP_HEADER),
    Kind("request", 40, BULK, 262_144, REQUEST_HEADER),
    Kind("response", 41, BULK, 4_194_304, RESPONSE_HEADER),
    Kind("routed", 50, BULK, 131_072, ROUTED_HEADER),
    Kind("circuit_open", 51, BULK, 0, CIRCUIT_OPEN_HEADER, EMPTY),
    Kind("circuit_opened", 52, BULK, 0, CIRCUIT_HEADER, EMPTY),
    Kind("circuit_data", 53, BULK, 16_384, CIRCUIT_HEADER),
    Kind("circuit_credit", 54, BULK, 0, CIRCUIT_CREDIT_HEADER, EMPTY),
    Kind("circuit_close", 55, BULK, 0, CIRCUIT_CLOSE_HEADER, EMPTY),
    Kind("custom", 60, BULK, 1_048_576, GOSSIP_HEADER),
)
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Message:
    """`header` is a dictionary; `body` is one too, or bytes when it is the chain's own."""

    kind: Kind
    header: dict
    body: object

    @property
    def id(self):
        return message_id(self.kind, self.header["topic"], self.body)


def message(name, body, **header):
    """A message to send. A gossiped one begins with hops 0 and topic 0."""
    kind = BY_NAME[name]
    if kind.is_gossiped:
        header = {"hops": 0, "topic": 0} | header
    return Message(kind, header, body)


def encode(item):
    """(header, body) as bytes."""
    body = item.body if item.kind.body is None else item.kind.body.encode(item.body)
    if len(body) > item.kind.body_limit:
        raise Malformed(f"{len(body)} bytes of {item.kind.name}")
    return item.kind.header.encode(item.header), body


def parse(kind, header_bytes, body_bytes):
    """The message of these bytes, checked as far as one message can be by itself."""
    header = decode(kind.header, header_bytes)
    body = body_bytes if kind.body is None else decode(kind.body, body_bytes)
    if kind.is_gossiped and kind.name != "custom" and header["topic"] != 0:
        raise Malformed(f"{kind.name} with a topic")
    if kind.body is ITEMS:
        for number, _ in body["items"]:
            if number not in BY_NUMBER or not BY_NUMBER[number].is_gossiped:
                raise Malformed(f"kind {number} is not gossiped")
    return Message(kind, header, body)


def message_id(kind, topic, body):
    """Section 7.1."""
    return blake3(U8.encode(kind.number) + U32.encode(topic) + body)


def reason_of(code):
    """An unknown code counts as 0."""
    return REASONS[code] if code < len(REASONS) else REASONS[0]
