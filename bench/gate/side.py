"""Base and head of a gate: a SPEC whose keys `with`, `rev` and `python` say what it runs in.

`kafka` · `kafka,with=kafka-python==3.0.10` · `redis-pubsub,with=-hiredis` (the minus takes a package away) · `zeromq,rev=HEAD~1` ·
`tcp,python=3.12`. `with` may be given several times. What a side does not name is as it is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from bench.errors import UsageError
from bench.spec import Variant, parse

OWN = ("with", "rev", "python")
_REVISION = re.compile(r"[A-Za-z0-9@_.][A-Za-z0-9@{}_./~^+-]*")


@dataclass(frozen=True)
class Side:
    """One side. ``variant`` has its name ("base", "head") as id."""

    name: str
    spec: str  # as given
    variant: Variant
    packages: tuple[str, ...] = ()  # requirements, or paths of wheels
    removed: tuple[str, ...] = ()  # names of packages
    rev: str = ""  # of the repository that the adapter lies in
    python: str = ""

    @property
    def plain(self) -> str:
        """The SPEC without `with`, `rev` and `python`."""
        return self.variant.spec


def parse_side(name: str, text: str) -> Side:
    """Read a SPEC of the gate; raises UsageError that says which part is wrong and what would be right."""
    rest: list[str] = []
    values: dict[str, list[str]] = {key: [] for key in OWN}
    for part in text.split(","):
        key, sign, value = (word.strip() for word in part.partition("="))
        if key not in OWN or not sign:
            rest.append(part)
            continue
        if not value:
            raise UsageError(f'--{name} "{text}": {key}= has no value')
        if values[key] and key != "with":
            raise UsageError(f'--{name} "{text}": {key} is given twice')
        values[key].append(value)
    try:
        variant = replace(parse(",".join(rest)), id=name)
    except UsageError as error:
        raise UsageError(f"--{name}: {error}") from error
    removed = tuple(_removed(name, text, word) for word in values["with"] if word.startswith("-"))
    packages = tuple(_package(name, text, word) for word in values["with"] if not word.startswith("-"))
    rev = values["rev"][0] if values["rev"] else ""
    if rev and not _REVISION.fullmatch(rev):  # git would take a leading "-" for an option
        raise UsageError(f'--{name} "{text}": rev={rev} is no revision; give a branch, a tag or a commit, such as rev=origin/main')
    python = values["python"][0] if values["python"] else ""
    return Side(name, text.strip(), variant, packages, removed, rev, python)


def _removed(name: str, text: str, word: str) -> str:
    package = word[1:].strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", package):
        raise UsageError(f'--{name} "{text}": with={word} is to take a package away; write its name, such as with=-hiredis')
    return canonicalize_name(package)


def _package(name: str, text: str, word: str) -> str:
    if word.endswith(".whl"):
        path = Path(word).expanduser().absolute()
        if not path.is_file():
            raise UsageError(f'--{name} "{text}": {word}: no such wheel')
        try:
            parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise UsageError(f'--{name} "{text}": {word}: {error}') from error
        return str(path)
    try:
        needed = Requirement(word)
    except InvalidRequirement as error:
        hint = "write a package with its version, such as with=kafka-python==3.0.10, or the path of a .whl file"
        raise UsageError(f'--{name} "{text}": with={word}: {str(error).splitlines()[0]}; {hint}') from error
    if needed.marker is not None or needed.url is not None:
        raise UsageError(f'--{name} "{text}": with={word}: a name and a version only, or the path of a .whl file')
    return str(needed)
