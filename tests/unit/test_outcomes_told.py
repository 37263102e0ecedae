"""adapters.outcomes.tell: each id once, whatever the order; neighbours in one report."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Status
from adapters.outcomes import tell
from bench.outcomes import Outcomes


@given(st.lists(st.integers(0, 12), unique=True))
def test_each_id_is_told_once_in_any_order(ids):
    outcomes = Outcomes()
    tell(outcomes, ids, Status.CONFIRMED)
    reports = [(first, count) for _, first, count, *_ in outcomes.take()]
    assert [first + i for first, count in reports for i in range(count)] == sorted(ids)
    if ids and max(ids) - min(ids) == len(ids) - 1:
        assert len(reports) == 1
