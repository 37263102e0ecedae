"""Which systems there are, and how to get at the adapter of one without importing the client of another.

A third party adds a system by an entry point of the group ``brokerbench.adapters`` (name = the system, value =
``module:Class``); docs/add-a-system.md shows it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from adapters.base import Adapter, Options
from adapters.capabilities import Capabilities
from adapters.errors import NotInstalled, UnknownSystem

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "brokerbench.adapters"
BUILT_IN = (
    "memory",
    "tcp",
    "zeromq",
    "kafka",
    "rabbitmq",
    "rabbitmq_streams",
    "redis_pubsub",
    "redis_streams",
    "sqs",
    "kinesis",
    "nats",
    "flume",
)
SECOND: Mapping[str, Mapping[str, str]] = {"kafka": {"confluent-kafka": "kafka_confluent"}}
"""Further clients of a built-in system (``client=`` in a SPEC) by their distributions' names, each with its module of adapters/.

The extra that installs one has its name.
"""

_registered: dict[str, AdapterClass] = {}


class AdapterClass(Protocol):
    """What a module of adapters/ gives as ADAPTER: a class made with Options, its capabilities readable before that."""

    capabilities: Capabilities

    def __call__(self, options: Options) -> Adapter:
        """Raises BadSetting for a profile, mode or setting that is not known."""
        ...


def names() -> tuple[str, ...]:
    """Every system that can be named, installed or not: built in, by entry point, registered by hand."""
    more = {canonical(point.name) for point in _points()} | set(_registered)
    return BUILT_IN + tuple(sorted(more.difference(BUILT_IN)))


def _points() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415  # 30 ms that an endpoint of a built-in system does not need

    return entry_points(group=ENTRY_POINTS)


def canonical(name: str) -> str:
    """A system's name as the files spell it: ``redis-pubsub`` is ``redis_pubsub``."""
    return name.strip().lower().replace("-", "_")


def clients(name: str) -> tuple[str, ...]:
    """The clients that a system has beside its first adapter's."""
    return tuple(SECOND.get(canonical(name), ()))


def pairs() -> tuple[tuple[str, str], ...]:
    """Every system through each of its clients: what load() takes."""
    return tuple((name, client) for name in names() for client in ("", *clients(name)))


def spec(name: str, client: str = "") -> str:
    """How a SPEC names a pair: "kafka", "kafka,client=confluent-kafka"."""
    return f"{name},client={client}" if client else name


def module(name: str, client: str = "") -> str:
    """The module of adapters/ of a built-in pair; a bare loop (bench/overhead/bare) has the same name."""
    return SECOND[name][client] if client else name


def load(name: str, client: str = "") -> AdapterClass:
    """The adapter of a system, through its first client or another of clients(); imports that library.

    Raises UnknownSystem (with the nearest name) and NotInstalled (with the command that installs the library).
    """
    system = canonical(name)
    if client:
        return _built_in(client, module(system, client))
    if system in _registered:
        return _registered[system]
    if system in BUILT_IN:
        return _built_in(system.replace("_", "-"), system)
    for point in _points():
        if canonical(point.name) == system:
            return _from(point)
    import difflib  # noqa: PLC0415  # as above

    near = difflib.get_close_matches(system, names(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownSystem(f"no system {name!r}{hint} There are: {', '.join(names())}")


def register(name: str, adapter: AdapterClass) -> None:
    """Adds an adapter for this process only, where an entry point is too much (a notebook, a test)."""
    system = canonical(name)
    if system in names():
        raise UnknownSystem(f"the name {system!r} is taken; choose another")
    _registered[system] = adapter


def unregister(name: str) -> None:
    """Takes back what register() added."""
    _registered.pop(canonical(name), None)


def same_parent() -> str | None:
    """None where ``adapters`` and ``bench`` are of one installation; else what is wrong, for the user.

    Both names also exist on PyPI: another distribution's package in front of ours would fail much later, oddly.
    """
    ours = Path(__file__).resolve().parent.parent
    spec = importlib.util.find_spec("bench")
    if spec is None or spec.origin is None:
        return f"the package 'bench' beside {ours / 'adapters'} is missing: brokerbench is not installed whole"
    theirs = Path(spec.origin).resolve().parent.parent
    if theirs == ours:
        return None
    return (
        f"'adapters' comes from {ours} and 'bench' from {theirs}: another distribution of one of these names is in front; "
        "install brokerbench into a virtual environment of its own"
    )


def _built_in(extra: str, name: str) -> AdapterClass:
    try:
        found = importlib.import_module(f"adapters.{name}")
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library in {"", "adapters"}:  # our own file, not a client library: a broken installation, shown as it is
            raise
        raise NotInstalled(
            f"{extra} needs the Python package {library!r}, which is not installed: pip install 'brokerbench[{extra}]'"
        ) from missing
    return found.ADAPTER  # type: ignore[no-any-return]  # each module's own; tests/contract checks it


def _from(point: EntryPoint) -> AdapterClass:
    try:
        adapter: AdapterClass = point.load()
    except ModuleNotFoundError as missing:
        owner = point.dist.name if point.dist else point.value
        raise NotInstalled(f"{point.name} (from {owner}) needs the Python package {missing.name!r}, which is not installed") from missing
    return adapter
