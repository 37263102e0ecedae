"""How the fake server and its adapter talk: frames over TCP, little-endian."""

from __future__ import annotations

import struct
from typing import Final

HELLO: Final = struct.Struct("<HH")  # PRODUCER or CONSUMER, index of the producer or of the group
PRODUCER, CONSUMER = 1, 2
FRAME: Final = struct.Struct("<II")  # bytes that follow, one of the kinds below: both ways before each message
MESSAGE, FLUSH, REDELIVERED = 0, 1, 2  # FLUSH: an empty frame of a producer, answered when all before it is
ANSWER: Final = struct.Struct("<QII")  # sequence, adapters.base.Status (or FLUSHED), 0: to a producer
FLUSHED: Final = 0
