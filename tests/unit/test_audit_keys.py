"""Order by key over a whole group: against an accountant of plain dicts, on schedules of everything at once."""

import itertools
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from audit_schedules import TRIAL, chaos, journals
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_audit import _deliveries

from bench import audit_keys
from bench.audit import ConsumerSource
from bench.journal import Kind, Writer

KEYS = 5


def key(producer, sequence):
    return (sequence * 3 + sequence // 7 + producer) % KEYS


def keys(producers):
    return {producer: lambda numbers, own=producer: np.array([key(own, int(n)) for n in numbers], np.int64) for producer in producers}


def naive(schedule, producers):
    """(behind, by how much) of each group; what other producers are said to have sent counts for nothing."""
    found = []
    for group in range(schedule.groups):
        highest, seen, behind = defaultdict(lambda: -1), set(), [0]
        delivered = _deliveries([events for g, events in schedule.consumers if g == group], TRIAL)
        for _, together in itertools.groupby(delivered, key=lambda one: one[0]):
            came = dict.fromkeys((row[0], row[1], row[5]) for *_, row, _ in together)
            fresh = [ident for ident in came if ident not in seen and ident[0] in producers]
            seen.update(fresh)
            before = dict(highest)
            for producer, epoch, sequence in fresh:
                whose = producer, epoch, key(producer, sequence)
                if before.get(whose, -1) > sequence:
                    behind.append(before[whose] - sequence)
                highest[whose] = max(highest[whose], sequence)
        found.append((len(behind) - 1, max(behind)))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, audit_keys._AT_ONCE]))
def test_what_is_behind_its_key_is_what_plain_dicts_say(seed, at_once):
    rng = random.Random(seed)
    sizes = {"producers": rng.randint(1, 3), "groups": rng.randint(1, 3), "members": rng.randint(1, 3), "lanes": rng.randint(1, 4)}
    schedule = chaos(rng, **sizes)
    names = [f"g{i}" for i in range(schedule.groups)]
    known = range(sizes["producers"] - rng.randint(0, 1))  # of those that schedules make up too, not the last
    usual, audit_keys._AT_ONCE = audit_keys._AT_ONCE, at_once
    try:
        with tempfile.TemporaryDirectory() as folder, journals(Path(folder), schedule, rng) as (_, receivers):
            found = audit_keys.by_key(receivers, trial=TRIAL, groups=names, keys=keys(known))
    finally:
        audit_keys._AT_ONCE = usual
    assert [(found[name].reordered, found[name].reordered_max) for name in names] == naive(schedule, known)


@pytest.mark.parametrize(("in_turn", "behind", "most"), [(False, 0, 0), (True, 8, 15)])
def test_members_that_are_not_as_far_reorder_what_was_sent_in_turn(tmp_path, in_turn, behind, most):
    """24 messages, two of each of four customers in a row, thrice; the second of two members is as far only when the first is done.

    In turn, the second has one message of each pair: all but the last four pairs come behind what the first had of the same customer.
    """
    shares = [range(0, 24, 2), range(1, 24, 2)] if in_turn else [[s for s in range(24) if s // 2 % 2 == i] for i in range(2)]
    for member, share in enumerate(shares):
        writer = Writer(tmp_path, f"c{member}")
        for sequence in share:
            writer.span(Kind.PROCESSED, trial=TRIAL, producer=0, first=sequence, count=1, group=0, t_last=100 * member + sequence)
        writer.close()
    sources = [ConsumerSource(tmp_path, f"c{member}", group=0, member=member) for member in range(2)]
    found = audit_keys.by_key(sources, trial=TRIAL, groups=["g"], keys={0: lambda numbers: (numbers // 2 % 4).astype(np.int64)})
    assert (found["g"].reordered, found["g"].reordered_max) == (behind, most)
