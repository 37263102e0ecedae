"""Every promise of the contract, on every system of the registry, on its real server. Nothing here can be overridden."""

import contextlib

import pytest
from checks import CHECKS, MODE_CHECKS, TUNED_CHECKS
from expected import EXPECTED, SPECS, pair

import adapters
from adapters.errors import NotInstalled

TUNED = [system for system in SPECS if "tuned" in EXPECTED.get(system, {}).get("profiles", ())]
MODES: list[tuple[str, str]] = []
for name in SPECS:
    with contextlib.suppress(NotInstalled):  # its default mode is skipped, with the reason
        MODES += [(name, mode.name) for mode in adapters.load(*pair(name)).capabilities.modes[1:]]


@pytest.mark.server
@pytest.mark.parametrize("system", SPECS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_defaults(check, system, case_of):
    check(case_of(system))


@pytest.mark.server
@pytest.mark.parametrize("system", TUNED)
@pytest.mark.parametrize("check", TUNED_CHECKS, ids=lambda check: check.__name__)
def test_tuned(check, system, case_of):
    check(case_of(system, "tuned"))


@pytest.mark.server
@pytest.mark.parametrize(("system", "mode"), MODES, ids=[f"{system}-{mode}" for system, mode in MODES])
@pytest.mark.parametrize("check", MODE_CHECKS, ids=lambda check: check.__name__)
def test_modes(check, system, mode, case_of):
    check(case_of(system, mode=mode))
