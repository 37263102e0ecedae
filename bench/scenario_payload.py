"""What `payload:` of a scenario means: which fields belong together, and the bodies that they describe."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import corpus, sizes, units
from bench.errors import UsageError
from bench.header import SIZE as HEADER_B
from bench.mixed import MixedPool
from bench.payload import Pool
from bench.scenario_errors import Problem
from bench.scenario_fields import SIZE, Payload, Sizes
from bench.workload import Bodies

RATIO_OFF = 0.15  # a body may miss its ratio by so much
_SAMPLED = 64  # bodies that are compressed to see what they reach
_NEEDS = {"lognormal": ("median", "sigma"), "uniform": ("min", "max"), "choice": ("weights",), "replay": ()}
_TAKES = _NEEDS | {"lognormal": ("median", "sigma", "min", "max")}
Recorded = tuple[NDArray[np.int64], str] | None  # sizes as bench.scenario_load has them
_EXAMPLE = {
    "lognormal": "{distribution: lognormal, median: 500 B, sigma: 1, max: 12 KiB}",
    "uniform": "{distribution: uniform, min: 64 B, max: 2 KiB}",
    "choice": "{distribution: choice, weights: {64 B: 90, 10 KiB: 10}}",
}


def bodies(payload: Payload, size: int | None, seed: int, recorded: Recorded = None) -> Bodies | None:
    """The bodies of messages (of ``size``, where that is an axis; of ``recorded`` sizes); None for random ones of one size.

    Raises UsageError where a file cannot be read.
    """
    ratio = payload.ratio if payload.content == "compressible" else 0.0
    one = size if size is not None else payload.size
    if payload.file is not None:
        found = corpus.read(payload.file, digest=payload.digest or "")
        return _of("file", [HEADER_B + len(body) for body in found.bodies], file=payload.file, digest=found.digest)
    if payload.sizes is not None and payload.sizes.distribution == "replay" and recorded is not None:
        sent, table_file = np.maximum(recorded[0], HEADER_B), recorded[1]
        return Bodies("replay", int(sent.min()), float(sent.mean()), int(sent.max()), table=table_file)
    if payload.sizes is not None:
        table = sizes.shuffled(_table(payload.sizes), seed)
        return _of(payload.sizes.distribution, table, sizes_b=table, ratio=ratio)
    return _of("one size", [one], ratio=ratio) if one is not None and ratio else None


def _of(distribution: str, lengths: Sequence[int], **more: object) -> Bodies:
    return Bodies(distribution, min(lengths), sum(lengths) / len(lengths), max(lengths), **more)  # type: ignore[arg-type]


def _table(given: Sizes) -> list[int]:
    """Sizes by row; problems() has seen that what it needs is there."""
    low, high = given.min or HEADER_B, given.max or math.inf
    if given.distribution == "lognormal":
        return sizes.lognormal(given.median or low, given.sigma or 0, low, high)
    if given.distribution == "uniform":
        return sizes.uniform(low, given.max or low)
    return sizes.choice({units.size_b(text): weight for text, weight in (given.weights or {}).items()})


def problems(payload: Payload, *, swept: bool, seed: int, recorded: Recorded = None) -> list[Problem]:
    """What is wrong in `payload`, as its fields are seen together; ``swept``: the sizes are an axis."""
    found: list[Problem] = []
    named = [name for name in ("size", "sizes", "file") if getattr(payload, name) is not None]
    if not named and not swept:
        found.append((("payload",), 'the size of a message is missing: write "payload: {size: 256 B}" (or sizes, file, sweep.size)'))
    if len(named) > 1:
        found.append((("payload", named[1]), f"the size of a message is given by payload.{named[0]} already; remove one of the two"))
    if swept and named and named[0] != "size":  # size and its axis: told with the other axes
        found.append((("payload", named[0]), "sweep.size has the sizes; remove one of the two"))
    fields = payload.model_fields_set
    if payload.file is not None:
        found += [(("payload", n), "the file has the bodies as they are; remove this") for n in ("content", "ratio") if n in fields]
    elif "ratio" in fields and payload.content != "compressible":
        found.append((("payload", "ratio"), "belongs to content: compressible; remove it, or write content: compressible"))
    if payload.digest is not None and payload.file is None:
        found.append((("payload", "digest"), "belongs to file: remove it, or name the file"))
    if payload.sizes is not None:
        found += [(("payload", "sizes", *path), text) for path, text in _of_sizes(payload.sizes, recorded)]
        if payload.sizes.distribution == "replay" and payload.content == "compressible":
            found.append((("payload", "content"), "recorded sizes go with random bodies only; remove it"))
    return found or _of_bodies(payload, seed, recorded)


def _of_sizes(given: Sizes, recorded: Recorded) -> list[Problem]:
    kind = given.distribution
    if kind == "replay" and recorded is None:
        return [((), "replay needs load: {schedule: replay, file: ...}, a file with a column size_b")]
    missing = [name for name in _NEEDS[kind] if getattr(given, name) is None]
    if missing:
        return [((), f"{kind} needs {' and '.join(missing)}, such as {_EXAMPLE[kind]}")]
    fields = [name for name in given.model_fields_set - {"distribution"} if getattr(given, name) is not None]
    found: list[Problem] = [
        ((n,), f"{kind} has no {n}; it takes {', '.join(_TAKES[kind])}") for n in sorted(fields) if n not in _TAKES[kind]
    ]
    ascending = [(name, value) for name in ("min", "median", "max") if (value := getattr(given, name)) is not None]
    for (_, low), (name, high) in itertools.pairwise(ascending):
        if high < low:
            found.append(((name,), f"{units.show_size(high)} is less than {units.show_size(low)}, which is to be below it"))
    return found


def _of_bodies(payload: Payload, seed: int, recorded: Recorded) -> list[Problem]:
    """What only shows once the table is made or the file is read."""
    try:
        made = bodies(payload, None, seed, recorded)
    except ValueError as error:
        return [(("payload", "sizes", "weights"), str(error))]
    except UsageError as error:
        return [(("payload", "file"), str(error))]
    if made is None:
        return []
    if made.largest_b > SIZE.highest:
        largest, most = units.show_size(made.largest_b), units.show_size(int(SIZE.highest))
        return [
            (("payload", "file" if payload.file else "sizes"), f"the largest message is of {largest}; at most {most}, {SIZE.high_reason}")
        ]
    return _of_ratio(made, seed) if made.ratio else []


def _of_ratio(made: Bodies, seed: int) -> list[Problem]:
    """Whether bodies as small as these can be compressed so much: tried with a sample."""
    if made.one_size:
        rows: Sequence[bytes | memoryview] = Pool(seed, made.largest_b, made.ratio).bodies[:4]
    else:
        order = sorted(made.sizes_b)[:: max(1, len(made.sizes_b) // _SAMPLED)]
        rows = MixedPool(seed, _of("choice", order, sizes_b=tuple(order), ratio=made.ratio)).rows
    before, after = sum(map(len, rows)), sum(len(zlib.compress(body, 1)) for body in rows)
    if before / after >= made.ratio * (1 - RATIO_OFF):
        return []
    reached = f"bodies of these sizes reach {before / after:.1f}, as zlib adds at least 8 B to each"
    return [(("payload", "ratio"), f"{made.ratio:g}: {reached}; ask for less, or for larger messages")]


def idle(payload: Payload) -> tuple[str, ...]:
    """Fields that say nothing beside the others."""
    if payload.file is not None:
        return ("content", "ratio")
    return () if payload.content == "compressible" else ("ratio",)


def kept(payload: Payload, folder: Path) -> Payload:
    """Copy real bodies into ``folder`` (a run's); the payload that names the copy, and what is in it."""
    if payload.file is None:
        return payload
    found = corpus.read(payload.file, digest=payload.digest or "")
    return payload.model_copy(update={"file": str(corpus.keep(payload.file, folder)), "digest": found.digest})
