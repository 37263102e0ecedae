"""The 64 bytes that every payload starts with: who sent it, when it was due, when it went, and a check.

Layout and check are fixed by results/README.md's format number. The check is the sum of w_i * k_i mod 2^64 over the other
seven 64-bit words, k_i odd: it finds every single flipped bit, and a change of one word (the send time) is one
multiplication and one addition, so a sender stamps a whole block with one vector operation.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIZE = 64
MAGIC = 0xB20B0001  # "brokerbench", layout 1
CANARY = 1  # flag: asks whether the way is open; never counted

DTYPE = np.dtype(
    [
        ("magic", "<u4"),
        ("run", "<u4"),
        ("trial", "<u4"),
        ("producer", "<u2"),
        ("epoch", "<u2"),
        ("lane", "<u4"),
        ("attempt", "<u2"),
        ("flags", "<u2"),
        ("sequence", "<u8"),
        ("intended_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("length", "<u4"),
        ("body_check", "<u4"),
        ("check", "<u8"),
    ]
)

# Odd constants with about half their bits set (splitmix64 of 1..7, made odd).
_K = (
    0x910A2DEC89025CC1,
    0xBEEB8DA1658EEC67,
    0xF893A2EEFB32555F,
    0x71C18690EE42C90B,
    0x71BB54D8D101B5B9,
    0xC34D0BFF90150281,
    0xE099EC6CD7363CA5,
)
K = np.array(_K, dtype=np.uint64)
K_LANE, K_SEQUENCE, K_INTENDED, K_SENT, K_LENGTH = (np.uint64(_K[i]) for i in (2, 3, 4, 5, 6))
_MASK = (1 << 64) - 1
_WORDS = struct.Struct("<8Q")
_SEQUENCE = struct.Struct("<Q")


def run_number(run_id: str) -> int:
    """Return the 32-bit number that stands for a run in its headers."""
    return zlib.crc32(run_id.encode())


def words_of(payload: bytes | bytearray | memoryview) -> tuple[int, ...]:
    """Return the header as eight integers: for the scalar path (a few messages a poll)."""
    return _WORDS.unpack_from(payload)


def holds(words: tuple[int, ...]) -> bool:
    """Say whether the check of one header holds."""
    k0, k1, k2, k3, k4, k5, k6 = _K
    w0, w1, w2, w3, w4, w5, w6, check = words
    return (w0 * k0 + w1 * k1 + w2 * k2 + w3 * k3 + w4 * k4 + w5 * k5 + w6 * k6) & _MASK == check


def checks(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the check of each row of ``words``, shape (n, >= 7), by wrapping arithmetic."""
    total: NDArray[np.uint64] = words[:, 0] * K[0]
    for i in range(1, 7):
        total += words[:, i] * K[i]
    return total


def times(value: int, k: np.uint64) -> np.uint64:
    """Return value * k mod 2^64, in Python's integers: numpy would warn of the overflow of a scalar."""
    return np.uint64(value * int(k) & _MASK)


def sequence_of(payload: bytes) -> int:
    """Return the sequence in a payload (its id within producer and epoch), unchecked."""
    return int(_SEQUENCE.unpack_from(payload, 24)[0])
