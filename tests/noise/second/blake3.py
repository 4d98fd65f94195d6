"""BLAKE3, unkeyed, 32 bytes of output (https://github.com/BLAKE3-team/BLAKE3-specs).

For the message ids of section 7.1. One chunk at a time and without vector instructions: slow, and short.
"""

import struct

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_BLOCK_BYTES, _CHUNK_BYTES = 64, 1024
_WORD = 0xFFFFFFFF


def _rotate(word, bits):
    return ((word >> bits) | (word << (32 - bits))) & _WORD


def _mix(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & _WORD
    v[d] = _rotate(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & _WORD
    v[b] = _rotate(v[b] ^ v[c], 12)
    v[a] = (v[a] + v[b] + y) & _WORD
    v[d] = _rotate(v[d] ^ v[a], 8)
    v[c] = (v[c] + v[d]) & _WORD
    v[b] = _rotate(v[b] ^ v[c], 7)


def _compress(chaining, block, counter, length, flags):
    """The first half of the compression's output: 8 words."""
    v = list(chaining) + list(_IV[:4]) + [counter & _WORD, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(_BLOCK_BYTES, b"\0")))
    for _ in range(7):
        for column in range(4):
            _mix(v, column, 4 + column, 8 + column, 12 + column, m[2 * column], m[2 * column + 1])
        for diagonal in range(4):
            _mix(v, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4,
                 m[8 + 2 * diagonal], m[9 + 2 * diagonal])
        m = [m[i] for i in _PERMUTATION]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _chunk(data, counter, root):
    chaining = _IV
    blocks = [data[i:i + _BLOCK_BYTES] for i in range(0, len(data), _BLOCK_BYTES)] or [b""]
    for number, block in enumerate(blocks):
        flags = _CHUNK_START if number == 0 else 0
        if number == len(blocks) - 1:
            flags |= _CHUNK_END | (_ROOT if root else 0)
        chaining = _compress(chaining, block, counter, len(block), flags)
    return chaining


def _tree(data, first_chunk, root):
    chunks = max(1, -(-len(data) // _CHUNK_BYTES))
    if chunks == 1:
        return _chunk(data, first_chunk, root)
    left_chunks = 1 << ((chunks - 1).bit_length() - 1)
    left = _tree(data[:left_chunks * _CHUNK_BYTES], first_chunk, False)
    right = _tree(data[left_chunks * _CHUNK_BYTES:], first_chunk + left_chunks, False)
    block = struct.pack("<16I", *left, *right)
    return _compress(_IV, block, 0, _BLOCK_BYTES, _PARENT | (_ROOT if root else 0))


def blake3(data):
    """The 32-byte BLAKE3 hash of data."""
    return struct.pack("<8I", *_tree(data, 0, True))
