"""What differs between two variants, thing by thing, from what their trials say of them (pure).

A comparison of two systems says what one thing costs only where one thing differs. So every difference is listed: what was put together
otherwise (product, client, an intermediary, settings, ...), and what is promised otherwise (delivery, ordering, ...). Most promises follow
from a setting: both are listed, and told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

MADE = ("product", "client", "profile", "intermediary", "stores", "fan-out", "sharing", "partitions", "settings")
"""What is put together otherwise: of whom, through which library, with what between, kept where, who copies, who shares, how it is set."""
PROMISED = ("delivery", "ordering", "persistence", "copies", "acknowledgement")
"""What the documentation promises otherwise."""
ASPECTS = (*MADE, *PROMISED)

_SUPPORTS = {"fan-out": "fan_out", "sharing": "work_sharing", "partitions": "partitions"}
_NOT_SET = "not set"


@dataclass(frozen=True)
class Difference:
    """One aspect that differs; ``settings``: (name, before, after) of each that does, of "settings" only."""

    aspect: str
    before: str
    after: str
    settings: tuple[tuple[str, str, str], ...] = ()

    @property
    def promised(self) -> bool:
        """Whether it is a promise, not a thing that was put together otherwise."""
        return self.aspect in PROMISED


def between(before: Json, after: Json) -> tuple[Difference, ...]:
    """Every aspect that differs, in the order of ASPECTS. Each side: {"variant", "server"} of its trials (results/README.md).

    A product is the server's, or the library's where there is none. What a server between two processes is set to belongs to the
    intermediary where the other side has none. Settings of two client libraries or products are not compared: they have no names in common.
    """
    ours, theirs = _plain(before), _plain(after)
    if _same_product(before, after):
        theirs["product"] = ours["product"]
    found = [Difference(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]]
    if not {"product", "client"} & {one.aspect for one in found} and (changed := _settings(before, after)):
        old, new = (", ".join(f"{one[0]} {one[at]}" for one in changed) for at in (1, 2))
        found.append(Difference("settings", old, new, tuple(changed)))
    return tuple(sorted(found, key=lambda one: ASPECTS.index(one.aspect)))


def undeclared(differences: Sequence[Difference], declared: Collection[str]) -> tuple[str, ...]:
    """Aspects that differ and that a claim does not name."""
    return tuple(one.aspect for one in differences if one.aspect not in declared)


def unseen(differences: Sequence[Difference], declared: Sequence[str]) -> tuple[str, ...]:
    """Aspects that a claim names and that do not differ."""
    return tuple(name for name in declared if name not in {one.aspect for one in differences})


def _plain(side: Json) -> dict[str, str]:
    """The aspects but for settings, in words."""
    variant = _mapping(side.get("variant"))
    mode = _mapping(variant.get("mode"))
    return {
        "product": _product(side),
        "client": " ".join(word for name in ("client", "client_version") if (word := str(variant.get(name) or ""))) or "none",
        "profile": str(variant.get("profile") or "defaults"),
        "intermediary": _yes(variant.get("intermediary")),
        "stores": _yes(variant.get("stores")),
        **{aspect: str(variant.get(name, "not known")) for aspect, name in _SUPPORTS.items()},
        **{name: str(mode.get(name, "not known")) for name in ("delivery", "ordering", "persistence", "copies")},
        "acknowledgement": _yes(variant.get("confirms")),
    }


def _product(side: Json) -> str:
    variant, server = _mapping(side.get("variant")), _mapping(side.get("server"))
    if not server:
        return str(variant.get("title") or variant.get("system") or "not known")
    version = f" {server['version']}" if server.get("version") else ""
    return f"{server.get('product')}{version}"


def _same_product(before: Json, after: Json) -> bool:
    """Whether one side runs the same system without a server: then the server is the intermediary, no other product."""
    systems = {_mapping(side.get("variant")).get("system") for side in (before, after)}
    return len(systems) == 1 and not (before.get("server") and after.get("server"))


def _settings(before: Json, after: Json) -> list[tuple[str, str, str]]:
    ours, theirs = _flat(before), _flat(after)
    if not (before.get("server") and after.get("server")):
        ours, theirs = ({name: value for name, value in one.items() if not name.startswith("server.")} for one in (ours, theirs))
    names = list(dict.fromkeys((*ours, *theirs)))
    pairs = [(name, ours.get(name, _NOT_SET), theirs.get(name, _NOT_SET)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _flat(side: Json) -> dict[str, str]:
    """Effective settings by "side.name": "producer.acks", "server.threads"."""
    sides = {**_mapping(_mapping(side.get("variant")).get("settings")), "server": _mapping(side.get("server")).get("settings")}
    return {f"{part}.{name}": str(value) for part, values in sides.items() for name, value in _mapping(values).items()}


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _yes(value: object) -> str:
    return "not known" if value is None else "yes" if value else "no"
