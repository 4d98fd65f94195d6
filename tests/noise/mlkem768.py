"""ML-KEM-768 in plain Python, straight from FIPS 203, for checking vectors only.

Not constant-time, not fast, not for use. It exists because libraries don't let a test choose the
randomness of an encapsulation.
"""

import hashlib

Q, N, K, DU, DV = 3329, 256, 3, 10, 4
EK_LEN, CT_LEN = 384 * K + 32, 32 * (DU * K + DV)


def bit_reverse_7(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, bit_reverse_7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * bit_reverse_7(i) + 1, Q) for i in range(128)]


def g(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def h(data):
    return hashlib.sha3_256(data).digest()


def j(data):
    return hashlib.shake_256(data).digest(32)


def byte_encode(d, values):  # algorithm 5
    bits = sum(value << (d * i) for i, value in enumerate(values))
    return bits.to_bytes(32 * d, "little")


def byte_decode(d, data):  # algorithm 6, without the reduction for d = 12
    bits = int.from_bytes(data, "little")
    return [(bits >> (d * i)) & ((1 << d) - 1) for i in range(N)]


def compress(d, values):
    return [(((x << d) + Q // 2) // Q) % (1 << d) for x in values]


def decompress(d, values):
    return [(x * Q + (1 << (d - 1))) >> d for x in values]


def sample_ntt(seed):  # algorithm 7
    stream = hashlib.shake_128(seed).digest(3 * 1024)
    out = []
    for a, b, c in zip(stream[0::3], stream[1::3], stream[2::3]):
        for value in (a + 256 * (b % 16), b // 16 + 16 * c):
            if value < Q and len(out) < N:
                out.append(value)
    assert len(out) == N
    return out


def sample_cbd(data):  # algorithm 8 with eta = 2
    bits = int.from_bytes(data, "little")
    bit = lambda i: (bits >> i) & 1
    return [(bit(4 * i) + bit(4 * i + 1) - bit(4 * i + 2) - bit(4 * i + 3)) % Q for i in range(N)]


def ntt(f):  # algorithm 9
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for at in range(start, start + length):
                t = zeta * f[at + length] % Q
                f[at], f[at + length] = (f[at] + t) % Q, (f[at] - t) % Q
        length //= 2
    return f


def ntt_inverse(f):  # algorithm 10
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for at in range(start, start + length):
                t = f[at]
                f[at] = (t + f[at + length]) % Q
                f[at + length] = zeta * (f[at + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, other):  # algorithms 11 and 12
    out = []
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], other[2 * i], other[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * GAMMAS[i]) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def add(*polys):
    return [sum(values) % Q for values in zip(*polys)]


def dot(row, column):
    return add(*(multiply(a, b) for a, b in zip(row, column)))


def noise(seed, start, count):
    prf = lambda n: hashlib.shake_256(seed + bytes([n])).digest(128)
    return [sample_cbd(prf(n)) for n in range(start, start + count)]


def matrix(rho):
    return [[sample_ntt(rho + bytes([col, row])) for col in range(K)] for row in range(K)]


def keygen(seed):
    """Algorithms 13 and 16 from d || z: (encapsulation key, decapsulation state)."""
    d, z = seed[:32], seed[32:]
    rho, sigma = g(d + bytes([K]))
    s = [ntt(p) for p in noise(sigma, 0, K)]
    e = [ntt(p) for p in noise(sigma, K, K)]
    t = [add(dot(row, s), e[i]) for i, row in enumerate(matrix(rho))]
    ek = b"".join(byte_encode(12, p) for p in t) + rho
    return ek, (s, ek, z)


def is_valid(ek):
    """The input check of section 7.2."""
    if len(ek) != EK_LEN:
        return False
    return all(x < Q for i in range(K) for x in byte_decode(12, ek[384 * i : 384 * i + 384]))


def encrypt(ek, m, r):  # algorithm 14
    t = [byte_decode(12, ek[384 * i : 384 * i + 384]) for i in range(K)]
    a = matrix(ek[384 * K :])
    y = [ntt(p) for p in noise(r, 0, K)]
    e1 = noise(r, K, K)
    (e2,) = noise(r, 2 * K, 1)
    columns = [[a[row][col] for row in range(K)] for col in range(K)]
    u = [add(ntt_inverse(dot(column, y)), e1[i]) for i, column in enumerate(columns)]
    v = add(ntt_inverse(dot(t, y)), e2, decompress(1, byte_decode(1, m)))
    return b"".join(byte_encode(DU, compress(DU, p)) for p in u) + byte_encode(DV, compress(DV, v))


def encapsulate(ek, m):
    """Algorithm 17: (ciphertext, shared secret)."""
    assert is_valid(ek)
    secret, r = g(m + h(ek))
    return encrypt(ek, m, r), secret


def decapsulate(state, ciphertext):
    """Algorithms 15 and 18."""
    s, ek, z = state
    size = 32 * DU
    u = [decompress(DU, byte_decode(DU, ciphertext[size * i : size * (i + 1)])) for i in range(K)]
    v = decompress(DV, byte_decode(DV, ciphertext[size * K :]))
    w = add(v, [-x for x in ntt_inverse(dot(s, [ntt(p) for p in u]))])
    m = byte_encode(1, compress(1, w))
    secret, r = g(m + h(ek))
    return secret if encrypt(ek, m, r) == ciphertext else j(z + ciphertext)
