"""An endpoint that also writes down what its accounting is given: ``python -m bench.calibration.endpoint SPEC.json``.

It is the ordinary endpoint but for two places: before the consumer's account and in the producer's Outcomes stands something
that records what comes in (the very stamps that the harness takes) before the harness works on it. NAME.stamps and
NAME.outcomes lie beside the journals; bench.calibration.recount counts them again.
"""

from __future__ import annotations

import struct
import sys
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from adapters.base import Adapter, Batch
from bench.account import Account
from bench.clock import now_ns
from bench.control import Message
from bench.endpoint import ConsumerRole, ProducerRole, Roles, main
from bench.journal import Writer
from bench.outcomes import Outcomes, Report

STAMP: Final = np.dtype([("t_ns", "<i8"), ("sequence", "<u8"), ("trial", "<u4"), ("reported", "<u4")])
"""One delivery: when the harness stamped it, its sequence as it came, the trial that was accounted then. ``reported`` 1: no
delivery, but the end of that trial's account."""
OUTCOME: Final = np.dtype([(name, "<i8") for name in ("t_ns", "first", "count", "status", "group", "step")])
"""bench.outcomes.Report; count 0: no outcome, but the end of the account of trial ``first``."""
_SEQUENCE: Final = struct.Struct("<Q")


class Recorded:
    """Stands before an account: writes down each delivery with its stamp, then hands it on."""

    def __init__(self, account: Account, stamps: FileIO) -> None:
        self.account = account
        self._stamps = stamps

    def __getattr__(self, name: str) -> Any:
        """Everything else is the account's."""
        return getattr(self.account, name)

    def take(self, batch: Batch, now_ns: int) -> None:
        """Write down a STAMP for each delivery, then account."""
        rows = np.zeros(len(batch.payloads or ()), STAMP)
        rows["t_ns"], rows["trial"] = now_ns, self.account.trial
        rows["sequence"] = [_SEQUENCE.unpack_from(payload, 24)[0] for payload in batch.payloads or ()]
        self._stamps.write(rows.tobytes())
        self.account.take(batch, now_ns)


class RecordingOutcomes(Outcomes):
    """Writes down each outcome with its stamp as it is taken."""

    def __init__(self, file: FileIO) -> None:
        super().__init__()
        self._file = file

    def take(self) -> list[Report]:
        """Record what the accounting is given."""
        taken = super().take()
        if taken:
            self._file.write(np.array(taken, "<i8").tobytes())
        return taken


class RecordingConsumer(ConsumerRole):
    """A consumer whose account is recorded."""

    def __init__(self, spec: dict[str, Any], adapter: Adapter, writer: Writer) -> None:
        self._stamps = FileIO(stamps_of(Path(spec["evidence"]), spec["name"]), "x")
        super().__init__(spec, adapter, writer, self.tapped)

    def tapped(self, account: Account) -> Account:
        """Put a Recorded before ``account``."""
        return cast("Account", Recorded(account, self._stamps))

    def do(self, message: Message) -> Message | None:
        """After a report, note that what follows is in no account."""
        answer = super().do(message)
        if message["do"] == "report":
            row = np.array([(now_ns(), 0, self._loop.account.trial, 1)], STAMP)
            self._stamps.write(row.tobytes())
        return answer


class RecordingProducer(ProducerRole):
    """A producer whose outcomes are recorded."""

    def __init__(self, spec: dict[str, Any], adapter: Adapter, writer: Writer) -> None:
        self._file = FileIO(outcomes_of(Path(spec["evidence"]), spec["name"]), "x")
        super().__init__(spec, adapter, writer, partial(RecordingOutcomes, self._file))
        self._of = 0

    def do(self, message: Message) -> Message | None:
        """After a report, note that what follows is in no account."""
        answer = super().do(message)
        if message["do"] == "prepare":
            self._of = int(message["trial"])
        elif message["do"] == "report":
            self._file.write(np.array([(now_ns(), self._of, 0, 0, 0, 0)], OUTCOME).tobytes())
        return answer


def stamps_of(folder: Path, name: str) -> Path:
    """Where a consumer's STAMPs lie."""
    return folder / f"{name}.stamps"


def outcomes_of(folder: Path, name: str) -> Path:
    """Where a producer's OUTCOMEs lie."""
    return folder / f"{name}.outcomes"


def read(path: Path, dtype: np.dtype[Any]) -> NDArray[np.void]:
    """Return what was recorded, in order."""
    return np.fromfile(path, dtype)


ROLES: Final[Roles] = {"producer": RecordingProducer, "consumer": RecordingConsumer}

if __name__ == "__main__":
    sys.exit(main(ROLES))
