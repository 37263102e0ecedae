"""What the adapters declare is what expected.toml lists: no more, no less."""

import contextlib

import pytest
from expected import EXPECTED, LISTED_MODES, SPECS, pair
from witness import witness_of

import adapters
from adapters.base import Options
from adapters.capabilities import Support
from adapters.errors import BadSetting

ABILITIES = {"fan_out", "work_sharing", "partitions", "confirms", "acks", "stores", "settle", "order_delivered"}


def declared(capabilities):
    found = {}
    for ability in ABILITIES:
        value = getattr(capabilities, ability)
        if isinstance(value, bool):
            value = Support.NATIVE if value else Support.UNSUPPORTED
        found[ability] = value.value
    return found


def test_every_system_is_listed_and_has_a_witness():
    assert set(EXPECTED) == set(SPECS)
    assert [system for system in adapters.names() if witness_of(system) is None] == []


@pytest.mark.parametrize("system", SPECS)
def test_abilities_are_as_listed(system):
    listed = {ability: value for ability, value in EXPECTED[system].items() if ability not in {"profiles", "settings", "modes"}}
    assert declared(adapters.load(*pair(system)).capabilities) == listed


@pytest.mark.parametrize("system", SPECS)
def test_profiles_are_as_listed(system):
    taken = []
    for profile in ("defaults", "tuned"):
        with contextlib.suppress(BadSetting):
            adapters.load(*pair(system))(Options(profile=profile))
            taken.append(profile)
    assert taken == EXPECTED[system]["profiles"]


@pytest.mark.parametrize(("system", "mode"), LISTED_MODES)
def test_abilities_by_mode_are_as_listed(system, mode):
    first = {ability: value for ability, value in EXPECTED[system].items() if ability in ABILITIES}
    assert declared(adapters.load(*pair(system))(Options(mode=mode)).capabilities) == first | EXPECTED[system]["modes"][mode]
