"""The committed runs that tests of the report read: the newest of five systems, and what faults did."""

from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "debian12-xeon-2-cores"
RUN = max(REFERENCE.glob("order-events-*"))
FAULTS = [REFERENCE / "evidence-guarantees" / name for name in ("kafka", "others")]
