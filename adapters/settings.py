"""Settings of several types (the integers of adapters/options.py do not do for time-outs, switches and names)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from adapters.base import Options
from adapters.errors import BadSetting

Value = bool | int | float | str
_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def typed_settings(
    system: str, options: Options, defaults: Mapping[str, Value], bounds: Mapping[str, tuple[float, float]]
) -> dict[str, Value]:
    """``defaults`` with the variant's settings over them, each in the type of its default.

    Raises BadSetting for a name that is not in ``defaults``, a text that is no value of its type, and a number outside
    its ``bounds`` (both ends allowed).
    """
    values = dict(defaults)
    for name, text in options.settings.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadSetting(f"{system} ({options.profile}) has no setting {name!r}; {hint}It has: {', '.join(sorted(defaults))}")
        values[name] = _value(system, name, str(text), defaults[name])
    for name, (low, high) in bounds.items():
        value = values[name]
        if isinstance(value, int | float) and not low <= value <= high:
            raise BadSetting(f"{system}: {name} = {value} is out of range; from {low:g} to {high:g}")
    return values


def _value(system: str, name: str, text: str, default: Value) -> Value:
    try:
        if isinstance(default, bool):
            return _TRUTH[text.strip().lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
        raise BadSetting(f"{system}: {name} = {text!r} is not {wanted}") from None
