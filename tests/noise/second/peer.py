"""A connection to a node over TCP: handshake, greeting, and then messages."""

import os
import time
from collections import deque
from socket import IPPROTO_TCP, TCP_NODELAY

from . import frames, handshake
from .messages import REASONS, message, reason_of
from .preface import HYBRID
from .primitives import Refused
from .signed import is_session_proof, open_record, record_of, session_proof, sign_record


class Disconnected(EOFError):
    """The remote ended the connection and said why."""

    def __init__(self, reason):
        super().__init__(f"the node ended the connection: {reason}")
        self.reason = reason


class SocketStream:
    """Bytes of a socket. It waits as long as it takes: the caller has the clock."""

    def __init__(self, socket):
        self.socket = socket
        # A record leaves at once, also while an earlier one is not acknowledged.
        socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError("the connection was closed")
            data += part
        return data

    def write(self, data):
        self.socket.sendall(data)


class Peer:
    """One connection. It answers pings by itself."""

    def __init__(self, stream, local, session, remote_address):
        self.stream, self.local, self.session, self.remote_address = stream, local, session, remote_address
        self.assembler, self.arrived = frames.Assembler(), deque()
        self.greeting = self.remote_hello = self.remote_record = None
        self.pings_answered = 0
        # Pairs of kind and id.
        self.announced = set()

    @classmethod
    def dial(cls, socket, local, expected_id=None):
        stream = SocketStream(socket)
        return cls(stream, local, handshake.initiate(stream, local, expected_id), socket.getpeername()[:2])

    @classmethod
    def accept(cls, socket, local):
        stream = SocketStream(socket)
        return cls(stream, local, handshake.respond(stream, local), socket.getpeername()[:2])

    def send(self, item, payload_bytes=frames.FRAME_CAPACITY_BYTES):
        """A message, each of its frames in a record of its own."""
        for frame in frames.cut(item, payload_bytes):
            self.send_record(frame)

    def send_record(self, plaintext):
        self.stream.write(self.session.sending.seal(plaintext))

    def step(self):
        """Takes one record. A ping in it is answered at once, announcements are noted, the rest waits."""
        for item in self.assembler.messages(self.session.receiving.read(self.stream)):
            if item.kind.name == "ping":
                self.send(message("pong", item.body))
                self.pings_answered += 1
            elif item.kind.name == "have":
                self.announced.update(item.body["items"])
            else:
                self.arrived.append(item)

    def receive(self):
        """The next message that is neither a ping nor an announcement."""
        while not self.arrived:
            self.step()
        return self.arrived.popleft()

    def receive_kind(self, *names):
        """The next message of one of these kinds; others are passed over, but the end is an error."""
        while True:
            item = self.receive()
            if item.kind.name in names:
                return item
            if item.kind.name == "disconnect":
                raise Disconnected(reason_of(item.body["reason"]))

    def greet(self, addresses=(), validator_seed=None):
        """Both greetings, sent and received, the remote's checked (section 6.1)."""
        local, now_ms = self.local, time.time_ns() // 1_000_000
        # Who says that it speaks hybrid is held to it.
        capabilities = 1 if local.suites & HYBRID else 0
        record = record_of(local.identity_seed, local.noise_secret, now_ms, addresses=list(addresses),
                           capabilities=capabilities)
        proof = validator_seed and session_proof(validator_seed, local.network, local.node_id, self.session.hash)
        self.greeting = message("hello", {
            "agent": "second/1", "record": sign_record(local.identity_seed, local.network, record), "height": 0,
            "observed": self.remote_address, "metadata": [("written from", "docs/protocol.md")], "validator": proof,
            "rate_factor": 1, "bytes_per_second": 0, "blocks_only": False, "purpose": "peer",
        })
        self.send(self.greeting)
        first = self.receive()
        if first.kind.name == "disconnect":
            raise Disconnected(reason_of(first.body["reason"]))
        if first.kind.name != "hello":
            raise Refused("protocol_error", f"{first.kind.name} before the greeting")
        self.remote_hello = first.body
        self.remote_record = open_record(first.body["record"], local.network, now_ms)
        keys = self.remote_record["public_key"], self.remote_record["noise_key"]
        if keys != (self.session.remote_public_key, self.session.remote_noise_key):
            raise Refused("protocol_error", "the record is another's")
        proof = first.body["validator"]
        if proof and not is_session_proof(proof, local.network, self.session.remote_id, self.session.hash):
            raise Refused("protocol_error", "a validator proof that does not verify")

    def want(self, *items):
        """Asks for messages, each a pair of kind and id."""
        self.send(message("want", {"items": list(items)}))

    def await_ping(self):
        """The first ping comes after the greeting; it is answered."""
        while not self.pings_answered:
            self.step()

    def ping(self):
        """A ping, and the pong with its nonce."""
        nonce = int.from_bytes(os.urandom(8), "little")
        self.send(message("ping", {"nonce": nonce}))
        while self.receive_kind("pong").body["nonce"] != nonce:
            pass

    def disconnect(self, reason="shutdown"):
        """The end, ours: then the node says nothing any more and closes."""
        self.send(message("disconnect", {"reason": REASONS.index(reason), "retry_after": 0}))
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return

    def is_silent_until_closed(self):
        """Whether the connection closes without another message."""
        try:
            self.receive()
        except (EOFError, ConnectionError):
            return True
        return False
