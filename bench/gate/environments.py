"""What a side's endpoints run in: an interpreter, where its modules are, and a virtual environment where packages differ.

What a side does not name is as it is here: packages have the versions of this environment. An environment is built once, under
BROKERBENCH_HOME/gate, by what it is made of (so that it can be shared by all runs), whole or not at all, while a lock is held; the log of
its making is kept beside it, also where it failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

import adapters
from adapters import AdapterClass
from bench.engine.local import HERE, Interpreter
from bench.errors import EnvironmentProblem, UsageError
from bench.gate.checkout import Checkout, of_adapter
from bench.gate.side import Side
from bench.servers.home import building, home, locked

SUITE = "brokerbench"
PYTHON_MIN = (3, 11)
_FORMAT = 1  # of what is built: another one is built anew
_BUILD_S = 900.0
_LOG_LINES, _LINE = 12, 200
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """A side's environment. ``told``: what is recorded of it in gate.json."""

    interpreter: Interpreter
    told: Mapping[str, Any] = field(default_factory=dict)


def made(side: Side, say: Callable[[str], None]) -> Environment:
    """Make, or find, what a side runs in.

    Raises UsageError (unknown revision, no such Python), EnvironmentProblem with the log's last lines where it cannot be built.
    """
    adapter = adapters.load(side.variant.system, side.variant.client)
    checkout = of_adapter(side, adapter) if side.rev else None
    python = _python(side)
    needed = _needed(side, adapter, checkout)
    build = bool(side.packages or side.removed or side.python) or (checkout is not None and not _all_here(needed))
    own = side.rev or build
    path = _path(checkout, _shadowed(side, adapter)) if own else None
    told: dict[str, Any] = {"revision": checkout and checkout.commit, "repository": checkout and str(checkout.repository)}
    if not build:
        return Environment(Interpreter(HERE.python, path) if own else HERE, told | {"built": None})
    folder = _built(side, python, needed, say)
    interpreter = Interpreter(str(folder / "bin" / "python"), path)
    return Environment(interpreter, told | {"built": str(folder), "log": str(_log(folder.name))})


# ---- what is needed


def _python(side: Side) -> str:
    """The interpreter that an environment is made from: a path, or a version such as 3.12."""
    if not side.python:  # not this virtual environment's own: what lies behind it
        based = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        return str(based) if based.is_file() else sys.executable
    given = str(Path(side.python).expanduser()) if "/" in side.python else f"python{side.python.removeprefix('python')}"
    found = shutil.which(given)
    said = _asked([found, "-c", "import sys; print(*sys.version_info[:2])"]) if found else None
    if found is None or said is None:
        raise UsageError(f'--{side.name} "{side.spec}": no Python "{side.python}" here; give a version (python=3.12) or a path')
    version = tuple(int(word) for word in said.split())
    if version < PYTHON_MIN:
        raise UsageError(f'--{side.name} "{side.spec}": {found} is Python {version[0]}.{version[1]}; endpoints need 3.11 or later')
    return found


def _asked(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _needed(side: Side, adapter: AdapterClass, checkout: Checkout | None) -> list[Requirement]:
    """What endpoints import: numpy, the client library with its companions, and what a user's own distribution asks for."""
    system = side.variant.system
    lines = ["numpy"]
    if system in adapters.BUILT_IN:
        lines += _of_extra(side.variant.client or system.replace("_", "-"), checkout)
    else:
        lines += _of_distribution(_distribution(system), adapter, checkout)
    found = [one for one in map(_requirement, lines) if one is not None and canonicalize_name(one.name) != SUITE]
    if checkout is None:  # as it is here, also where that is not what the extra asks for
        found = [_bare(one) if _version(one.name) is not None else one for one in found]
    if adapter.capabilities.client and all(canonicalize_name(one.name) != canonicalize_name(adapter.capabilities.client) for one in found):
        found.append(Requirement(adapter.capabilities.client))
    return found


def _bare(one: Requirement) -> Requirement:
    return Requirement(one.name + (f"[{','.join(sorted(one.extras))}]" if one.extras else ""))


def _of_extra(extra: str, checkout: Checkout | None) -> list[str]:
    """What the suite's extra of a system asks for; of a revision, by its own pyproject.toml."""
    if checkout is not None:
        return list(_project(checkout).get("optional-dependencies", {}).get(extra, ()))
    try:
        marked = [Requirement(line) for line in metadata.requires(SUITE) or ()]
    except metadata.PackageNotFoundError:  # on the path, not installed
        return []
    return [
        str(one).partition(";")[0]
        for one in marked
        if one.marker is not None and "extra" in str(one.marker) and one.marker.evaluate({"extra": extra})
    ]  # fmt: skip


def _distribution(system: str) -> metadata.Distribution | None:
    """What a system was made known by; None for one that was registered by hand."""
    point = next((one for one in metadata.entry_points(group=adapters.ENTRY_POINTS) if adapters.canonical(one.name) == system), None)
    return point.dist if point is not None else None


def _of_distribution(dist: metadata.Distribution | None, adapter: AdapterClass, checkout: Checkout | None) -> list[str]:
    if checkout is not None:
        return list(_project(checkout).get("dependencies", ()))
    lines = [line for line in (dist.requires if dist is not None else None) or () if "extra ==" not in line]
    module = Path(str(sys.modules[getattr(adapter, "__module__", "adapters")].__file__)).resolve()
    if dist is not None and any(module.is_relative_to(place) for place in _packages_of_this()):
        lines.append(f"{dist.name}=={dist.version}")  # installed, not on the path of its clone
    return lines


def _project(checkout: Checkout) -> dict[str, Any]:
    """The project of pyproject.toml nearest above the adapter; {} for modules on a path, without a distribution."""
    for folder in checkout.adapter.parents:
        if (folder / "pyproject.toml").is_file():
            try:
                project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
            except (OSError, tomllib.TOMLDecodeError):
                return {}
            return project
        if folder == checkout.folder:
            break
    return {}


def _requirement(line: str, extras: Iterable[str] = ()) -> Requirement | None:
    """A requirement that holds here, with these extras of what asks for it; None for one of another platform, or that is none."""
    try:
        one = Requirement(line)
    except InvalidRequirement:
        return None
    return one if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)) else None


def _all_here(needed: Iterable[Requirement]) -> bool:
    return all((version := _version(one.name)) is not None and one.specifier.contains(version, prereleases=True) for one in needed)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# ---- where modules are


def _packages_of_this() -> list[Path]:
    return [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]


def _shadowed(side: Side, adapter: AdapterClass) -> str:
    """The top-level module that has to come from the side's environment, since `with` names the distribution of its adapter; "" = none."""
    named = {
        canonicalize_name(parse_wheel_filename(Path(one).name)[0] if one.endswith(".whl") else Requirement(one).name)
        for one in side.packages
    }
    built_in = side.variant.system in adapters.BUILT_IN
    dist = None if built_in else _distribution(side.variant.system)
    own = SUITE if built_in else canonicalize_name(dist.name) if dist is not None else ""
    return str(getattr(adapter, "__module__", "")).partition(".")[0] if own in named else ""


def _path(checkout: Checkout | None, shadowed: str = "") -> tuple[str, ...]:
    """PYTHONPATH of a side: the suite's modules, then what else this process has on its path beside installed packages.

    What lies in the checkout's repository is taken from the checkout. A place that has the module ``shadowed`` is left out.
    """
    places = [_suite(), *(Path(entry).resolve() for entry in sys.path if entry and _is_own(Path(entry)))]
    if shadowed:
        places = [place for place in places if not (place / shadowed).is_dir() and not (place / f"{shadowed}.py").is_file()]
    if checkout is not None:
        top = checkout.repository.resolve()
        places = [checkout.folder / place.relative_to(top) if place.is_relative_to(top) else place for place in places]
    return tuple(dict.fromkeys(str(place) for place in places))


def _is_own(entry: Path) -> bool:
    installed = entry.name in ("site-packages", "dist-packages", "lib-dynload", "bin") or entry.suffix == ".zip"
    library = any(entry == Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return entry.exists() and not installed and not library


def _suite() -> Path:
    """Where `bench` and `adapters` are without anything else beside them that could be imported.

    In a clone that is the clone. Of an installed suite they are copied: the folder beside them is full of this environment's packages.
    """
    if _ROOT not in _packages_of_this():
        return _ROOT
    files = sorted(path for name in ("bench", "adapters") for path in (_ROOT / name).rglob("*.py"))
    digest = sha256(b"".join(str(path.relative_to(_ROOT)).encode() + path.read_bytes() for path in files)).hexdigest()[:16]
    with locked("gate-suite") as folder:
        target = folder / "gate" / "suites" / digest
        if not target.is_dir():
            with building(target) as fresh:
                for name in ("bench", "adapters"):
                    shutil.copytree(_ROOT / name, fresh / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


# ---- building


def _built(side: Side, python: str, needed: Sequence[Requirement], say: Callable[[str], None]) -> Path:
    """The virtual environment, built where it is not there."""
    pins = _pins(needed)
    made_of = {
        "format": _FORMAT, "python": [str(Path(python).resolve()), _asked([python, "-VV"])], "needed": sorted(map(str, needed)),
        "pins": pins, "with": [_identified(one) for one in side.packages], "without": sorted(side.removed),
    }  # fmt: skip
    key = f"{side.variant.system}-{sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]}"
    with locked(f"gate-{key}") as folder:
        target = folder / "gate" / "environments" / key
        if not target.is_dir():
            what = ", ".join([*side.packages, *(f"without {one}" for one in side.removed)]) or python
            say(f"{side.name}: building its environment ({what})")
            with building(target) as fresh:
                _build(Recipe(side, python, needed, pins, _log(key)), fresh)
                (fresh / "made-of.json").write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")
    return target


def _pins(needed: Iterable[Requirement]) -> list[str]:
    """Constraints: what is needed, and what that needs in turn, as it is here; but not where a revision's requirement says otherwise."""
    other = {canonicalize_name(one.name) for one in needed if not _all_here([one])}
    pinned: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [(canonicalize_name(one.name), frozenset(one.extras)) for one in needed]
    while left:
        name, extras = left.pop()
        version = _version(name)
        if version is None or (name, extras) in seen:
            continue
        seen.add((name, extras))
        pinned[name] = version
        for line in metadata.requires(name) or ():
            one = _requirement(line, extras)
            if one is not None:
                left.append((canonicalize_name(one.name), frozenset(one.extras)))
    return [f"{name}=={version}" for name, version in sorted(pinned.items()) if name not in {*other, SUITE}]


def _identified(package: str) -> str:
    return sha256(Path(package).read_bytes()).hexdigest() if package.endswith(".whl") else package


def _log(key: str) -> Path:
    folder = home() / "gate" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{key}.log"


@dataclass(frozen=True)
class Recipe:
    """How one environment is built. ``pins``: constraints of pip, a line each."""

    side: Side
    python: str
    needed: Sequence[Requirement]
    pins: Sequence[str]
    log: Path


def _build(recipe: Recipe, folder: Path) -> None:
    recipe.log.write_bytes(b"")
    constraints = folder / "constraints.txt"
    step = partial(_step, recipe.side, log=recipe.log)
    step([recipe.python, "-m", "venv", folder])
    constraints.write_text("\n".join(recipe.pins) + "\n", encoding="utf-8")
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    step([*pip, "install", "--constraint", constraints, *map(str, recipe.needed)])
    if recipe.side.packages:  # what they need in turn may differ from what is here, so no constraints
        step([*pip, "install", *recipe.side.packages])
    for name in recipe.side.removed:
        _check_there(recipe.side, folder, name)
        step([*pip, "uninstall", "--yes", name])
    step([*pip, "list"])


def _check_there(side: Side, folder: Path, name: str) -> None:
    places = (folder / "lib").glob("python*/site-packages/*.dist-info")
    if name not in {canonicalize_name(place.name.partition("-")[0]) for place in places}:
        told = f"{side.variant.system} is not installed with it, so there is nothing to take away"
        raise UsageError(f'--{side.name} "{side.spec}": with=-{name}: {told}')


def _step(side: Side, command: Sequence[str | Path], log: Path) -> None:
    with log.open("ab") as out:
        out.write(f"$ {' '.join(map(str, command))}\n".encode())
        out.flush()
        try:
            done = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=_BUILD_S, check=False,
                env={key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")},
            )  # fmt: skip
            code: int | str = done.returncode
        except subprocess.TimeoutExpired:
            code = f"none within {_BUILD_S:.0f} s"
        except OSError as error:
            code = f"none: {error.strerror}"
    if code != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if not re.match(r"\s*$|\[notice\]|\s*━", line)][-_LOG_LINES:]
        told = "".join(f"\n    {line[:_LINE]}" for line in lines)
        raise EnvironmentProblem(f'--{side.name} "{side.spec}": its environment does not build (exit code {code}); log: {log}{told}')
