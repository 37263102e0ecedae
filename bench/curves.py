"""When messages were acknowledged and processed, from the journals: what bench.analysis.phases looks at (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.analysis.phases import Curve
from bench.audit_sent import ConsumerSource, Source
from bench.journal import ALL, CANARY, RECORD, Kind, read

_NS = 1e-9


def acknowledged(sources: Sequence[Source], *, groups: Sequence[str], trial: int, go_ns: int) -> Mapping[str, Curve]:
    """Outcomes OK by group, at the time of each record's last; a record for all groups counts for each. Raises EvidenceMissing."""
    rows = [_rows(source, trial, Kind.OK) for source in sources]
    table = np.concatenate([np.empty(0, RECORD), *rows])
    return {name: _curve(table[(table["group"] == ALL) | (table["group"] == index)], go_ns) for index, name in enumerate(groups)}


def processed(sources: Sequence[ConsumerSource], *, groups: Sequence[str], trial: int, go_ns: int) -> Mapping[str, Curve]:
    """Deliveries PROCESSED by group, repeats among them. Raises EvidenceMissing."""
    rows = [_rows(source, trial, Kind.PROCESSED) for source in sources if not source.worked]
    table = np.concatenate([np.empty(0, RECORD), *rows])
    return {name: _curve(table[table["group"] == index], go_ns) for index, name in enumerate(groups)}


def _rows(source: Source | ConsumerSource, trial: int, kind: Kind) -> NDArray[np.void]:
    rows = read(source.folder, source.name, source.start, source.stop).rows
    chosen: NDArray[np.void] = rows[(rows["trial"] == trial) & (rows["kind"] == kind) & (rows["flags"] & CANARY == 0)]
    return chosen


def _curve(rows: NDArray[np.void], go_ns: int) -> Curve:
    return Curve.of((rows["t_last"] - go_ns) * _NS, rows["count"].astype(np.int64))
