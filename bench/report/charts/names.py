"""What charts call variants: as short as tells one from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.analysis.summary import VariantPoint
from bench.report import text

IN_TITLE = 44
"""Longer names are cut in a title."""


def called(results: Iterable[VariantPoint]) -> Mapping[str, str]:
    """Variant id -> system and own settings; with the client where two would share a name, with the id where they still do."""
    known = {result.id: result for result in results}
    names = {key: _name(result, text.system_name) for key, result in known.items()}
    names = _apart(names, {key: _name(result, text.variant_name) for key, result in known.items()})
    return _apart(names, {key: f"{name} [{key}]" for key, name in names.items()})


def _apart(names: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    count = Counter(names.values())
    return {key: longer[key] if count[name] > 1 else name for key, name in names.items()}


def _name(result: VariantPoint, form: Callable[[Mapping[str, Any]], str]) -> str:
    return form(result.variant) + (" [emulator]" if result.emulator else "")


def in_title(name: str) -> str:
    """The name as a title bears it."""
    return text.shortened(name, IN_TITLE)
