#!/usr/bin/env python3
"""Talks to a running node over TCP with the second implementation; tests/second_implementation.rs starts it.

    live.py dial NODE_ID@HOST:PORT NETWORK SUITE     two peers dial the node
    live.py listen NODE_ID NETWORK SUITE             two peers wait for the node; their addresses are printed

NETWORK is the network's name, SUITE is hybrid or classical: what both peers offer. In either case the peers then send
each other, through the node, one of everything. Exit code 0 when all of it was as docs/protocol.md says. The node is to
push a transaction to one peer (relay.eager_transactions=1).
"""

import os
import signal
import socket
import sys
import time

from second import frames, mlkem768, signed
from second.handshake import Local
from second.messages import BY_NAME, CONSENSUS, KINDS, message
from second.peer import Disconnected, Peer, SocketStream
from second.preface import CLASSICAL, HYBRID, INITIATOR, RESPONDER
from second.primitives import Refused, ed25519_public, sha256, x25519_public

# What fails instead of hanging: how long all of it may take. On a quiet core it takes 1 s; less
# than half of the minute that the test has for two runs.
DEADLINE_S = 100
SUITES = {"hybrid": HYBRID, "classical": CLASSICAL}
# The node has the public keys of these as its validators; its own is the first.
NODE_VALIDATOR_SEED, *VALIDATOR_SEEDS = (bytes([first]) * 32 for first in (0x20, 0x21, 0x22))
CONSENSUS_NUMBERS = [kind.number for kind in KINDS if kind.lane == CONSENSUS]
# Over Noise's 1,024 records for a key.
RECORDS_PAST_A_CHANGE_OF_KEYS = 1_030


def equal(got, wanted, what):
    if got != wanted:
        raise SystemExit(f"live: {what}: got {got!r}, wanted {wanted!r}")


def now_ms():
    return time.time_ns() // 1_000_000


def local(network, suites):
    return Local(os.urandom(32), os.urandom(32), network, suites)


def dial(address, own, node_id=None):
    connection = socket.create_connection(address)
    return Peer.dial(connection, own, node_id)


def meet(peer, seed, node_id, suite):
    """The greeting; what the node says of itself and of us must be right. Then a ping each way."""
    equal(peer.session.remote_id, node_id, "the node's id")
    equal(peer.session.suite, suite, "the suite")
    peer.greet(validator_seed=seed)
    equal(peer.remote_hello["observed"], peer.stream.socket.getsockname()[:2], "where the node sees us")
    equal(peer.remote_record["capabilities"] & 3, 3, "the node's capabilities")
    pace = peer.remote_hello["rate_factor"], peer.remote_hello["bytes_per_second"]
    equal(pace, (1, 0), "the node's pace")
    proof = peer.remote_hello["validator"]
    equal(proof and proof[0], ed25519_public(NODE_VALIDATOR_SEED), "the node's validator")
    peer.await_ping()
    peer.ping()
    return peer


def obtain(peer, item, what):
    """The message reaches the peer, the same and one hop further. Whether it was pushed; else it was announced and the
    peer asked for it."""
    name, wanted = item.kind.name, (item.kind.number, item.id)
    while wanted not in peer.announced and name not in [arrived.kind.name for arrived in peer.arrived]:
        peer.step()
    pushed = wanted not in peer.announced
    if not pushed:
        peer.want(wanted)
    got = peer.receive_kind(name)
    equal((got.body, got.header), (item.body, item.header | {"hops": item.header["hops"] + 1}), what)
    return pushed


def pass_on(sender, receiver, item, what, payload_bytes=None):
    """A gossiped message goes through the node. It is pushed, unless it comes before the node counts the receiver."""
    sender.send(item, *[payload_bytes] if payload_bytes else [])
    obtain(receiver, item, what)


def exchange_gossip(one, other):
    pass_on(one, other, message("transaction", b"a transaction"), "transaction")
    # More than a record, in frames of 1,000 bytes, each in a record of its own.
    pass_on(other, one, message("block", os.urandom(70_000), hops=3), "block", 1_000)
    pass_on(one, other, message("custom", b"a custom message", topic=0x01020304), "custom message")
    # The first is for the node alone, so the next that arrives is the second.
    one.send(message("custom", b"for you only", hops=255, topic=5))
    pass_on(one, other, message("custom", b"for all", topic=5), "custom message for all")


def exchange_votes(one, other):
    for kind in ("proposal", "vote"):
        empty = message(kind, b"")
        body = signed.sign_body(VALIDATOR_SEEDS[0], one.local.network, empty.kind, now_ms(), kind.encode())
        pass_on(one, other, message(kind, body), kind)


def exchange_sealed(one, other):
    """Sealed by one for the other, carried by the node."""
    network, inner = one.local.network, message("custom", b"under seal", topic=6, hops=255)
    body = signed.seal_message(one.local.identity_seed, network, other.local.node_id,
                               x25519_public(other.local.noise_secret), inner, now_ms(), os.urandom(32))
    one.send(message("routed", body, receiver=other.local.node_id, hops=0))
    got = other.receive_kind("routed")
    equal((got.header["hops"], got.header["receiver"]), (1, other.local.node_id), "routed header")
    opened = signed.open_message(other.local.noise_secret, network, other.local.node_id, got.body, now_ms())
    equal(opened, (one.local.public_key, inner), "what was sealed")


def ask(peer):
    """Requests that every node answers, and what was just sent, again on demand."""
    peer.send(message("request", b"?", id=1, topic=99, deadline=5_000))
    got = peer.receive_kind("response")
    equal((got.header, got.body), ({"id": 1, "status": "unsupported"}, b""), "response")
    peer.send(message("peers_request", {"count": 32}))
    for record in peer.receive_kind("peers").body["records"]:
        signed.open_record(record, peer.local.network, now_ms())


def want(one, other):
    """The other asks the node again for what one sends now."""
    item = message("transaction", b"asked for again")
    pass_on(one, other, item, "transaction to ask for")
    other.want((item.kind.number, item.id))
    got = other.receive_kind("transaction")
    equal((got.body, got.header["hops"]), (item.body, 1), "wanted transaction")


def change_keys(one, other):
    """Enough records in each direction that both sides change keys."""
    for _ in range(RECORDS_PAST_A_CHANGE_OF_KEYS):
        one.send_record(b"")
    for number in range(RECORDS_PAST_A_CHANGE_OF_KEYS):
        pass_on(one, other, message("transaction", number.to_bytes(4, "little")), f"transaction {number}")
    for direction in (one.session.sending, other.session.receiving):
        equal(direction.counter > 1_024, True, "a change of keys")
    one.ping()


def exchange_announcements(one, other, newcomers):
    """Who comes later is told of what there is; of many peers some are pushed a message and the others told of it."""
    told = message("transaction", b"before they came")
    pass_on(one, other, told, "transaction before they came")
    newcomers = list(newcomers)
    for peer in newcomers:
        equal(obtain(peer, told, "what there was"), False, "pushed what there was")
    item = message("transaction", b"to all of them")
    one.send(item)
    equal(sum(obtain(peer, item, "transaction to all") for peer in [other, *newcomers]), 1, "pushed transactions")
    for peer in newcomers:
        equal([item for item in peer.announced if item[0] in CONSENSUS_NUMBERS], [], "announced to no validator")
        peer.disconnect()


def exchange(connections, newcomers, node_id, suite):
    """One of everything, between two peers of the node; `connections` makes them, one by one, and `newcomers` more."""
    def meet_each(peers, seeds):
        return (meet(peer, seed, node_id, suite) for peer, seed in zip(peers, seeds))

    one, other = peers = list(meet_each(connections, VALIDATOR_SEEDS))
    exchange_gossip(one, other)
    exchange_votes(one, other)
    exchange_sealed(one, other)
    ask(one)
    want(one, other)
    change_keys(one, other)
    exchange_announcements(one, other, meet_each(newcomers, [None, None]))
    for peer in peers:
        peer.disconnect()


def wrong_beginnings(own):
    """What the node closes on without a byte of its own."""
    key, kem_key = x25519_public(os.urandom(32)), mlkem768.key_pair(os.urandom(64))[0]
    good = own.preface(INITIATOR, 1, HYBRID).encode()
    length = b"\x04\xc0"
    return {
        "an offer that is not the best": own.preface(INITIATOR, 1, CLASSICAL).encode() + b"\0\x20" + key,
        "a version that is not the newest": own.preface(INITIATOR, 0, HYBRID).encode() + length + key + kem_key,
        "another magic": b"PEERSTGF",
        "its own role": own.preface(RESPONDER, 1, HYBRID).encode(),
        "a role that nobody has": good[:8] + b"\x03" + good[9:],
        "a length one too small": good + b"\x04\xbf",
        "a length one too great": good + b"\x04\xc1",
        "a key of low order": good + length + bytes(32) + kem_key,
        "a key with a second encoding": good + length + key[:31] + bytes([key[31] | 0x80]) + kem_key,
        "an ML-KEM key over q": good + length + key + b"\xff" * mlkem768.KEY_BYTES,
    }


def wrong_frames():
    """What the node ends a greeted connection for, each the plaintext of a record."""
    head = frames.MESSAGE_HEAD.pack
    transaction = BY_NAME["transaction"]
    whole = frames.FIRST | frames.LAST
    return {
        "a header one too long": frames.frame(transaction.lane, whole, head(transaction.number, 6, 0) + bytes(6)),
        "a header longer than any": frames.frame(transaction.lane, frames.FIRST,
                                                 head(transaction.number, 41, 100) + bytes(41)),
        "a body over its limit": frames.frame(transaction.lane, frames.FIRST,
                                              head(transaction.number, 5, transaction.body_limit + 1) + bytes(5)),
        "the middle of nothing": frames.frame(transaction.lane, 0, b"."),
        "a kind that nobody has": frames.frame(transaction.lane, whole, head(255, 0, 0)),
        "a frame cut short": frames.frame(transaction.lane, whole, b"..")[:-1],
    }


def check_refusals(address, network):
    """The node refuses what it must, the way the document says."""
    stranger = local(sha256(b"another network"), HYBRID)
    equal(reason(lambda: dial(address, stranger)), "wrong_network", "another network")
    other_version = local(network, HYBRID)
    other_version.versions = (2, 9)
    equal(reason(lambda: dial(address, other_version)), "unsupported_version", "another version")

    suites = HYBRID | CLASSICAL
    own = local(network, suites)
    for what, first in wrong_beginnings(own).items():
        stream = SocketStream(socket.create_connection(address))
        stream.write(first)
        equal(reason(lambda: stream.read_exactly(1)), "closed", what)

    plaintexts = wrong_frames()
    for what in ["a second greeting", *plaintexts]:
        peer = dial(address, local(network, suites))
        peer.greet()
        peer.await_ping()
        if what in plaintexts:
            peer.send_record(plaintexts[what])
        else:
            peer.send(peer.greeting)
        equal(reason(lambda: peer.receive_kind("nothing")), "protocol_error", what)
        equal(peer.is_silent_until_closed(), True, f"after the end: {what}")


def reason(action):
    """Why it failed: the refusal, what the node said at the end, or just that it closed."""
    try:
        action()
    except (Refused, Disconnected) as end:
        return end.reason
    except (EOFError, ConnectionError):
        return "closed"
    return "accepted"


def listen(network, suites):
    """Two listeners, told to whoever started this; then the node's two connections."""
    waiting = []
    for _ in VALIDATOR_SEEDS:
        listener = socket.create_server(("127.0.0.1", 0))
        waiting.append((listener, local(network, suites)))
    print(*(f"{own.node_id.hex()}@127.0.0.1:{listener.getsockname()[1]}" for listener, own in waiting), flush=True)
    for listener, own in waiting:
        with listener:
            yield Peer.accept(listener.accept()[0], own)


def give_up(*_):
    """The alarm's handler; the traceback says what was waited for."""
    raise TimeoutError(f"live: not done after {DEADLINE_S} s")


def main(mode, node, network, suite):
    network, suites = sha256(network.encode()), SUITES[suite]
    node_id, _, address = node.partition("@")
    node_id = bytes.fromhex(node_id)
    if mode == "listen":
        exchange(listen(network, suites), (), node_id, suites)
        return
    host, port = address.rsplit(":", 1)
    address = host, int(port)
    first, second = ((dial(address, local(network, suites), node_id) for _ in range(2)) for _ in range(2))
    exchange(first, second, node_id, suites)
    check_refusals(address, network)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(DEADLINE_S)
    main(*sys.argv[1:])
