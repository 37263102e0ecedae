"""What every bare loop is made of: a step, and the payloads that it sends."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from typing import Any

Step = Callable[[], int]
"""One batch, or none within some milliseconds; returns how many messages were sent or received."""


def payloads(spec: Mapping[str, Any], count: int) -> list[bytes]:
    """``count`` payloads of spec["size"] bytes: one constant object again and again, or in turn spec["distinct"] random ones.

    A user's messages differ, so that a client reads each from memory; one object for ever stays in the nearest cache.
    """
    size = int(spec["size"])
    made = [os.urandom(size) for _ in range(int(spec["distinct"]))] or [bytes(size)]
    return list(islice(cycle(made), count))
