"""The lease table of Kinesis' members: who takes what, when a lease is expired, and that nobody writes what is another's."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import Unreachable
from adapters.kinesis_leases import Lease, LeaseTable, Watch, remove, to_take
from adapters.kinesis_receiver import position


@pytest.fixture
def table(tmp_path):
    made = LeaseTable(str(tmp_path / "leases"))
    made.make(["g"], 4)
    yield made
    made.close()


def owners(table):
    return [lease.owner for lease in table.read("g")]


def test_a_lease_is_taken_only_as_it_was_seen(table):
    seen = table.read("g")
    table.take("g", "a", seen[:2])
    table.take("g", "b", seen)  # looked before a took
    assert owners(table) == ["a", "a", "b", "b"]


def test_a_checkpoint_is_refused_to_who_no_longer_has_the_lease(table):
    table.take("g", "a", table.read("g")[:1])
    (mine,) = (lease for lease in table.read("g") if lease.owner == "a")
    assert table.checkpoint("g", "a", {0: (mine.switches, "5")}) == set()
    table.take("g", "b", table.read("g")[:1])
    assert table.checkpoint("g", "a", {0: (mine.switches, "9")}) == {0}
    table.take("g", "a", table.read("g")[:1])  # it comes back: what was read before is another time
    assert table.checkpoint("g", "a", {0: (mine.switches, "9")}) == {0}
    assert table.read("g")[0].checkpoint == "5"


def test_the_table_outlives_who_opened_it_and_groups_are_apart(tmp_path):
    path = str(tmp_path / "leases")
    first = LeaseTable(path)
    first.make(["g", "h"], 2)
    first.take("g", "a", first.read("g"))
    first.checkpoint("g", "a", {1: (1, "7")})
    first.close()
    second = LeaseTable(path)
    second.make(["g", "h"], 2)  # again: nothing changes
    assert second.read("g") == [Lease(0, "a", 1, 1, ""), Lease(1, "a", 1, 1, "7")]
    assert second.read("h") == [Lease(0, "", 0, 0, ""), Lease(1, "", 0, 0, "")]
    second.renew("g", "a")
    assert [lease.counter for lease in second.read("g")] == [2, 2]
    second.release("g", "a")
    assert [(lease.owner, lease.checkpoint) for lease in second.read("g")] == [("", ""), ("", "7")]
    second.make(["g", "h"], 2, anew=True)
    assert [lease.checkpoint for lease in second.read("g")] == ["", ""]
    second.close()
    remove(path)
    remove(path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "no such folder" / "leases"
    with pytest.raises(Unreachable, match=f"lease table {path}"):
        LeaseTable(str(path))


def test_a_lease_expires_by_the_clock_of_who_watches_its_counter():
    watch = Watch(failover_s=10.0)
    standing, moving = Lease(0, "a", 5, 1, ""), Lease(1, "b", 5, 1, "")
    assert watch.expired([standing, moving, Lease(2, "", 0, 0, "")], 100.0) == {2}
    assert watch.expired([standing, moving._replace(counter=6)], 109.9) == set()
    assert watch.expired([standing, moving._replace(counter=6)], 110.0) == {0}
    assert watch.expired([standing._replace(counter=6), moving._replace(counter=6)], 110.5) == set()


def test_a_lease_is_stolen_only_where_none_is_free_and_only_from_who_has_most():
    leases = [Lease(i, owner, 1, 1, "") for i, owner in enumerate(["a", "a", "a", "b", "b", ""])]
    chance = random.Random(1)
    assert [lease.shard for lease in to_take(leases, {5}, "c", 9, chance)] == [5]
    leases = [lease._replace(owner=lease.owner or "a") for lease in leases]
    assert {lease.owner for lease in to_take(leases, set(), "c", 1, chance)} == {"a"}
    assert len(to_take(leases, set(), "c", 1, chance)) == 1, "one at a time"
    assert to_take(leases, set(), "a", 9, chance) == []


@given(shards=st.integers(1, 24), members=st.integers(1, 6), steal_max=st.integers(1, 3), seed=st.integers(0, 1 << 16))
def test_members_that_look_in_turn_come_to_even_shares(shards, members, steal_max, seed):
    """Whoever comes when: each shard has one owner, shares differ by one at most where there are enough, and then nobody moves any more."""
    chance = random.Random(seed)
    leases = [Lease(shard, "", 0, 0, "") for shard in range(shards)]
    names = [f"m{i}" for i in range(members)]
    for _ in range(2 * shards + 2):
        still = True
        for me in chance.sample(names, members):
            expired = {lease.shard for lease in leases if not lease.owner}
            for taken in to_take(leases, expired, me, steal_max, chance):
                still = False
                leases[taken.shard] = taken._replace(owner=me, counter=taken.counter + 1)
    assert still, "it goes on moving"
    counts = Counter(lease.owner for lease in leases)
    assert "" not in counts
    assert max(counts.values()) <= -(-shards // members)
    assert len(counts) == min(shards, members) or max(counts.values()) - min(counts.values()) <= 1


@given(st.integers(0, 1 << 186))
def test_positions_fit_the_journal(number):
    assert 0 <= position(str(number)) < 1 << 63


def test_positions_of_neighbours_differ():
    base = 49680484157629770051504136273467370918410942367284592642
    assert len({position(str(base + i * (1 << 80))) for i in range(5000)}) == 5000
