"""Follows a journal while it is written: what came since the last look. Of a frozen or killed writer too: nobody is asked."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from bench.journal import RECORD, SIZE, Records, segment_path, sound_part

_PART_B = 256 << 10


class Tail:
    """One journal from record ``start`` on. ``position``: the next record; ``folder`` and ``name`` as bench.journal.read has them."""

    def __init__(self, folder: Path, name: str, start: int = 0) -> None:
        self._folder, self._name = folder, name
        self._skip = self.position = start
        self._number = 0
        self._at = 0  # within the segment, bytes

    def new(self) -> Records:
        """The sound records that were written since the last call; none where there is no such journal yet."""
        parts: list[bytes] = []
        with contextlib.suppress(FileNotFoundError):
            while True:
                with segment_path(self._folder, self._name, "rec", self._number).open("rb") as file:
                    size = file.seek(0, 2)
                    if self._skip:  # of a journal that is older than the trial
                        self._at = min(self._skip * SIZE, size)
                        self._skip -= self._at // SIZE
                    file.seek(self._at)
                    while True:
                        data = file.read(_PART_B)
                        sound = sound_part(data)
                        parts.append(sound)
                        self._at += len(sound)
                        if len(sound) < _PART_B:
                            break
                if self._at < size or not segment_path(self._folder, self._name, "rec", self._number + 1).exists():
                    break
                self._number += 1
                self._at = 0
        rows = np.frombuffer(b"".join(parts), RECORD)
        start, self.position = self.position, self.position + len(rows)
        return Records(self._folder, self._name, start, rows, {})
