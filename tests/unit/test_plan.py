"""The plan: complete, random blocks; the same for the same seed."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench import plan
from bench.spec import Variant
from bench.workload import Point, Workload

BASE = Workload(
    rate_per_s=200.0,
    size_b=256,
    warmup_s=1.0,
    measure_s=5.0,
    drain_s=10.0,
    tick_s=0.0005,
    batch=100,
    ack_every=100,
    ack_interval_s=0.05,
    window=1000,
    producers=1,
    groups=(("inventory", 1),),
    partitions=4,
    routing="key",
    key_count=10_000,
    key_zipf=1.1,
    seed=1,
)


def points(rates=2, partitions=1):
    return [
        Point(replace(BASE, rate_per_s=100.0 * (r + 1), partitions=2**p), (("partitions", 2**p),))
        for r in range(rates)
        for p in range(partitions)
    ]


def variants(count):
    return [Variant(spec=f"s{i}", id=f"s{i}", system=f"s{i}") for i in range(count)]


SHAPES = {
    "rates": st.integers(1, 3),
    "partitions": st.integers(1, 3),
    "many": st.integers(1, 6),
    "rounds": st.integers(1, 4),
    "series": st.integers(1, 3),
}


@given(st.fixed_dictionaries(SHAPES), st.integers(0, 2**63 - 1))
def test_every_block_holds_each_variant_once(shape, seed):
    rates, partitions, many, rounds, series = shape.values()
    made = plan.make(points(rates, partitions), variants(many), rounds=rounds, series=series, seed=seed)
    assert [p.trial for p in made] == list(range(1, rates * partitions * many * rounds * series + 1))
    assert set(Counter((p.series, p.round, p.point, p.variant) for p in made).values()) == {1}
    for start in range(0, len(made), many):
        block = made[start : start + many]
        assert len({(p.series, p.round, p.point) for p in block}) == 1, "a block is not interrupted"
        assert [p.position for p in block] == list(range(many))
        assert {p.variant.id for p in block} == {f"s{i}" for i in range(many)}


@given(**SHAPES)
def test_points_of_one_wiring_stand_together_in_a_series(rates, partitions, many, rounds, series):
    made = plan.make(points(rates, partitions), variants(many), rounds=rounds, series=series, seed=7)
    stretches = [(p.series, p.point.workload.wiring_key) for p in made]
    changes = [pair for i, pair in enumerate(stretches) if i == 0 or stretches[i - 1] != pair]
    assert len(changes) == len(set(changes)) == partitions * series


def test_the_same_seed_gives_the_same_order_and_another_another():
    def order(seed, rounds=5):
        return [p.to_json() for p in plan.make(points(), variants(5), rounds=rounds, seed=seed)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1, rounds=9)[: 5 * 10] == order(1, rounds=5), "more rounds continue the shorter plan"


def test_every_variant_comes_to_every_position():
    made = plan.make(points(1), variants(5), rounds=1000, seed=3)
    counts = Counter((p.variant.id, p.position) for p in made)
    assert len(counts) == 25
    # Binomial(1000, 1/5): five standard deviations are 63.
    assert all(abs(n - 200) < 64 for n in counts.values()), counts


def test_both_points_come_first():
    made = plan.make(points(2), variants(1), rounds=50, seed=3)
    assert {p.point.rate_per_s for p in made[::2]} == {100.0, 200.0}


def test_an_entry_of_plan_json():
    assert plan.make(points(1), variants(1), rounds=1)[0].to_json() == {
        "trial": 1,
        "point": {"rate_per_s": 100.0, "size_b": 256, "partitions": 1},
        "variant": "s0",
        "series": 0,
        "round": 0,
        "position": 0,
        "lane": "",
    }


@given(st.fixed_dictionaries(SHAPES), st.integers(0, 2**63 - 1), st.booleans(), st.booleans(), st.booleans())
def test_every_block_has_its_lanes_once(shape, seed, named, aa, floor):
    rates, partitions, many, rounds, series = shape.values()
    chosen = variants(many)
    tcp = Variant(spec="tcp", id="tcp", system="tcp") if floor else None
    lanes = plan.Lanes(aa=aa, reference=chosen[-1].id if named else "", floor=tcp)
    made = plan.make(points(rates, partitions), chosen, rounds=rounds, series=series, seed=seed, lanes=lanes)
    size = many + aa + floor
    assert [p.trial for p in made] == list(range(1, rates * partitions * size * rounds * series + 1))
    for start in range(0, len(made), size):
        block = made[start : start + size]
        assert len({(p.series, p.round, p.point) for p in block}) == 1
        assert [p.position for p in block] == list(range(size))
        assert sorted(p.variant.id for p in block if not p.lane) == [v.id for v in chosen]
        assert [p.variant for p in block if p.lane == plan.FLOOR] == [tcp] * floor
        reference = chosen[-1] if named else chosen[(block[0].series * rounds + block[0].round) % many]
        assert [p.variant for p in block if p.lane == plan.AA] == [reference] * aa


def test_both_trials_of_the_reference_come_to_every_position():
    made = plan.make(points(1), variants(3), rounds=1000, seed=3, lanes=plan.Lanes(aa=True, reference="s1"))
    counts = Counter((p.lane, p.position) for p in made if p.variant.id == "s1")
    # Binomial(1000, 1/4): five standard deviations are 68.
    assert len(counts) == 8
    assert all(abs(n - 250) < 69 for n in counts.values()), counts


def test_what_needs_new_wiring():
    for change in (
        {"producers": 2},
        {"groups": (("a", 1), ("b", 1))},
        {"groups": (("inventory", 2),)},
        {"partitions": 8},
        {"batch": 7},
        {"ack_every": 3},
    ):
        assert len(plan.by_wiring([Point(BASE), Point(replace(BASE, **change))])) == 2, change
    for change in ({"rate_per_s": None}, {"size_b": 999}, {"window": 7}):
        assert len(plan.by_wiring([Point(BASE), Point(replace(BASE, **change))])) == 1, change
    assert plan.make([], variants(2), rounds=3) == []


def test_a_workload_reads_back():
    assert Workload.from_json(BASE.to_json()) == BASE
    assert replace(BASE, rate_per_s=None).schedule == "max"
