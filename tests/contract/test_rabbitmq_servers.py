"""What depends on the server, once more on other versions of it and on several nodes: a part of the contract, and cheap."""

import checks
import pytest

NEWER = {"version": "4.0"}
THREE = {"version": "4.0", "nodes": "3"}
PARTS = [
    *(("rabbitmq", "", NEWER, check) for check in (checks.delivers, checks.fans_out, checks.redelivers_what_was_not_acknowledged)),
    *(("rabbitmq", mode, NEWER, checks.carries_in_its_mode) for mode in ("transient", "quorum", "dead-letter")),
    ("rabbitmq", "", NEWER, checks.is_seen_by_a_witness),
    *(("rabbitmq_streams", "", NEWER, check) for check in (checks.delivers, checks.keeps_lanes, checks.is_seen_by_a_witness)),
    *(("rabbitmq_streams", "", NEWER, check) for check in (checks.redelivers_what_was_not_acknowledged, checks.tells_its_depth)),
    *(("rabbitmq", "quorum", THREE, check) for check in (checks.delivers, checks.carries_in_its_mode, checks.is_seen_by_a_witness)),
]


def name(part):
    system, mode, options, check = part
    return "-".join([system, *filter(None, [mode]), *options.values(), check.__name__])


@pytest.mark.server
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("system", "mode", "options", "check"), PARTS, ids=map(name, PARTS))
def test_options(system, mode, options, check, *, case_of, needs):
    needs(system, version=options["version"])
    check(case_of(system, mode=mode, **options))
