"""Section 1: the 48 bytes in clear, and what two of them lead to."""

from dataclasses import dataclass

from .primitives import Refused

LENGTH_BYTES = 48
MAGIC = b"PEERSTGE"
INITIATOR, RESPONDER = 1, 2
CLASSICAL, HYBRID = 1, 2
# Best first.
SUITES = (HYBRID, CLASSICAL)


@dataclass(frozen=True)
class Preface:
    role: int
    oldest: int
    newest: int
    version: int
    suites: int
    suite: int
    network: bytes

    def encode(self):
        return MAGIC + bytes([self.role, self.oldest, self.newest, self.version, self.suites, self.suite, 0, 0]) + self.network


def decode(data, own_role):
    """The remote's preface. Reserved bytes say nothing yet."""
    if data[:8] != MAGIC:
        raise Refused("wrong_magic")
    if data[8] == own_role:
        raise Refused("reflection", "the preface has one's own role")
    if data[8] not in (INITIATOR, RESPONDER):
        raise Refused("malformed", f"role {data[8]}")
    return Preface(data[8], data[9], data[10], data[11], data[12], data[13], data[16:])


def best_suite(bitmap):
    """The best suite of a bitmap, 0 when it has none that means anything."""
    return next((suite for suite in SUITES if bitmap & suite), 0)


def negotiate(one, other):
    """(version, suite), the same whichever side asks; Refused with the reason of the first step that fails."""
    if one.network != other.network:
        raise Refused("wrong_network")
    for side in (one, other):
        if side.oldest == 0 or side.oldest > side.newest:
            raise Refused("unsupported_version", "not a range")
    version = min(one.newest, other.newest)
    if version < max(one.oldest, other.oldest):
        raise Refused("unsupported_version")
    suite = best_suite(one.suites & other.suites)
    if suite == 0:
        raise Refused("no_common_suite")
    return version, suite
