"""The promises that a number of nodes could change, on clusters of three: groups that share work, what is committed, transactions."""

import pytest
from checks import (
    carries_in_its_mode,
    delivers,
    fans_out,
    keeps_lanes,
    redelivers_what_was_not_acknowledged,
    shares_work,
    tells_its_depth,
)

CHECKS = (delivers, fans_out, shares_work, keeps_lanes, redelivers_what_was_not_acknowledged, tells_its_depth)
CLUSTERS = {"kafka": ("transactional",)}
"""System with an option nodes=3, and those of its modes that rest on more than a topic's copies."""


@pytest.mark.server
@pytest.mark.parametrize("system", CLUSTERS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_of_three_nodes(check, system, case_of):
    check(case_of(system, nodes="3"))


@pytest.mark.server
@pytest.mark.parametrize(("system", "mode"), [(system, mode) for system, modes in CLUSTERS.items() for mode in modes])
def test_a_mode_of_three_nodes(system, mode, case_of):
    carries_in_its_mode(case_of(system, mode=mode, nodes="3"))
