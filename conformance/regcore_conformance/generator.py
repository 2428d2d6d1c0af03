"""Inputs that any language can make again: Philox4x32-10 integers, as numbers that every float dtype holds exactly."""

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds of Philox4x32: four words of 32 random bits.

    Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011).

    >>> [f"{word:08x}" for word in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p, q = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (q >> 32) ^ b ^ k0, q & WORD, (p >> 32) ^ d ^ k1, p & WORD
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return a, b, c, d


def bell(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Bell-shaped integers in [-126, 126] times 2**-6: the sum of four 6-bit fields of word 0 of block i, less 126.

    >>> bell(0, (3,)) * 64
    array([ 1., 29., 31.])
    """
    words = (philox((i, 0, 0, 0), (seed, 0))[0] for i in range(int(np.prod(shape))))
    fields = [sum(word >> shift & 63 for shift in (0, 6, 12, 18)) - 126 for word in words]
    return np.asarray(fields, dtype=np.float64).reshape(shape) / 64


def coin(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Booleans, true three times out of four: the two low bits of word 1 of block i are not both zero."""
    words = (philox((i, 0, 0, 0), (seed, 0))[1] for i in range(int(np.prod(shape))))
    return np.asarray([word & 3 != 0 for word in words], dtype=bool).reshape(shape)
