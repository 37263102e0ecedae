"""How each system's server is obtained and started: one recipe a system, found by name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points

from bench.errors import ServerError, UsageError
from bench.servers.base import KINDS, Recipe, Request, Server

GROUP = "brokerbench.servers"
OF_MODES = {("zeromq", "proxy"): "zeromq_proxy"}
"""Recipes of one mode of a system: what stands between its peers in that mode only."""
OWN = ("flume", "kafka", "kinesis", "nats", "rabbitmq", "rabbitmq_streams", "redis_pubsub", "redis_streams", "sqs")

_registered: dict[str, Recipe] = {}


def names() -> list[str]:
    """Systems that have a server recipe: ours, and those that installed packages register (entry point group brokerbench.servers)."""
    return sorted({*OWN, *_registered, *(point.name for point in entry_points(group=GROUP))})


def register(system: str, its_recipe: Recipe) -> None:
    """Add a recipe for this process only, as adapters.register() does an adapter."""
    if system in names():
        raise UsageError(f"{system} has a server recipe already")
    _registered[system] = its_recipe
    options.cache_clear()
    wired.cache_clear()


def unregister(system: str) -> None:
    """Take back what register() added."""
    _registered.pop(system, None)
    options.cache_clear()
    wired.cache_clear()


def recipe_name(system: str, mode: str) -> str:
    """Under which name a system has its recipe in a mode: its own, or that of what only this mode needs."""
    return OF_MODES.get((system, mode), system)


def recipe(system: str) -> Recipe | None:
    """The recipe of a name; None for systems without a server (zeromq, tcp, memory). Raises ServerError for a broken plug-in."""
    if system in OWN or system in OF_MODES.values():
        found: Recipe = importlib.import_module(f"bench.servers.{system}").RECIPE
        return found
    if system in _registered:
        return _registered[system]
    for point in entry_points(group=GROUP):
        if point.name == system:
            try:
                registered: Recipe = point.load()
            except Exception as error:  # somebody else's module: anything can come out of it, and its name must be told
                raise ServerError(f"{system}: its server recipe {point.value} cannot be loaded: {error!r}") from error
            return registered
    return None


@functools.cache  # asked for at every SPEC that is read, and looking through entry points takes 30 ms
def options(name: str) -> Mapping[str, tuple[str, ...]]:
    """Keys of a SPEC that are the server's, with the values that they can have, the default first. Raises ServerError as recipe() does."""
    found: Mapping[str, tuple[str, ...]] = getattr(recipe(name), "options", {})
    return found


def belongs(name: str) -> Mapping[str, str]:
    """Options of a server that make sense beside another only, each with that one: {"zookeepers": "metadata=zookeeper"}."""
    found: Mapping[str, str] = getattr(recipe(name), "belongs", {})
    return found


def filled(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """All options of a server, those that are not given with their defaults."""
    return {key: values[0] for key, values in options(name).items()} | dict(given)


def changed(name: str, given: Mapping[str, str]) -> list[str]:
    """Options of a server that are not their defaults, as a SPEC has them, in the recipe's order."""
    return [f"{key}={value}" for key, value in filled(name, given).items() if value != options(name).get(key, (value,))[0]]


@functools.cache  # as above
def wired(name: str) -> bool:
    """Whether a server is set up for one session's wiring (Recipe: ``wired``), and so is started for each of them."""
    return bool(getattr(recipe(name), "wired", False))


def choose(system: str, kind: str = "auto") -> str:
    """The kind of server to use: the one that is asked for, or the first that can be had here for "auto".

    ``external:ADDRESS`` is "external". Raises ServerError with the reason of every kind and how to get it.
    """
    found = _needed(system)
    if kind.startswith("external:"):
        return "external"
    if kind != "auto":
        if kind not in KINDS:
            raise UsageError(f"{system}: unknown kind of server {kind!r}; it is auto, {', '.join(KINDS)}, or external:HOST:PORT")
        reason = found.missing(kind)
        if reason is not None:
            raise ServerError(f"{system}: no {kind} server: {reason}")
        return kind
    reasons = []
    for candidate in found.default_kinds:
        reason = found.missing(candidate)
        if reason is None:
            return candidate
        reasons.append(f"  {candidate}: {reason}")
    raise ServerError(f"{system}: no server can be had here\n" + "\n".join(reasons))


def start(system: str, request: Request) -> Server:
    """Start a server (kind "auto": as choose() says; "external:ADDRESS" too); returns when it answers. Raises ServerError."""
    kind = request.kind
    address = kind.removeprefix("external:") if kind.startswith("external:") else request.address
    if kind == "auto" or ":" in kind:
        kind = choose(system, kind)
    request.folder.mkdir(parents=True, exist_ok=True)
    # Absolute: the servers run in folders of their own.
    made = replace(request, kind=kind, address=address, folder=request.folder.resolve())
    if kind == "external":
        server = _needed(system).start(made)
        server.settings = {**server.settings, **{f"{key} (as told)": value for key, value in request.options.items()}}
        return server
    return _needed(system).start(replace(made, options=filled(system, request.options)))


def _needed(system: str) -> Recipe:
    found = recipe(system)
    if found is None:
        raise ServerError(f"{system} has no server recipe; those that have: {', '.join(names())}")
    return found
