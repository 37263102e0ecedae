"""How an adapter reads its Options: profile, mode and settings, with errors that say what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping

from adapters.base import Options
from adapters.capabilities import Capabilities, Mode
from adapters.errors import BadSetting

Value = bool | int | float | str
_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def choose_mode(capabilities: Capabilities, options: Options) -> Mode:
    """The mode that the variant names, or the first. Raises BadSetting with the names there are."""
    if not options.mode:
        return capabilities.modes[0]
    for mode in capabilities.modes:
        if mode.name == options.mode:
            return mode
    raise BadSetting(f"{capabilities.system} has no mode {options.mode!r}; it has: {_listed(mode.name for mode in capabilities.modes)}")


def check_profile(system: str, options: Options, profiles: Iterable[str] = ("defaults", "tuned")) -> str:
    """The variant's profile. Raises BadSetting where the adapter has none of that name."""
    known = tuple(profiles)
    if options.profile not in known:
        raise BadSetting(f"{system} has no profile {options.profile!r}; it has: {_listed(known)}")
    return options.profile


def integer_settings(
    system: str, options: Options, defaults: Mapping[str, int], minimum: Mapping[str, int] | None = None
) -> dict[str, int]:
    """typed_settings() where all are whole numbers, from their ``minimum`` on (0 where none is given)."""
    bounds = {name: ((minimum or {}).get(name, 0), math.inf) for name in defaults}
    return {name: int(value) for name, value in typed_settings(system, options, defaults, bounds).items()}


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
            wanted = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise BadSetting(f"{system}: {name} = {value} is out of range; {wanted}")
    return values


def _value(system: str, name: str, text: str, default: Value) -> Value:
    try:
        if isinstance(default, bool):
            return _TRUTH[text.strip().lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
        raise BadSetting(f"{system}: {name} = {text!r} is not {wanted}") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
