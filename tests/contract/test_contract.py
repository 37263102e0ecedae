"""Every promise of the contract, on every system of the registry, on its real server. Nothing here can be overridden."""

import pytest
from checks import CHECKS, TUNED_CHECKS
from expected import EXPECTED

import adapters

TUNED = [system for system in adapters.names() if "tuned" in EXPECTED.get(system, {}).get("profiles", ())]


@pytest.mark.server
@pytest.mark.parametrize("system", adapters.names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_defaults(check, system, case_of):
    check(case_of(system))


@pytest.mark.server
@pytest.mark.parametrize("system", TUNED)
@pytest.mark.parametrize("check", TUNED_CHECKS, ids=lambda check: check.__name__)
def test_tuned(check, system, case_of):
    check(case_of(system, "tuned"))
