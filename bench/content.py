"""Seeded bytes that compress by a given ratio."""

from __future__ import annotations

import numpy as np

CELL_B = 512  # compressible bytes are made in cells: random ones, then the same again and again up to the cell's end
RATIO_MAX = 20.0
_MATCH_B = 3.0  # a repeat of up to 258 bytes, as DEFLATE writes it
_MATCH_MOST = 258
_FRAME_B = 9.0  # zlib's header, checksum, begin and end of a block
_LITERAL_B = 1.055  # a random byte in DEFLATE's fixed code: 8 bits for 144 of 256, 9 for the others


def compressible(rng: np.random.Generator, pieces: int, piece_b: int, body_b: int, ratio: float) -> bytes:
    """Return ``pieces`` pieces of ``piece_b`` bytes in a row, such that a body of ``body_b`` of them compresses by ``ratio``.

    That is zlib's ratio at level 1, each body by itself. Repeats lie at most CELL_B bytes back and random bytes are not drawn from
    a small alphabet, so LZ4 and Snappy, which only look for repeats in the last 64 KiB, come near the same. (LevelDB's db_bench makes
    its values alike: a random piece, repeated.) Small bodies reach less: zlib's frame alone takes 11 bytes.
    """
    if not piece_b:
        return b""
    cells = -(-piece_b // CELL_B)
    cell_b = -(-piece_b // cells)
    raw = rng.integers(0, 256, (pieces * cells, _literals(cell_b, _FRAME_B * piece_b / body_b / cells, ratio)), dtype=np.uint8)
    text = raw[:, np.arange(cell_b) % raw.shape[1]].reshape(pieces, cells * cell_b)[:, :piece_b]
    return text.tobytes()


def _literals(cell_b: int, frame_b: float, ratio: float) -> int:
    """Return how many bytes of a cell are random, so that it takes cell_b / ratio bytes with its share of the frame."""
    repeats = max(1.0, cell_b * (1 - 1 / ratio) / _MATCH_MOST)
    return min(cell_b, max(1, round((cell_b / ratio - frame_b - _MATCH_B * repeats) / _LITERAL_B)))
