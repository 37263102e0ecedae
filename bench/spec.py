"""SPEC, the one way to name what is compared: `system[,key=value...]`, the same in scenarios, commands and the gate.

`kafka` · `kafka,profile=tuned` · `redis-pubsub,server=embedded` · `kafka,server=external:db1:9092,db2:9092,linger_ms=5`.
The reserved keys are the suite's; a key that the system's recipe declares is an option of its server (`kafka,nodes=3`); every other is a
setting of the adapter, by the client library's own name.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.errors import ServerError, UsageError
from bench.units import did_you_mean

RESERVED = ("client", "server", "profile", "mode", "python", "with", "rev")
PROFILES = ("defaults", "tuned")
AUTO = "auto"
SERVER_KINDS = (AUTO, "external", "native", "embedded", "compose")
"""`auto` lets the recipe choose the first kind that can be had here."""

_OF_THE_GATE = {
    "python": "another interpreter",
    "with": "other packages",
    "rev": "another revision",
}
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}")
_LENGTH_MAX = 500  # a spec stands in tables and file names


@dataclass(frozen=True)
class Variant:
    """What is compared: one system with its client, server and settings. ``id`` is unique in a run and safe in a path."""

    spec: str  # canonical: parses back to this variant
    id: str
    system: str
    profile: str = "defaults"
    mode: str = ""  # "" = the adapter's first
    server_kind: str = AUTO
    server_address: str = ""  # of "external": host:port[,host:port...] or a URL
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    server_options: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Options of its server that are not the default; of an external server all that were given, as what it is told to be."""
    client: str = ""  # "" = that of the system's first adapter


def parse(text: str, names: Iterable[str] | None = None) -> Variant:
    """The variant that a SPEC names; ``names`` are the known systems (default: the registry's).

    Raises UsageError that says which part is wrong and what would be right.
    """
    if len(text) > _LENGTH_MAX:
        raise UsageError(f'"{text[:40]}...": a SPEC has at most {_LENGTH_MAX} characters')
    system, *parts = [part.strip() for part in text.split(",")]
    known = tuple(names) if names is not None else _registered()
    system = _system(text, system, known)
    given = _pairs(text, parts)
    for key, what in _OF_THE_GATE.items():
        if key in given:
            raise UsageError(f'"{text}": {key}= ({what}) is for one side of `brokerbench gate`')
    client = _client(text, system, given["client"]) if "client" in given else ""
    profile = _one_of(text, "profile", given.get("profile", PROFILES[0]), PROFILES)
    kind, address = _server(text, given.get("server", AUTO))
    mode = given.get("mode", "")
    settings = {key: value for key, value in sorted(given.items()) if key not in RESERVED}
    allowed = _server_options(system, mode) if settings else {}
    options = {key: _one_of(text, key, settings.pop(key), allowed[key]) for key in sorted(allowed) if key in settings}
    if kind != "external":
        options = {key: value for key, value in options.items() if value != allowed[key][0]}
    spec = _canonical(system, client=client, profile=profile, mode=mode, kind=kind, address=address, others=options | settings)
    return Variant(spec, _identity(spec), system, profile, mode, kind, address, settings, options, client)


def parse_all(texts: Sequence[str], names: Iterable[str] | None = None) -> list[Variant]:
    """The variants of a run; raises UsageError where two are the same."""
    known = tuple(names) if names is not None else _registered()
    variants = [parse(text, known) for text in texts]
    seen: dict[str, str] = {}
    for text, variant in zip(texts, variants, strict=True):
        if variant.id in seen:
            raise UsageError(f'"{text}" is named twice (as "{seen[variant.id]}" before): a comparison needs each variant once')
        seen[variant.id] = text
    return variants


def _registered() -> tuple[str, ...]:
    import adapters  # noqa: PLC0415  # reads the entry points of all installed packages: only where a name is needed

    return tuple(adapters.names())


def _system(text: str, system: str, known: Sequence[str]) -> str:
    if not system:
        raise UsageError(f'"{text}": a SPEC begins with a system: {", ".join(known)}')
    name = system.replace("-", "_")
    if name == "memory":
        raise UsageError(f'"{text}": memory lives within one process, for the contract tests; tcp is the floor to compare with')
    if name in known:
        return name
    if "=" in system:
        raise UsageError(f'"{text}": a SPEC begins with a system ({", ".join(known)}), then key=value')
    raise UsageError(f'unknown system "{system[:60]}"; {did_you_mean(name, known)}')


def _pairs(text: str, parts: Sequence[str]) -> dict[str, str]:
    """Values by key; a part without "=" after server=external:HOST:PORT is a further address of it."""
    given: dict[str, str] = {}
    last = ""
    for part in parts:
        key, sign, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not sign and last == "server" and given["server"].startswith("external:") and _ADDRESS.fullmatch(part):
            given["server"] += f",{part}"
            continue
        if not sign or not _KEY.fullmatch(key):
            raise UsageError(f'"{text}": "{part}" is not key=value')
        if not value:
            raise UsageError(f'"{text}": {key}= has no value')
        if key in given:
            raise UsageError(f'"{text}": {key} is given twice')
        # Only near certain misspellings: kafka-python's client_id must stay a setting.
        near = [] if key in RESERVED else difflib.get_close_matches(key, RESERVED, n=1, cutoff=0.85)
        if near:
            raise UsageError(f'"{text}": unknown key "{key}"; did you mean "{near[0]}"?')
        given[key] = value
        last = key
    return given


def _one_of(text: str, key: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UsageError(f'"{text}": unknown {key} "{value}"; {did_you_mean(value, known)}')
    return value


def _server(text: str, value: str) -> tuple[str, str]:
    kind, _, address = value.partition(":")
    _one_of(text, "server", kind, SERVER_KINDS)
    if address and kind != "external":
        raise UsageError(f'"{text}": server={kind} takes no address; server=external:{address} does')
    return kind, address


def _server_options(system: str, mode: str) -> Mapping[str, tuple[str, ...]]:
    from bench import servers  # noqa: PLC0415  # reads the entry points, and imports the recipe: only where there are keys to look up

    try:
        return servers.options(servers.recipe_name(system, mode))
    except ServerError:  # a recipe that cannot be loaded: told by whoever wants to start it; a report of old runs does not
        return {}


def _client(text: str, system: str, client: str) -> str:
    """The client that a SPEC asks for, "" where it is the system's first: that needs no word in the canonical SPEC."""
    import adapters  # noqa: PLC0415  # as above
    from adapters.errors import AdapterError  # noqa: PLC0415

    others = adapters.clients(system)
    if client in others:
        return client
    try:
        own = adapters.load(system).capabilities.client
    except AdapterError as error:
        raise UsageError(f'"{text}": {error}') from error
    if client != own:
        through = " or ".join([own or "no client library", *others])
        raise UsageError(f'"{text}": there is no client={client}; {system} runs through {through}')
    return ""


def _canonical(system: str, *, client: str, profile: str, mode: str, kind: str, address: str, others: Mapping[str, str]) -> str:
    parts = [system]
    if client:
        parts.append(f"client={client}")
    if profile != PROFILES[0]:
        parts.append(f"profile={profile}")
    if mode:
        parts.append(f"mode={mode}")
    if kind != AUTO:
        parts.append(f"server={kind}" + (f":{address}" if address else ""))
    return ",".join(parts + [f"{key}={value}" for key, value in others.items()])


def _identity(spec: str) -> str:
    """`kafka,profile=tuned,linger_ms=5` as `kafka+tuned+linger_ms=5`; what a path cannot hold becomes "-" and a digest."""
    short = re.sub(r"(?<=,)(client|profile|server)=", "", spec).replace(",", "+")
    clean = re.sub(r"[^A-Za-z0-9_.=+-]", "-", short)
    if clean == short and len(clean) <= 80:
        return clean
    return f"{clean[:80]}-{hashlib.sha256(spec.encode()).hexdigest()[:6]}"
