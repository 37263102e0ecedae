"""One example: a schedule from a seed, its journals, all accounts of it. Of the tests, and of benchmarks.evidence.audit."""

from __future__ import annotations

import random
from dataclasses import asdict

from audit_schedules import TRIAL, chaos, journals, lanes_of
from audit_truth import ERA, World
from naive_audit import naive
from naive_injections import naive_by_injection

from bench.audit import audit
from bench.audit_injections import Injection, by_injection

KINDS = ("planted", "chaos")


def sizes_of(rng):
    """Of everything in a schedule."""
    return {"producers": rng.randint(1, 3), "groups": rng.randint(1, 3), "members": rng.randint(1, 3), "lanes": rng.randint(1, 4)}


def injections_of(rng, until):
    """Up to five, in order; some of them not healed, some at the same time."""
    begins = sorted(rng.randint(0, until) for _ in range(rng.randint(0, 5)))
    return [Injection(t, rng.choice((None, t, t + rng.randint(0, until // 5)))) for t in begins]


def accounts(kind, seed, sizes, folder):
    """{who: accounts by group} of a schedule in ``folder``: the truth where it was planted, the naive accountant, the real one; all equal.

    With "by injection", "by injection, naive", which are equal too, and the kind and number of all that was found.
    """
    rng = random.Random(seed)
    if kind == "planted":
        world = World(rng, **sizes)
        schedule, injections = world.schedule, injections_of(rng, world.eras * ERA)
    else:
        world, schedule = None, chaos(rng, **sizes)
        injections = injections_of(rng, 40)
    names = [f"g{i}" for i in range(schedule.groups)]
    lane_of = lanes_of(schedule.lane_of)
    with journals(folder, schedule, rng) as (senders, receivers):
        real = audit(senders, receivers, trial=TRIAL, groups=names, lane_of=lane_of)
        counts = by_injection(senders, receivers, trial=TRIAL, groups=names, injections=injections, lane_of=lane_of)
    found = {"real": [asdict(real[name]) for name in names], "naive": naive(schedule, TRIAL)}
    if world is not None:
        found["truth"] = world.truth
    found["by injection"] = [[asdict(one) for one in counts[name]] for name in names]
    found["by injection, naive"] = naive_by_injection(schedule, TRIAL, injections)
    return found


def differences(found):
    """Where accounts differ, in words; nothing where all is well."""
    told = []
    for who in ("truth", "naive"):
        for group, (one, real) in enumerate(zip(found.get(who, ()), found["real"], strict=False)):
            told += [f"group {group}, {name}: {who} {one.get(name)}, reported {real[name]}" for name in real if one.get(name) != real[name]]
    for group, (naively, counts) in enumerate(zip(found["by injection, naive"], found["by injection"], strict=True)):
        told += [
            f"group {group}, injection {i}, {name}: naive {one[name]}, reported {count[name]}"
            for i, (one, count) in enumerate(zip(naively, counts, strict=True))
            for name in count
            if one[name] != count[name]
        ]
    for group, (counts, real) in enumerate(zip(found["by injection"], found["real"], strict=True)):
        for name in ("lost", "unknown", "recovered") if counts else ():
            if (total := sum(one[name] for one in counts)) != real[name]:
                told.append(f"group {group}, {name}: {total} over all injections, {real[name]} in all")
    return told
