"""A revision of the repository that a system's adapter lies in: this suite's, or the user's own.

It is unpacked (`git archive`) into BROKERBENCH_HOME/gate/checkouts, once a commit; the working tree is left alone. What is not committed
is in no revision.
"""

from __future__ import annotations

import inspect
import subprocess
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from adapters import AdapterClass
from bench.errors import EnvironmentProblem, UsageError
from bench.gate.side import Side
from bench.servers.home import building, locked

_GIT_S = 60.0


@dataclass(frozen=True)
class Checkout:
    """A commit, unpacked."""

    repository: Path  # the working tree that it was taken from
    commit: str
    folder: Path
    adapter: Path  # the adapter's file in ``folder``, whether or not this commit has it


def of_adapter(side: Side, adapter: AdapterClass) -> Checkout:
    """Unpack ``side.rev`` of the repository of its adapter.

    Raises UsageError where the adapter is in no repository or the revision is unknown, EnvironmentProblem where git or the disk fails.
    """
    file = Path(inspect.getfile(adapter)).resolve()
    repository = _repository(side, file)
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{side.rev}^{{commit}}")
    if commit is None:
        shallow = _git(repository, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; the clone is shallow: fetch more of it (actions/checkout: fetch-depth: 0)" if shallow else ""
        raise UsageError(f'--{side.name} "{side.spec}": {repository} has no revision "{side.rev}"{hint}')
    name = f"{sha256(str(repository).encode()).hexdigest()[:8]}-{commit[:16]}"
    with locked(f"gate-{name}") as home:
        folder = home / "gate" / "checkouts" / name
        if not folder.is_dir():
            with building(folder) as made:
                _unpack(repository, commit, made)
    return Checkout(repository, commit, folder, folder / file.relative_to(repository.resolve()))


def _repository(side: Side, file: Path) -> Path:
    top = _git(file.parent, "rev-parse", "--show-toplevel")
    # A virtual environment often lies within a repository without being of it.
    if top is None or _git(Path(top), "ls-files", "--error-unmatch", "--", str(file)) is None:
        raise UsageError(
            f'--{side.name} "{side.spec}": rev= is a revision of the repository of the adapter, and {file} is in none; '
            "install it editable (pip install -e) from its clone"
        )
    return Path(top)


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says; None where it refuses. Raises EnvironmentProblem where it does not look into the folder at all."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=_GIT_S, check=False)
    except FileNotFoundError as error:
        raise EnvironmentProblem("rev= needs git, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(f"git {words[0]} in {folder} did not end within {_GIT_S:.0f} s") from error
    if "dubious ownership" in done.stderr:  # a container's clone, made by another user
        raise EnvironmentProblem(f"git does not read {folder}, which another user owns: git config --global --add safe.directory {folder}")
    return done.stdout.strip() if done.returncode == 0 else None


def _unpack(repository: Path, commit: str, folder: Path) -> None:
    with subprocess.Popen(["git", "-C", repository, "archive", "--format=tar", commit], stdout=subprocess.PIPE) as git:
        assert git.stdout is not None
        try:
            with tarfile.open(fileobj=git.stdout, mode="r|") as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # None: Python 3.11.2, which Debian 12 has
                archive.extractall(folder)  # noqa: S202  # git's own archive, of the user's repository
        except (tarfile.TarError, OSError) as error:
            git.kill()
            raise EnvironmentProblem(f"{repository}: {commit[:12]} cannot be unpacked into {folder}: {error}") from error
    if git.returncode != 0:
        raise EnvironmentProblem(f"{repository}: git archive {commit[:12]} ended with exit code {git.returncode}")
