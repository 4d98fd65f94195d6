"""Section 5: the types of headers and bodies. Each type has `encode(value)` and `decode(reader)`."""

import ipaddress
import struct


class Malformed(Exception):
    """Bytes that no value has, or a value that no bytes have."""


class Reader:
    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, length):
        end = self.position + length
        if end > len(self.data):
            raise Malformed("a missing byte")
        taken, self.position = self.data[self.position:end], end
        return taken

    def left(self):
        return len(self.data) - self.position


def decode(kind, data):
    """The value that is exactly these bytes."""
    reader = Reader(data)
    value = kind.decode(reader)
    if reader.left():
        raise Malformed(f"{reader.left()} bytes left over")
    return value


class Integer:
    def __init__(self, length):
        self.length = length

    def encode(self, value):
        try:
            return value.to_bytes(self.length, "little")
        except OverflowError as error:
            raise Malformed(str(error)) from None

    def decode(self, reader):
        return int.from_bytes(reader.take(self.length), "little")


class Signed:
    """An integer in two's complement."""

    def __init__(self, length):
        self.length = length

    def encode(self, value):
        try:
            return value.to_bytes(self.length, "little", signed=True)
        except OverflowError as error:
            raise Malformed(str(error)) from None

    def decode(self, reader):
        return int.from_bytes(reader.take(self.length), "little", signed=True)


class Fixed:
    """`[u8; n]`."""

    def __init__(self, length):
        self.length = length

    def encode(self, value):
        if len(value) != self.length:
            raise Malformed(f"{len(value)} bytes, not {self.length}")
        return bytes(value)

    def decode(self, reader):
        return reader.take(self.length)


def _counted(reader, most):
    count = U64.decode(reader)
    if count > most:
        raise Malformed(f"{count} of at most {most}")
    return count


class Bytes:
    """A list of at most `most` u8."""

    def __init__(self, most):
        self.most = most

    def encode(self, value):
        if len(value) > self.most:
            raise Malformed(f"{len(value)} bytes of at most {self.most}")
        return U64.encode(len(value)) + bytes(value)

    def decode(self, reader):
        return reader.take(_counted(reader, self.most))


class Text:
    def __init__(self, most):
        self.inner = Bytes(most)

    def encode(self, value):
        return self.inner.encode(value.encode("utf-8"))

    def decode(self, reader):
        try:
            return self.inner.decode(reader).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("not UTF-8") from None


class Listing:
    def __init__(self, element, most):
        self.element, self.most = element, most

    def encode(self, value):
        if len(value) > self.most:
            raise Malformed(f"{len(value)} elements of at most {self.most}")
        return U64.encode(len(value)) + b"".join(map(self.element.encode, value))

    def decode(self, reader):
        return [self.element.decode(reader) for _ in range(_counted(reader, self.most))]


class Option:
    def __init__(self, inner):
        self.inner = inner

    def encode(self, value):
        return b"\0" if value is None else b"\1" + self.inner.encode(value)

    def decode(self, reader):
        (tag,) = reader.take(1)
        if tag > 1:
            raise Malformed(f"option {tag}")
        return self.inner.decode(reader) if tag else None


class Boolean:
    def encode(self, value):
        return b"\1" if value else b"\0"

    def decode(self, reader):
        (tag,) = reader.take(1)
        if tag > 1:
            raise Malformed(f"boolean {tag}")
        return tag == 1


class Enumeration:
    def __init__(self, *names):
        self.names = names

    def encode(self, value):
        return U32.encode(self.names.index(value))

    def decode(self, reader):
        number = U32.decode(reader)
        if number >= len(self.names):
            raise Malformed(f"variant {number}")
        return self.names[number]


class Variant:
    """An enumeration whose variants carry fields; values are (name, fields)."""

    def __init__(self, **variants):
        self.names, self.variants = list(variants), variants

    def encode(self, value):
        name, fields = value
        return U32.encode(self.names.index(name)) + self.variants[name].encode(fields)

    def decode(self, reader):
        number = U32.decode(reader)
        if number >= len(self.names):
            raise Malformed(f"variant {number}")
        name = self.names[number]
        return name, self.variants[name].decode(reader)


class Pair:
    def __init__(self, first, second):
        self.first, self.second = first, second

    def encode(self, value):
        first, second = value
        return self.first.encode(first) + self.second.encode(second)

    def decode(self, reader):
        return self.first.decode(reader), self.second.decode(reader)


class Structure:
    """Fields in order; its values are dictionaries."""

    def __init__(self, **fields):
        self.fields = fields

    def encode(self, value):
        if value.keys() != self.fields.keys():
            raise Malformed(f"fields {sorted(value)}, not {sorted(self.fields)}")
        return b"".join(kind.encode(value[name]) for name, kind in self.fields.items())

    def decode(self, reader):
        return {name: kind.decode(reader) for name, kind in self.fields.items()}


class Address:
    """An IP address, as text, a port, and the number of the transport unless it is TCP's, 0."""

    _MAPPED = bytes(10) + b"\xff\xff"

    def encode(self, value):
        host, port, *other = value
        (transport,) = other or [0]
        packed = ipaddress.ip_address(host).packed
        return (packed if len(packed) == 16 else self._MAPPED + packed) + struct.pack("<HB", port, transport)

    def decode(self, reader):
        packed = reader.take(16)
        if packed.startswith(self._MAPPED):
            packed = packed[12:]
        port, transport = struct.unpack("<HB", reader.take(3))
        address = str(ipaddress.ip_address(packed)), port
        return (*address, transport) if transport else address


U8, U16, U32, U64 = Integer(1), Integer(2), Integer(4), Integer(8)
I16 = Signed(2)
TIME = U64
HASH = KEY = ID = Fixed(32)
SIGNATURE = Fixed(64)
ADDRESS = Address()
PROOF = Pair(KEY, SIGNATURE)
