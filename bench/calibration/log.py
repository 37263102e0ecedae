"""The fake server's own log: what arrived, what was answered, what left. Three files of fixed records, read by numpy.

All times are CLOCK_MONOTONIC ns, the harness's own clock.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

ARRIVAL: Final = np.dtype(
    [
        ("t_in", "<i8"),  # when the server had read it
        ("intended", "<i8"),
        ("sent", "<i8"),
        ("sequence", "<u8"),
        ("trial", "<u4"),
        ("lane", "<u4"),
        ("producer", "<u2"),
        ("fate", "<u2"),  # bench.calibration.behaviour: TAKEN, REFUSED, ...
    ]
)
ANSWER: Final = np.dtype([("t_out", "<i8"), ("sequence", "<u8"), ("trial", "<u4"), ("producer", "<u2"), ("status", "<u2")])
DELIVERY: Final = np.dtype(
    [
        ("t_due", "<i8"),  # when it was to leave
        ("t_out", "<i8"),  # when it was handed to the kernel; 0 = never
        ("sequence", "<u8"),  # as it left (but for a flipped one)
        ("trial", "<u4"),
        ("producer", "<u2"),
        ("group", "<u2"),
        ("what", "<u2"),  # bits, below
        ("connection", "<u2"),  # the consumer's: counted from 1, 0 = none
    ]
)
# Bits of DELIVERY.what
LOST, AGAIN, FLAGGED, SWAPPED, FLIPPED, INVENTED, CANARY = (1 << i for i in range(7))

_FILES: Final = {"arrivals": ARRIVAL, "answers": ANSWER, "deliveries": DELIVERY}
_STRUCTS: Final = {"arrivals": struct.Struct("<qqqQIIHH"), "answers": struct.Struct("<qQIHH"), "deliveries": struct.Struct("<qqQIHHHH")}


class Writer:
    """Appends records. ``survives``: each goes to the kernel at once, so that a SIGKILL takes none; else by the MiB, for speed."""

    def __init__(self, folder: Path, *, survives: bool = False) -> None:
        self._files = {name: (folder / f"{name}.log").open("xb", buffering=0 if survives else 1 << 20) for name in _FILES}

    def add(self, name: str, *values: int) -> None:
        """Append one record to the log ``name``; values in the order of its fields."""
        self._files[name].write(_STRUCTS[name].pack(*values))

    def close(self) -> None:
        """Write all out. Idempotent."""
        for file in self._files.values():
            file.close()


def read(folder: Path) -> dict[str, NDArray[np.void]]:
    """Return the logs by name: "arrivals" (ARRIVAL), "answers" (ANSWER), "deliveries" (DELIVERY), each in order."""
    return {name: np.fromfile(folder / f"{name}.log", dtype) for name, dtype in _FILES.items()}
