"""Section 4: messages cut into frames, and put together again."""

import struct
from dataclasses import dataclass

from .encoding import Malformed
from .messages import BULK, BY_NUMBER, encode, parse
from .primitives import Refused
from .records import CAPACITY_BYTES

FIRST, LAST = 1, 2
_HEAD = struct.Struct("<BBH")
MESSAGE_HEAD = struct.Struct("<BBI")
_HEADER_LIMIT_BYTES = 40
FRAME_CAPACITY_BYTES = CAPACITY_BYTES - _HEAD.size


def frame(lane, flags, payload):
    return _HEAD.pack(lane, flags, len(payload)) + payload


def cut(item, payload_bytes=FRAME_CAPACITY_BYTES):
    """The frames of a message, each of at most this many bytes of payload but for the first one's heads."""
    header, body = encode(item)
    head = MESSAGE_HEAD.pack(item.kind.number, len(header), len(body)) + header
    room = max(0, payload_bytes - len(head))
    payloads = [head + body[:room]]
    payloads += [body[i:i + payload_bytes] for i in range(room, len(body), payload_bytes)]
    last = len(payloads) - 1
    for number, payload in enumerate(payloads):
        flags = (FIRST if number == 0 else 0) | (LAST if number == last else 0)
        yield frame(item.kind.lane, flags, payload)


@dataclass
class _Unfinished:
    kind: object
    header: bytes
    length: int
    body: bytearray


def _begin(lane, payload):
    if len(payload) < MESSAGE_HEAD.size:
        raise Refused("protocol_error", "a first payload is cut short")
    number, header_length, length = MESSAGE_HEAD.unpack_from(payload)
    end = MESSAGE_HEAD.size + header_length
    if len(payload) < end:
        raise Refused("protocol_error", "a header is cut short")
    kind = BY_NUMBER.get(number)
    if kind is None:
        raise Refused("protocol_error", f"unknown kind {number}")
    if kind.lane != lane:
        raise Refused("protocol_error", f"{kind.name} on lane {lane}")
    if length > kind.body_limit:
        raise Refused("protocol_error", f"a {kind.name} of {length} bytes")
    if header_length > _HEADER_LIMIT_BYTES:
        raise Refused("protocol_error", f"a header of {header_length} bytes")
    return _Unfinished(kind, payload[MESSAGE_HEAD.size:end], length, bytearray()), payload[end:]


class Assembler:
    """Takes the plaintexts of records, gives whole messages."""

    def __init__(self):
        self.lanes = {}

    def messages(self, plaintext):
        """The messages that this record ends, in order."""
        position, done = 0, []
        while position < len(plaintext):
            if len(plaintext) - position < _HEAD.size:
                raise Refused("protocol_error", "a frame is cut short")
            lane, flags, length = _HEAD.unpack_from(plaintext, position)
            position += _HEAD.size
            if len(plaintext) - position < length:
                raise Refused("protocol_error", "a payload is cut short")
            item = self._take(lane, flags, plaintext[position:position + length])
            position += length
            if item:
                done.append(item)
        return done

    def _take(self, lane, flags, payload):
        if lane > BULK or flags & ~(FIRST | LAST):
            raise Refused("protocol_error", f"lane {lane}, flags {flags}")
        if flags & FIRST:
            if lane in self.lanes:
                raise Refused("protocol_error", "a message begins inside another")
            self.lanes[lane], payload = _begin(lane, payload)
        elif lane not in self.lanes:
            raise Refused("protocol_error", "a frame continues nothing")
        unfinished = self.lanes[lane]
        unfinished.body += payload
        if len(unfinished.body) > unfinished.length:
            raise Refused("protocol_error", "a message goes on after its length")
        if not flags & LAST:
            return None
        if len(unfinished.body) < unfinished.length:
            raise Refused("protocol_error", "a message ends before its length")
        del self.lanes[lane]
        try:
            return parse(unfinished.kind, unfinished.header, bytes(unfinished.body))
        except Malformed as error:
            raise Refused("protocol_error", f"{unfinished.kind.name}: {error}") from None
