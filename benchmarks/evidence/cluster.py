"""What a cluster loses when a node that matters dies, for the record: ``python -m benchmarks.evidence.cluster``, `make evidence-cluster`.

`brokerbench guarantees` over the variants of SPECS, each with the faults of FAULTS that its server has what for: twenty counted
injections each. An injection into a cluster that has not healed would count twice what one did: the next waits until the node that was
killed is back, and in sync where copies are what matters (a recipe's ``launches`` say when). What it cost is told of each injection:
what was lost of what was acknowledged, and the longest time without an acknowledgement. Resumed like its sibling, guarantees.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from bench.guarantees.record import Asked
from benchmarks.evidence import common, guarantees

SPECS = (
    "kafka,nodes=3,mode=acks-all",
    "kafka,nodes=3,mode=acks-1",
    "kafka,nodes=3,metadata=zookeeper,mode=acks-all",
    "rabbitmq,nodes=3,version=4.0,mode=quorum",
    "rabbitmq_streams,nodes=3,version=4.0,mode=stream",
)
FAULTS = ("leader-kill", "zookeeper-kill")
"""A line each for another cluster, and for another death: a fault of bench/guarantees/named.py that says by ``where`` which it needs."""
KILLS = 20
FULL = Asked(SPECS, FAULTS, KILLS, KILLS)
QUICK = replace(FULL, injections=1, core=1)


def main(words: Sequence[str] | None = None) -> int:
    """Try what is missing, then copy the result; the exit code of `brokerbench guarantees`."""
    return guarantees.tried("cluster", __doc__ or "", FULL, QUICK, words)


if __name__ == "__main__":
    sys.exit(common.ended(main))
