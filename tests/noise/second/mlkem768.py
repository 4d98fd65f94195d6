"""ML-KEM-768 (FIPS 203), from given randomness, which libraries do not offer for encapsulation.

Comments name the algorithm of FIPS 203. Not constant in time: for tests only.
"""

from hashlib import sha3_256, sha3_512, shake_128, shake_256

KEY_BYTES = 1184
CIPHERTEXT_BYTES = 1088
_Q, _N, _K = 3329, 256, 3
_DU, _DV = 10, 4


def _reversed_bits(i):
    return int(f"{i:07b}"[::-1], 2)


_ZETAS = [pow(17, _reversed_bits(i), _Q) for i in range(128)]
_GAMMAS = [pow(17, 2 * _reversed_bits(i) + 1, _Q) for i in range(128)]


def _encode(values, bits):  # ByteEncode, algorithm 5
    number = 0
    for i, value in enumerate(values):
        number |= value << (bits * i)
    return number.to_bytes(32 * bits, "little")


def _decode(data, bits):  # ByteDecode, algorithm 6, without the reduction
    number = int.from_bytes(data, "little")
    mask = (1 << bits) - 1
    return [(number >> (bits * i)) & mask for i in range(_N)]


def _compress(values, bits):
    return [((2 * (value << bits) + _Q) // (2 * _Q)) % (1 << bits) for value in values]


def _decompress(values, bits):
    return [(2 * _Q * value + (1 << bits)) >> (bits + 1) for value in values]


def _sample_uniform(seed):  # SampleNTT, algorithm 7
    length = 840
    while True:
        stream, out = shake_128(seed).digest(length), []
        for i in range(0, length, 3):
            a, b, c = stream[i:i + 3]
            out += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < _Q]
        if len(out) >= _N:
            return out[:_N]
        length *= 2


def _sample_noise(key, counter):  # PRF with eta = 2, then SamplePolyCBD, algorithm 8
    bits = int.from_bytes(shake_256(key + bytes([counter])).digest(128), "little")
    out = []
    for i in range(_N):
        four = (bits >> (4 * i)) & 15
        out.append(((four & 1) + (four >> 1 & 1) - (four >> 2 & 1) - (four >> 3)) % _Q)
    return out


def _ntt(polynomial):  # algorithm 9
    f, i, length = list(polynomial), 1, 128
    while length >= 2:
        for start in range(0, _N, 2 * length):
            zeta, i = _ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % _Q
                f[j + length], f[j] = (f[j] - t) % _Q, (f[j] + t) % _Q
        length //= 2
    return f


def _inverse_ntt(polynomial):  # algorithm 10
    f, i, length = list(polynomial), 127, 2
    while length <= 128:
        for start in range(0, _N, 2 * length):
            zeta, i = _ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % _Q
                f[j + length] = zeta * (f[j + length] - t) % _Q
        length *= 2
    return [value * 3303 % _Q for value in f]


def _multiply(f, g):  # MultiplyNTTs, algorithm 11
    out = []
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * _GAMMAS[i]) % _Q, (a0 * b1 + a1 * b0) % _Q]
    return out


def _sum(*polynomials):
    return [sum(column) % _Q for column in zip(*polynomials)]


def _dot(left, right):
    return _sum(*(_multiply(f, g) for f, g in zip(left, right)))


def _matrix(rho):
    return [[_sample_uniform(rho + bytes([j, i])) for j in range(_K)] for i in range(_K)]


def _parts(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def is_valid_key(key):
    """The input check of FIPS 203 section 7.2: the length, and every coefficient below q."""
    if len(key) != KEY_BYTES:
        return False
    return all(value < _Q for part in _parts(key[:1152], 384) for value in _decode(part, 12))


def key_pair(randomness):
    """(encapsulation key, decapsulation key) from the 64 bytes d || z: algorithms 13 and 16."""
    d, z = randomness[:32], randomness[32:]
    seeds = sha3_512(d + bytes([_K])).digest()
    rho, sigma = seeds[:32], seeds[32:]
    secret = [_ntt(_sample_noise(sigma, i)) for i in range(_K)]
    noise = [_ntt(_sample_noise(sigma, _K + i)) for i in range(_K)]
    public = [_sum(_dot(row, secret), e) for row, e in zip(_matrix(rho), noise)]
    key = b"".join(_encode(t, 12) for t in public) + rho
    return key, b"".join(_encode(s, 12) for s in secret) + key + sha3_256(key).digest() + z


def _encrypt(key, message, randomness):  # K-PKE.Encrypt, algorithm 14
    public, matrix = [_decode(part, 12) for part in _parts(key[:1152], 384)], _matrix(key[1152:])
    y = [_ntt(_sample_noise(randomness, i)) for i in range(_K)]
    noise = [_sample_noise(randomness, _K + i) for i in range(_K)]
    u = [_sum(_inverse_ntt(_dot([row[i] for row in matrix], y)), noise[i]) for i in range(_K)]
    v = _sum(_inverse_ntt(_dot(public, y)), _sample_noise(randomness, 2 * _K),
             _decompress(_decode(message, 1), 1))
    return b"".join(_encode(_compress(part, _DU), _DU) for part in u) + _encode(_compress(v, _DV), _DV)


def encapsulate(key, message):
    """(shared secret, ciphertext) from a valid key and the 32 random bytes m: algorithm 17."""
    seeds = sha3_512(message + sha3_256(key).digest()).digest()
    return seeds[:32], _encrypt(key, message, seeds[32:])


def decapsulate(secret, ciphertext):
    """The shared secret, or the implicit rejection's: algorithms 15 and 18."""
    own, key, key_hash, z = secret[:1152], secret[1152:2336], secret[2336:2368], secret[2368:]
    u = [_decompress(_decode(part, _DU), _DU) for part in _parts(ciphertext[:960], 320)]
    v = _decompress(_decode(ciphertext[960:], _DV), _DV)
    s = [_decode(part, 12) for part in _parts(own, 384)]
    product = _inverse_ntt(_dot(s, [_ntt(part) for part in u]))
    message = _encode(_compress([(a - b) % _Q for a, b in zip(v, product)], 1), 1)
    seeds = sha3_512(message + key_hash).digest()
    if _encrypt(key, message, seeds[32:]) == ciphertext:
        return seeds[:32]
    return shake_256(z + ciphertext).digest(32)
