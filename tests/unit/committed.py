"""The committed runs that tests read: the newest of five systems, and what faults did to Kafka and to the others."""

from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "debian12-xeon-2-cores"
RUN = max(REFERENCE.glob("order-events-*"))
KAFKA, OTHERS = FAULTS = [REFERENCE / "evidence-guarantees" / name for name in ("kafka", "others")]
TOGETHER = [RUN, *FAULTS]  # one report of all
