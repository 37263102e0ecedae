"""Endpoints with a bug of the harness in each trial but the first: `brokerbench calibrate` must name what is wrong.

``python -m wrong_endpoint SPEC.json``. Deliveries are written down as bench.calibration.endpoint does; the accounting after it is bent.
"""

import sys
from dataclasses import replace

from bench.calibration.endpoint import RecordingConsumer, RecordingProducer
from bench.endpoint import main
from bench.histogram import Histogram, highest, in_use, pack, pack_counts, unpack

SOUND, SHIFTED, FROM_SENT, HURRIED, FORGETS = range(1, 6)
EVERY = 100


def shifted(packed):
    """A histogram, packed, in which everything is one percent slower."""
    before, after = unpack(packed), Histogram()
    for index in before.counts.nonzero()[0].tolist():
        after.add_one(highest(index) * 101 // 100, int(before.counts[index]))
    return pack(after)


class Forgetful:
    """Stands behind what records, before the account: forgets every hundredth delivery."""

    def __init__(self, account):
        self.account = account
        self.taken = 0

    def __getattr__(self, name):
        return getattr(self.account, name)

    def take(self, batch, now_ns):
        first, self.taken = self.taken, self.taken + len(batch.payloads)
        kept = [payload for i, payload in enumerate(batch.payloads, first) if i % EVERY != EVERY - 1]
        self.account.take(replace(batch, payloads=kept), now_ns)


class BentConsumer(RecordingConsumer):
    """Measures from the send time in one trial, and calls it the intended one; shifts its histogram in another; forgets in a third."""

    def tapped(self, account):
        return super().tapped(Forgetful(account) if account.trial == FORGETS else account)

    def do(self, message):
        answer = super().do(message)
        trial = self._loop.account.trial
        if message["do"] == "report" and trial == FROM_SENT:
            answer["thirds"] = [answer["end_to_end_sent"], pack(Histogram()), pack(Histogram())]
        if message["do"] == "report" and trial == SHIFTED:
            answer["thirds"] = [shifted(third) for third in answer["thirds"]]
        if message["do"] == "report" and trial in (FROM_SENT, SHIFTED):
            answer["latency_seconds"] = [(0, pack_counts(in_use(sum(unpack(third).counts for third in answer["thirds"]))))]
        return answer


class BentProducer(RecordingProducer):
    """Drops its largest lateness in one trial: a sample that one does not like."""

    def do(self, message):
        answer = super().do(message)
        if message["do"] == "report" and self._of == HURRIED:
            lateness = unpack(answer["lateness"])
            lateness.counts[lateness._used()[-1]] -= 1
            answer["lateness"] = pack(lateness)
        return answer


if __name__ == "__main__":
    sys.exit(main({"producer": BentProducer, "consumer": BentConsumer}))
