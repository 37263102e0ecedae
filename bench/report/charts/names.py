"""What charts call variants: as short as tells one from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from bench.analysis.summary import VariantPoint
from bench.report import text

IN_TITLE = 44
"""Longer names are cut in a title."""


def called(results: Iterable[VariantPoint]) -> Mapping[str, str]:
    """Variant id -> system and own settings; with the client where two would share a name, with the id where they still do."""
    known = {result.id: result for result in results}
    names = {key: _name(result, "") for key, result in known.items()}
    names = _apart(names, {key: _name(result, str(result.variant.get("client") or "")) for key, result in known.items()})
    return _apart(names, {key: f"{name} [{key}]" for key, name in names.items()})


def _apart(names: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    count = Counter(names.values())
    return {key: longer[key] if count[name] > 1 else name for key, name in names.items()}


def _name(result: VariantPoint, client: str) -> str:
    base = str(result.variant.get("title") or result.variant.get("system") or result.id)
    name = ", ".join([f"{base} ({client})" if client else base, *text.own_settings(result.variant)])
    return f"{name} [emulator]" if result.emulator else name


def in_title(name: str) -> str:
    """The name as a title bears it."""
    return text.shortened(name, IN_TITLE)
