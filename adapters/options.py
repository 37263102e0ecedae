"""How an adapter reads its Options: profile, mode and settings, with errors that say what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from adapters.base import Options
from adapters.capabilities import Capabilities, Mode
from adapters.errors import BadSetting


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
    """``defaults`` with the variant's settings over them.

    Raises BadSetting for a name that is not in ``defaults``, and for a value that is no whole number or is below its
    ``minimum`` (0 where none is given).
    """
    values = dict(defaults)
    for name, text in options.settings.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadSetting(f"{system} has no setting {name!r}{hint} It has: {_listed(defaults)}")
        try:
            value = int(str(text))
        except ValueError:
            raise BadSetting(f"{system}: {name} = {text!r} is not a whole number") from None
        floor = (minimum or {}).get(name, 0)
        if value < floor:
            raise BadSetting(f"{system}: {name} = {value} is too small; at least {floor}")
        values[name] = value
    return values


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
