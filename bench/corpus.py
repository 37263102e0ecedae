"""Real payloads, from a file (each line is a body) or a folder (each file in it is one)."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError

BODIES_MAX = 1 << 16
BYTES_MAX = 64 << 20  # every endpoint holds them
KEPT = "payloads"  # what the copy in a run's folder is called


@dataclass(frozen=True)
class Corpus:
    """Bodies in the order in which they are sent, and the SHA-256 of them all."""

    bodies: tuple[bytes, ...]
    digest: str


def read(path: str | Path, *, digest: str = "") -> Corpus:
    """Return the bodies of a file, a line each without its end (empty lines are none), or of a folder, a file each by name.

    Raises UsageError where there are none or too many, or where they are not those of ``digest``.
    """
    found = _read(str(path), _state(Path(path)))
    if digest and found.digest != digest:
        raise UsageError(f"{path}: not the payloads that the scenario means: their digest is {found.digest}, not {digest}")
    return found


def _files(path: Path) -> list[Path]:
    """The files of a folder, in order; hidden ones and folders within are left out."""
    return sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells a file or folder that was changed since it was read."""
    try:
        seen = [(str(each), each.stat()) for each in (_files(path) if path.is_dir() else [path])]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if sum(stat.st_size for _, stat in seen) > BYTES_MAX + len(seen):
        raise UsageError(f"{path}: over {BYTES_MAX >> 20} MiB, which every endpoint would hold; {_ADVICE}")
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in seen)


_ADVICE = "take a sample of them, such as `shuf -n 10000 all.jsonl > some.jsonl`"


@functools.lru_cache(maxsize=2)
def _read(name: str, state: tuple[tuple[str, int, int], ...]) -> Corpus:
    path = Path(name)
    try:
        if path.is_dir():
            bodies = tuple(Path(each).read_bytes() for each, _, _ in state)
        else:
            bodies = tuple(line.removesuffix(b"\r") for line in path.read_bytes().split(b"\n") if line.removesuffix(b"\r"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if not bodies:
        raise UsageError(f"{path}: no payload in it; a file has one a line, a folder one a file")
    if len(bodies) > BODIES_MAX:
        raise UsageError(f"{path}: {len(bodies):,} payloads; at most {BODIES_MAX:,}: {_ADVICE}")
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(len(body).to_bytes(8, "little") + body)
    return Corpus(bodies, f"sha256:{digest.hexdigest()}")


def keep(path: str | Path, folder: Path) -> Path:
    """Copy what ``path`` holds into a run's folder; return the copy, which reads back to the same digest."""
    source = Path(path)
    copy = folder / (KEPT if source.is_dir() else f"{KEPT}{source.suffix}")
    if source == copy:
        return copy
    if not source.is_dir():
        copy.write_bytes(source.read_bytes())
        return copy
    copy.mkdir(exist_ok=True)
    for each in _files(source):
        (copy / each.name).write_bytes(each.read_bytes())
    return copy
