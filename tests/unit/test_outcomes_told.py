"""adapters.outcomes.tell: each id once, whatever the order; neighbours in one report."""

from adapter_parts import Ledger
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Status
from adapters.outcomes import tell


class Counting(Ledger):
    """A ledger that knows in how many reports neighbours came."""

    runs = 0

    def run(self, *what):
        self.runs += 1
        super().run(*what)


@given(st.lists(st.integers(0, 12), unique=True))
def test_each_id_is_told_once_in_any_order(ids):
    ledger = Counting()
    tell(ledger, ids, Status.CONFIRMED)
    assert ledger.of == dict.fromkeys(ids, Status.CONFIRMED)
    assert not ledger.twice
    assert ledger.runs == (sorted(ids) == list(range(min(ids), max(ids) + 1)) if ids else 0)
