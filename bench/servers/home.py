"""BROKERBENCH_HOME: what is fetched or built once (jars, a formatted Kafka folder, class archives), shared by all runs.

Everything there is made under another name and renamed, and only while a lock is held: two installs at once, and one that
was killed half-way, leave either the whole thing or nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import EnvironmentProblem


def home() -> Path:
    """The folder, made where it is not there. Raises EnvironmentProblem where it cannot be made."""
    given = os.environ.get("BROKERBENCH_HOME", "")
    folder = Path(given).expanduser() if given else Path.home() / ".cache" / "brokerbench"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"{folder} cannot be made: {error.strerror}; set BROKERBENCH_HOME to a folder that can be written"
        ) from error
    return folder


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the lock of one system's part of the home; gives the home. Waits for another process that holds it."""
    folder = home()
    with (folder / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target``, which becomes ``target`` when the block ends well and is removed when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield made
        made.chmod(0o755)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
