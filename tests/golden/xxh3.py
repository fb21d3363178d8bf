# SPDX-License-Identifier: Apache-2.0
"""XXH3 with seed 0 and the default secret, slow and plain.

xxh3_64 takes inputs of any length, xxh3_128 those of more than 240 bytes.
"""
import struct

SECRET = bytes.fromhex("""
    b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f
    cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c
    3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8
    a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364
    eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e
    2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e""")
M32 = (1 << 32) - 1
M64 = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
P64_3, P64_4 = 0x165667B19E3779F9, 0x85EBCA77C2B2AE63
P64_5 = 0x27D4EB2F165667C5
STRIPES = 16  # in a block: the secret of 192 bytes moves on by 8 for each


def word(data, at, size=8):
    return int.from_bytes(data[at:at + size], "little")


def fold(a, b):
    product = a * b
    return (product ^ product >> 64) & M64


def avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & M64
    return h ^ h >> 32


def avalanche_64(h):  # that of XXH64
    h = (h ^ h >> 33) * P64_2 & M64
    h = (h ^ h >> 29) * P64_3 & M64
    return h ^ h >> 32


def upto_16(data, n):
    if n > 8:
        low = word(data, 0) ^ word(SECRET, 24) ^ word(SECRET, 32)
        high = word(data, n - 8) ^ word(SECRET, 40) ^ word(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return avalanche(n + swapped + high + fold(low, high) & M64)
    if n >= 4:
        h = word(data, n - 4, 4) + (word(data, 0, 4) << 32)
        h ^= word(SECRET, 8) ^ word(SECRET, 16)
        h ^= (h << 49 | h >> 15) & M64 ^ (h << 24 | h >> 40) & M64
        h = h * 0x9FB21C651E98DF25 & M64
        h = (h ^ (h >> 35) + n) * 0x9FB21C651E98DF25 & M64
        return h ^ h >> 28
    if n:
        h = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return avalanche_64(h ^ word(SECRET, 0, 4) ^ word(SECRET, 4, 4))
    return avalanche_64(word(SECRET, 56) ^ word(SECRET, 64))


def upto_240(data, n):
    def mix(at, secret):
        return fold(word(data, at) ^ word(SECRET, secret),
                    word(data, at + 8) ^ word(SECRET, secret + 8))

    h = n * P64_1
    if n <= 128:
        for i in range((n - 1) // 32 + 1):
            h += mix(16 * i, 32 * i) + mix(n - 16 * (i + 1), 32 * i + 16)
        return avalanche(h & M64)
    h = avalanche(h + sum(mix(16 * i, 16 * i) for i in range(8)) & M64)
    h += sum(mix(16 * i, 16 * i - 125) for i in range(8, n // 16))
    return avalanche(h + mix(n - 16, 136 - 17) & M64)


def stripe(acc, words, keys):
    for i in range(8):
        key = words[i] ^ keys[i]
        acc[i ^ 1] += words[i]
        acc[i] += (key & M32) * (key >> 32)


def accumulate(data, n):
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    keys = [struct.unpack_from("<8Q", SECRET, 8 * i) for i in range(17)]
    count = (n - 1) // 64
    for i in range(count):
        stripe(acc, struct.unpack_from("<8Q", data, 64 * i),
               keys[i % STRIPES])
        if i % STRIPES == STRIPES - 1:
            acc = [(a & M64 ^ (a & M64) >> 47 ^ k) * P32_1 & M64
                   for a, k in zip(acc, keys[16])]
    stripe(acc, struct.unpack_from("<8Q", data, n - 64),
           struct.unpack_from("<8Q", SECRET, 192 - 64 - 7))
    return [a & M64 for a in acc]


def merge(acc, secret, start):
    for i in range(0, 8, 2):
        start += fold(acc[i] ^ word(SECRET, secret + 8 * i),
                      acc[i + 1] ^ word(SECRET, secret + 8 * i + 8))
    return avalanche(start & M64)


def xxh3_64(data):
    n = len(data)
    if n <= 16:
        return upto_16(data, n)
    if n <= 240:
        return upto_240(data, n)
    return merge(accumulate(data, n), 11, n * P64_1 & M64)


def xxh3_128(data):
    n = len(data)
    acc = accumulate(data, n)
    high = merge(acc, 192 - 64 - 11, ~(n * P64_2) & M64)
    return high << 64 | merge(acc, 11, n * P64_1 & M64)
